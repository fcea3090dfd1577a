/** @file How programs of MultiPL-E's languages are compiled and run, as its own evaluators do. */
import { runConfined, whyNotConfined } from "../sandbox/bwrap.ts";
import { tupleSources } from "./javatuples.ts";
import { runJavaScript } from "./javascript.ts";

/** MultiPL-E's names of the languages that can be run. */
export type Language = "js" | "ts" | "cpp" | "java" | "php" | "rs" | "swift" | "sh";

/** A language that runs natively, in bubblewrap. */
interface Native {
  readonly kind: "native";
  /** Programs that must be there. */
  readonly tools: readonly string[];
  /** The program's file. */
  readonly file: string;
  /** Other files beside it. */
  readonly beside?: Readonly<Record<string, string>>;
  /** Shell lines: compiling (failure ends it), then running. */
  readonly command: string;
  /** Memory of all its processes. */
  readonly megabytes: number;
  /** It reserves far more address space than it uses. */
  readonly reserves?: boolean;
  /**
   * Code at the program's end that prints the word, where code can stand there: without it a program that ends itself
   * early with code 0 passes, as it does in MultiPL-E.
   */
  readonly end?: (word: string) => string;
  /** For protocols. */
  readonly sandbox: string;
}

/** A language that runs in a Deno process without permissions. */
interface Scripted {
  readonly kind: "deno";
  readonly sandbox: string;
}

/** Seconds for a program, compiling included. */
const seconds = 30;

const bwrap = (what: string): string => `bubblewrap, ${what}, ${seconds} s`;
const deno = `Deno ${Deno.version.deno} without permissions, ${seconds} s`;

/** By MultiPL-E's names. */
export const languages: { readonly [L in Language]: Native | Scripted } = {
  js: { kind: "deno", sandbox: deno },
  ts: { kind: "deno", sandbox: `${deno}, types checked by TypeScript` },
  cpp: {
    kind: "native",
    tools: ["g++"],
    file: "program.cpp",
    command: "g++ -std=c++17 -o program program.cpp && ./program",
    megabytes: 2048,
    sandbox: bwrap("g++ -std=c++17"),
  },
  java: {
    kind: "native",
    tools: ["javac", "java"],
    file: "Problem.java",
    beside: tupleSources,
    command: "mkdir classes && javac -encoding UTF8 -d classes Problem.java && java -Xmx512m -ea -cp classes Problem",
    megabytes: 2048,
    reserves: true,
    sandbox: bwrap("javac, java -ea, tuples of our own for org.javatuples"),
  },
  php: {
    kind: "native",
    tools: ["php"],
    file: "program.php",
    command: "php program.php",
    megabytes: 1024,
    end: (word) => `\nfwrite(STDERR, "${word}");`,
    sandbox: bwrap("php"),
  },
  rs: {
    kind: "native",
    tools: ["rustc"],
    file: "program.rs",
    command: "rustc -o program program.rs && ./program",
    megabytes: 2048,
    reserves: true,
    sandbox: bwrap("rustc"),
  },
  swift: {
    kind: "native",
    tools: ["swiftc"],
    file: "program.swift",
    command: "swiftc -o program program.swift && ./program",
    megabytes: 2048,
    reserves: true,
    sandbox: bwrap("swiftc"),
  },
  sh: {
    kind: "native",
    tools: ["bash"],
    file: "program.sh",
    command: "bash program.sh",
    megabytes: 1024,
    end: (word) => `\necho ${word} >&2`,
    sandbox: bwrap("bash"),
  },
};

/** Whether a name is a language's. */
export function isLanguage(name: string): name is Language {
  return Object.hasOwn(languages, name);
}

/** What is missing to run a language here; undefined where nothing is. */
export async function missingTools(language: Language): Promise<string | undefined> {
  const entry = languages[language];
  if (entry.kind === "deno") return undefined;
  for (const tool of entry.tools) if (!await answers(tool)) return `${tool} is not installed`;
  return await whyNotConfined();
}

async function answers(tool: string): Promise<boolean> {
  try {
    const command = new Deno.Command(tool, { args: ["--version"], stdin: "null", stdout: "null", stderr: "null" });
    return (await command.output()).success;
  } catch {
    return false;
  }
}

/** Runs a program; why it failed, or undefined where it passed. */
export async function runIn(language: Language, program: string): Promise<string | undefined> {
  const entry = languages[language];
  if (entry.kind === "deno") return await runJavaScript(program, language === "ts", seconds);
  const word = crypto.randomUUID(), toolchain = language === "rs" ? await rustToolchain() : undefined;
  const path = toolchain === undefined ? "" : `PATH=${toolchain}/bin:$PATH; `;
  const { code, stdout, stderr, why } = await runConfined(["bash", "-c", path + entry.command], {
    files: { ...entry.beside, [entry.file]: program + (entry.end?.(word) ?? "") },
    ...{ seconds, megabytes: entry.megabytes, limitAddressSpace: !entry.reserves, processes: 256 },
    readable: toolchain === undefined ? [] : [toolchain],
  });
  const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes), errors = text(stderr);
  if (why !== "ended") return overLimit(why, seconds);
  if (code !== 0) return firstError(code, `${errors}\n${text(stdout)}`);
  return entry.end && !errors.includes(word) ? "it ended before its tests did" : undefined;
}

/** A limit that was hit, in words. */
export function overLimit(why: "time" | "memory" | "output", seconds: number): string {
  switch (why) {
    case "time":
      return `it took more than ${seconds} s`;
    case "memory":
      return "it took too much memory";
    case "output":
      return "it printed too much";
  }
}

function firstError(code: number, text: string): string {
  const lines = text.split("\n").filter((line) => line.trim() !== "");
  const line = lines.find((each) => /error|exception|assert|panicked/i.test(each)) ?? lines[0] ?? "";
  return `exit code ${code}: ${line.trim().slice(0, 300)}`.replace(/: $/, "");
}

let rust: Promise<string | undefined> | undefined;

/** Where rustc's compiler and library are; rustup's `rustc` only points there. */
function rustToolchain(): Promise<string | undefined> {
  return rust ??= (async () => {
    const { stdout } = await new Deno.Command("rustc", { args: ["--print", "sysroot"], stderr: "null" }).output();
    return new TextDecoder().decode(stdout).trim() || undefined;
  })();
}
