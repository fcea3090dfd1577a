/** @file What a number depends on: written beside it, and asked for before two numbers are compared. */
import { UserError } from "../../dsl/errors.ts";

/** Names and values of everything that a result depends on but the model. */
export type Protocol = Readonly<Record<string, string | number | boolean | null | readonly string[]>>;

/** Releases by the SHA-256 of their files. */
const releases: Readonly<Record<string, string>> = {
  b796127e635a67f93fb35c04f4cb03cf06f38c8072ee7cee8833d7bee06979ef: "HumanEval",
  "272720b90ac375502c8ed23cd791c2a93dfb22a911641a494da74a426c09f101": "HumanEval+ v0.1.10",
  "91486741f1627101021fbe50523df08eebb5b0bf5e804b633dcd5ca3c14dbd2f": "HumanEval+ v0.1.10 mini",
  af43697e8791c4c149bdfd6b489d8b5412507551ac20e28a439f650b8225db63: "MBPP+ v0.2.0",
  ccf64ceae9c5403bf50a044cb6d505bfd2a2963ee58338ba268fd65beab92a9f: "MBPP",
};

/** A benchmark's release, by its file; null for a file that nobody here has seen. */
export function releaseOf(sha256: string): string | null {
  return releases[sha256] ?? null;
}

/** Fields that say where an answer came from or what it cost, and change no verdict. */
const aside = new Set([
  ...["model", "model_sha256", "samples", "samples_sha256", "raw_samples_sha256", "sanitizer_grammar"],
  ...["device", "seed", "jobs"],
]);

/** What is not known of how samples were made. */
export const unknown = "unknown";

/** How samples are made, as a protocol of which nothing is known. */
export const unknownMaking = {
  prompt: unknown,
  stop: unknown,
  max_tokens: unknown,
  temperature: unknown,
  top_p: unknown,
  sanitizer: unknown,
} as const satisfies Protocol;

/** Names of the fields that are not known. */
export function unknownFields(protocol: Protocol): string[] {
  return Object.keys(protocol).filter((name) => protocol[name] === unknown);
}

/** Where two protocols are not the same, in words; empty where numbers made under them may be compared. */
function protocolDifferences(one: Protocol, two: Protocol): string[] {
  const names = [...new Set([...Object.keys(one), ...Object.keys(two)])].filter((name) => !aside.has(name));
  const show = (value: Protocol[string] | undefined): string =>
    value === undefined ? "not said" : JSON.stringify(value);
  return names.flatMap((name) => {
    const [a, b] = [show(one[name]), show(two[name])];
    return a === b ? [] : [`${name} is ${a} in one and ${b} in the other`];
  });
}

/**
 * Refuses to compare what was measured differently, or what nobody knows to have been measured alike.
 *
 * @param options.allowUnknown what is `"unknown"` in either is not compared, instead of refused
 * @throws {UserError} naming every field that is not known, or every difference
 *
 * @example
 * ```ts
 * import { assertSameProtocol } from "./protocol.ts";
 * assertSameProtocol({ prompt: "base", model: "a" }, { prompt: "base", model: "b" });
 * ```
 */
export function assertSameProtocol(
  one: Protocol,
  two: Protocol,
  { allowUnknown = false }: { readonly allowUnknown?: boolean } = {},
): void {
  const unsaid = new Set([...unknownFields(one), ...unknownFields(two)].filter((name) => !aside.has(name)));
  if (unsaid.size > 0 && !allowUnknown) {
    const which = [one, two].map((each) => unknownFields(each).length > 0);
    throw new UserError(
      `how the samples of ${which[0] ? which[1] ? "both" : "the first" : "the second"} were made is not known (${
        [...unsaid].join(", ")
      }): evaluate them again with the flags that say it (see xft evaluate --help), or give --allow-unknown to compare ` +
        "them all the same.",
    );
  }
  const known = (protocol: Protocol): Protocol =>
    Object.fromEntries(Object.entries(protocol).filter(([name]) => !unsaid.has(name)));
  const differences = protocolDifferences(known(one), known(two));
  if (differences.length === 0) return;
  throw new UserError(
    `these results were measured differently: ${
      differences.join("; ")
    }. Evaluate both in the same way to compare them.`,
  );
}
