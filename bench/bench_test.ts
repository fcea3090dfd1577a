/** @file The suite itself, at toy sizes: every kind of case runs, and the JSON holds what is promised. */
import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { libraryPath } from "../backend/library/library.ts";
import { checkout, withTempDir } from "../tests/support.ts";
import { UserError } from "../dsl/errors.ts";
import { costOf } from "./costs.ts";
import { denseOf, mixtureOf, sizes } from "./families/sizes.ts";
import { rowsOf } from "./families/products.ts";
import { help, parse } from "./options.ts";
import { type Contestant, measure, type Measured } from "./rounds.ts";
import { casesOf } from "./registry.ts";

Deno.test("every case runs at toy size, and the last line of --json has its figures", () =>
  withTempDir(async (folder) => {
    const words = ["run", "--quiet", "--allow-all", checkout("bench/main.ts"), "--size", "toy", "--rounds", "1"];
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: [...words, "--json", "--out", folder],
      env: { XFT_LIBRARY: libraryPath(), XFT_CACHE: `${folder}/cache` },
    }).output();
    assertEquals(code, 0, new TextDecoder().decode(stderr));
    const last = new TextDecoder().decode(stdout).trimEnd().split("\n").at(-1)!;
    const { cases, machine } = JSON.parse(last) as { cases: Measured[]; machine: { processor: string } };
    assert(machine.processor.length > 0);
    const ours = cases.filter(({ role }) => role === "ours");
    assertEquals(ours.flatMap(({ case: name, error }) => error ? [`${name}: ${error}`] : []), []);
    assertEquals(new Set(ours.map((row) => row.case)), new Set(casesOf("toy").map(({ name }) => name)));
    for (const { case: name, seconds, flops, bytes, share_of_roof, peak_bytes } of ours) {
      assert(seconds! > 0 && flops + bytes > 0, name);
      assert(share_of_roof === undefined || share_of_roof > 0, name);
      assert(Deno.build.os !== "linux" || peak_bytes! > 0, name);
    }
    // With checkpointed layers a step computes the same.
    for (const step of ["dense/toy", "moe/toy"]) {
      const [plain, checkpointed] = ours.filter((row) => row.case === step).map(({ losses }) => losses!);
      plain.forEach((loss, i) => assert(Math.abs(loss - checkpointed[i]) < 1e-5, step));
    }
  }));

Deno.test("a mixture's step costs a dense one's and its routed experts' and routers' products", () => {
  const { batch, seq, hiddenSize, ffnSize, layers } = sizes.small, rows = batch * seq;
  const dense = costOf(
    { kind: "step", step: "dense", config: denseOf("small"), batch, seq, ...plain },
    denseOf("small"),
  );
  const moe = costOf({ kind: "step", step: "moe", config: mixtureOf("small"), batch, seq, ...plain }, denseOf("small"));
  const expert = 3 * 6 * rows * hiddenSize * ffnSize * layers, router = 6 * rows * hiddenSize * 7 * layers;
  assertEquals(moe.flops - dense.flops, 5 * expert + router);
});

Deno.test("uneven routing sends all rows somewhere, half of them to one expert", () => {
  const rows = rowsOf({ m: 5120, experts: 7, routing: "uneven" });
  assertEquals(rows.reduce((a, b) => a + b, 0), 5120);
  assert(rows[0] >= 2560 && rows[6] > 0);
});

/** A contestant whose rounds take what they are told to take. */
function scripted(name: string, role: Contestant["role"], seconds: number[], losses?: number[]): Contestant {
  const left = [...seconds];
  const round = () =>
    left.length > 0 ? Promise.resolve({ seconds: left.shift()! }) : Promise.reject(new Error("broke"));
  const running = { ready: { losses }, round, [Symbol.asyncDispose]: () => Promise.resolve() };
  return { name, role, start: () => Promise.resolve(running) };
}

Deno.test("the best round counts, shares are of the roof of the same case, and a failure stops nobody else", async () => {
  const rows = await measure({ name: "work" }, { flops: 8, bytes: 0, products: [] }, [
    scripted("xft", "ours", [4, 2, 3], [1.5, 1.25]),
    scripted("roof", "roof", [1, 3, 5]),
    scripted("peer", "peer", [6, 6, 8], [1.5001, 1.2501]),
    scripted("other model", "peer", [6, 6, 8], [1.6, 1.3]),
    scripted("broken", "peer", [9]),
  ], { rounds: 3, roundSeconds: 0, limitSeconds: 60, quiet: 1 });
  assertEquals(rows.map(({ seconds }) => seconds), [2, 1, 6, 6, 9]);
  assertEquals(rows.map(({ share_of_roof }) => share_of_roof), [1 / 2, 1, 1 / 6, 1 / 6, 1 / 9]);
  assertEquals(rows.map(({ same_losses }) => same_losses), [true, undefined, true, false, undefined]);
  assertEquals(rows.map(({ error }) => error), [undefined, undefined, undefined, undefined, "broke"]);
});

Deno.test("a peer that cannot be installed, and one that hangs, have a line that says so, and stop nobody", async () => {
  const options = { rounds: 1, roundSeconds: 0, limitSeconds: 60, quiet: 1, patienceSeconds: 0.01 };
  const ended: string[] = [];
  const hanging = (signal?: AbortSignal): Promise<never> =>
    new Promise((_, reject) =>
      signal?.addEventListener("abort", () => {
        ended.push("process");
        reject(new Error("ended"));
      })
    );
  const rows = await measure({ name: "work" }, { flops: 8, bytes: 0, products: [] }, [
    scripted("xft", "ours", [4]),
    { ...scripted("absent", "peer", [1]), install: () => Promise.reject(new Error("no such wheel")) },
    { name: "hanging", role: "peer", start: hanging },
  ], options);
  assertEquals(rows.map(({ seconds }) => seconds), [4, undefined, undefined]);
  assertEquals(rows[1].error, "no such wheel");
  assertMatch(rows[2].error!, /longer than/);
  assertEquals(ended, ["process"]);
});

Deno.test("the command's words: each flag is explained, what is unknown or no number is named", () => {
  for (
    const flag of ["--only", "--peers", "--against", "--budget", "--rounds", "--limit", "--size", "--out", "--json"]
  ) {
    assert(help().includes(`\n  ${flag} `), flag);
  }
  assertEquals(parse(["--help"]).task, "help");
  const asked = parse(["--only", "moe/,dense/tiny", "--only=merge/", "--against", "PyTorch, bf16", "--budget", "2"]);
  assertEquals([asked.only, asked.against], [["moe/", "dense/tiny", "merge/"], ["PyTorch, bf16"]]);
  assertEquals([asked.peers, asked.budgetSeconds, asked.options.rounds], [true, 120, 3]);
  for (
    const words of [["--onyl", "x"], ["--rounds"], ["--rounds", "none"], ["--json=1"], ["--size", "huge"], ["moe"]]
  ) {
    assertThrows(() => parse(words), UserError, words[0].split("=")[0]);
  }
});

const plain = { checkpoint: false, storage: "f32" } as const;
