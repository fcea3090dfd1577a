/** @file The command line without running a command: words become values, mistakes become one sentence. */
import { assert, assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";
import { UserError } from "../../dsl/errors.ts";
import { commands } from "./commands.ts";
import { Interrupted } from "./context.ts";
import { explainFailure } from "./errors.ts";
import { columns, count, size } from "./output/format.ts";
import { parseCommandLine, type Parsed } from "./flags/optique.ts";
import { clock, progressBar, progressLine } from "./output/progress.ts";
import { type Command, flagName } from "./flags/schema.ts";
import { detailOf } from "./commands/stages/stage.ts";

const program = { name: "xft", version: "1.2.3", summary: "Summary." };
const table: Record<string, Command> = commands;

function parse(...words: string[]): Parsed {
  return parseCommandLine(table, words, { program, cwd: "/home", width: 100 });
}

function values(...words: string[]): Record<string, unknown> {
  const parsed = parse(...words);
  assert(parsed.kind === "run", "expected a command to run");
  return parsed.values;
}

function shown(...words: string[]): string {
  const parsed = parse(...words);
  assert(parsed.kind === "show", "expected a text");
  return parsed.text;
}

function mistake(...words: string[]): string {
  const { message, exitCode } = assertThrows(() => parse(...words), UserError);
  assertEquals(exitCode, 2);
  assert(!message.includes("\n"), `more than one line: ${message}`);
  return message;
}

Deno.test("words become typed values, paths start from the caller's folder, absent flags get their defaults", () => {
  assertEquals(values("upcycle", "a/dense", "--out", "/abs/moe", "--experts", "4"), {
    dense: "/home/a/dense",
    out: "/abs/moe",
    overwrite: false,
    dryRun: false,
    experts: 4,
    active: 6,
    router: "linear",
    init: "copy",
    share: 0.5,
    noise: false,
    data: [],
    fields: undefined,
    skipMalformed: false,
    device: "auto",
    seed: 0,
    json: false,
  });
  const generate = values(
    "generate",
    "m",
    "--prompt",
    "",
    "--prompt",
    "-x",
    "--prompt-file=p",
    "--no-special",
    "--json",
  );
  assertEquals([generate.prompt, generate.promptFile, generate.noSpecial, generate.json], [
    ["", "-x"],
    ["/home/p"],
    true,
    true,
  ]);
  assertEquals(values("learn", "m", "--out", "c", "--data", "d", "--lr", "5e-5", "--device", "wgpu:llvmpipe").lr, 5e-5);
});

Deno.test("a mistake is one sentence that names the word and, where one is near, the right one", () => {
  assertEquals(mistake("upcyle", "m").slice(0, 58), "upcyle: there is no such command. Did you mean upcycle? Co");
  assertMatch(mistake(), /^give a command: demo, run, /);
  assertEquals(
    mistake("upcycle", "m", "--out", "o", "--expert", "3"),
    "--expert: upcycle has no such flag. Did you mean --experts?",
  );
  assertEquals(mistake("generate", "a", "b"), 'generate: "b" is one word too many.');
  assertEquals(mistake("upcycle"), "DENSE is missing: Hugging Face folder of a Llama.");
  assertEquals(mistake("upcycle", "m"), "--out PATH is missing: folder of the mixture.");
  assertMatch(mistake("learn", "m", "--out", "o"), /^--data FILE is missing: instruction data/);
  assertEquals(mistake("merge", "m", "--out", "o", "--lambda", "1.4"), "--lambda 1.4: λ is a share, between 0 and 1.");
  assertEquals(mistake("merge", "m", "--out", "o", "--lambda", "x"), "--lambda x: expected a number.");
  assertEquals(mistake("upcycle", "m", "--out", "o", "--experts", "1"), "--experts 1: expected 2 or more.");
  assertEquals(mistake("upcycle", "m", "--out", "o", "--experts", "2.5"), "--experts 2.5: expected a whole number.");
  assertEquals(
    mistake("train", "m", "--out", "o", "--data", "d", "--stage", "mo"),
    "--stage mo: expected one of sft, moe.",
  );
  assertEquals(mistake("doctor", "--device", "gpu"), "--device gpu: expected auto, cpu, wgpu, wgpu:NAME or webgpu.");
  for (const rates of ["router", "router=x", "router=-1", "router=1=2", "=1", "router=1,"]) {
    assertEquals(
      mistake("train", "m", "--out", "o", "--data", "d", "--stage", "moe", "--rates", rates),
      `--rates ${rates}: expected names with numbers from 0 on: NAME=N,NAME=N,….`,
    );
  }
  assertEquals(mistake("convert", "", "--out", "o"), "IN: expected a name, got an empty word.");
});

Deno.test("every command has help with an example that its own parser takes, and every flag is in it", () => {
  const overview = shown("--help");
  for (const [name, command] of Object.entries(table)) {
    assertStringIncludes(overview, `  ${name} `);
    const help = shown(name, "--help");
    for (const flag of [...Object.keys(command.flags).map(flagName), "--device", "--seed", "--json"]) {
      assertStringIncludes(help, flag);
    }
    for (const example of command.examples) {
      assertStringIncludes(help, `deno task xft ${example}`);
      const words = [...example.matchAll(/"([^"]*)"|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain);
      const parsed = values(...words);
      command.check?.(parsed);
      assertEquals(words[0], name);
    }
  }
  assertEquals(shown("--version"), "1.2.3");
  assertStringIncludes(shown("completion", "bash"), "xft");
});

Deno.test("values that do not fit together are refused", () => {
  const check = (...words: string[]): string =>
    assertThrows(() => table[words[0]].check?.(values(...words)), UserError).message;
  assertEquals(
    check("upcycle", "m", "--out", "o", "--experts", "4"),
    "--active 6: there are only 4 experts (--experts 4).",
  );
  assertMatch(check("upcycle", "m", "--out", "o", "--active", "1"), /^--active 1: .*2 or more/);
  assertMatch(check("tokenize", "m"), /exactly one of/);
  const greedily = ["evaluate", "m", "--data", "d", "--benchmark", "multipl-e:js", "--greedy"];
  for (const more of [["--samples", "2"], ["--temperature", "0.5"], ["--temperature", "0.5", "--top-p", "0.5"]]) {
    assertMatch(check(...greedily, ...more), /^--greedy is one answer at temperature 0/);
  }
  assertMatch(
    check("learn", "m", "--out", "o", "--data", "d", "--lambdas", "0,1.4"),
    /^--lambdas 1.4: λ is a share, between 0 and 1/,
  );
  assertMatch(check("generate", "m"), /give --prompt/);
  assertMatch(check("merge", "m", "--out", "o", "--method", "xft"), /needs --coefficients/);
  assertMatch(
    check("train", "m", "--out", "o", "--data", "d", "--stage", "sft", "--steps", "1", "--epochs", "1"),
    /one of/,
  );
});

Deno.test({
  name: "a full disk, a missing file and an interrupt are said in one sentence; our own faults show their stack",
  ignore: Deno.build.os !== "linux",
  fn() {
    const full = assertThrows(() => Deno.writeTextFileSync("/dev/full", "x"));
    assertMatch(explainFailure(full).message, /^there is no space left on the disk/);
    assertEquals(explainFailure(new Error("write: No space left on device (os error 28)")).details, undefined);
    const missing = assertThrows(() => Deno.readTextFileSync("/nowhere"));
    assertMatch(explainFailure(missing).message, /^there is no such file .*nowhere/);
    assertEquals(explainFailure(new Interrupted()).exitCode, 130);
    assertEquals(explainFailure(new UserError("two\nlines", { usage: true })), { exitCode: 2, message: "two lines" });
    const fault = explainFailure(new TypeError("x is undefined"));
    assertEquals(fault.exitCode, 1);
    assertStringIncludes(fault.details ?? "", "cli_test.ts");
  },
});

Deno.test("progress and numbers read well", () => {
  assertEquals(
    progressLine("MoE", 40, 200, "steps", 20, "loss 1.31"),
    "MoE: 40/200 steps, 2.0 steps/s, 1:20 left, loss 1.31",
  );
  assertEquals([0, 25, 50.5, 99.9, 100, 120].map((done) => progressBar(done, 100)), [
    "░░░░░░░░░░░░",
    "███░░░░░░░░░",
    "██████░░░░░░",
    "███████████▉",
    "████████████",
    "████████████",
  ]);
  const line = { step: 40, steps: 200, loss: 1.31, tokensPerSecond: 511.7 };
  assertEquals(detailOf(line, 3.1 * 2 ** 30), "loss 1.3100, 512 tokens/s, memory 3.1 GiB");
  assertEquals(detailOf({ step: 0, steps: 200, validation: 1 }, 0), "");
  assertEquals(progressLine("copy", 3 << 20, undefined, "B", 2, ""), "copy: 3.0 MiB, 1.5 MiB/s");
  assertEquals(progressLine("demo", 40, 200, "", 20, ""), "demo: 40/200, 2.0/s, 1:20 left");
  assertEquals([clock(7), clock(754), clock(3723)], ["0:07", "12:34", "1:02:03"]);
  assertEquals([count(134515008), count(999), size(4300), size(3.1 * 2 ** 30)], [
    "134.5 M",
    "999",
    "4.2 KiB",
    "3.1 GiB",
  ]);
  assertEquals(columns([["a", 1, "x"], ["bbb", 22, ""]]), "a     1  x\nbbb  22");
});
