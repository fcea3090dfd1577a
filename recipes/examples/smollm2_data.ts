/**
 * @file Instruction data of real code for `smollm2_real.md`, from sources that anybody can get: exercism/python (text of
 * an exercise → its example solution), TheAlgorithms/Python (docstring and signature → function), CodeAlpaca (as it is).
 *
 * `deno run -A recipes/examples/smollm2_data.ts ../shared/data runs/smollm2-data` writes `code.jsonl`; the first folder
 * holds what is named below.
 */
import { join } from "node:path";

interface Example {
  readonly instruction: string;
  readonly response: string;
}

/** What may be longer than a row of 256 tokens is left out, instead of being cut. */
const LONGEST = 700;

const fenced = (code: string): string => `\`\`\`python\n${code.trim()}\n\`\`\``;

/** Files of an unpacked archive whose names end so, in order. */
function* filesIn(folder: string, ending: string): Generator<string> {
  for (const { name, isDirectory } of [...Deno.readDirSync(folder)].sort((a, b) => a.name < b.name ? -1 : 1)) {
    if (isDirectory) yield* filesIn(join(folder, name), ending);
    else if (name.endsWith(ending)) yield join(folder, name);
  }
}

function* exercises(folder: string): Generator<Example> {
  for (const path of filesIn(folder, "example.py")) {
    const text = Deno.readTextFileSync(join(path, "../../.docs/instructions.md"));
    const instruction = text.replace(/^# (Instructions|Description)\s*/, "").trim();
    yield { instruction: `Write Python code.\n\n${instruction}`, response: fenced(Deno.readTextFileSync(path)) };
  }
}

/** Functions at the beginning of a line with a docstring: its text before the first example says what they do. */
function* functions(folder: string): Generator<Example> {
  const pattern = /^(def \w+\([^]*?\)[^:\n]*:)\n {4}"""([^]*?)"""\n((?:(?: {4}.*)?\n)+)/gm;
  for (const path of filesIn(folder, ".py")) {
    for (const [, head, docstring, body] of Deno.readTextFileSync(path).matchAll(pattern)) {
      const said = docstring.split(/\n\s*(?:>>>|:param|Args:|@)|>>>/)[0].replaceAll(/\s+/g, " ").trim();
      if (said.split(" ").length < 4 || head.startsWith("def main") || head.startsWith("def test")) continue;
      const signature = head.replaceAll(/\s+/g, " ").replace(/:$/, "");
      yield { instruction: `Write \`${signature}\`: ${said}`, response: fenced(`${head}\n${body}`) };
    }
  }
}

function* alpaca(path: string): Generator<Example> {
  for (const { instruction, input, output } of JSON.parse(Deno.readTextFileSync(path))) {
    yield { instruction: input ? `${instruction}\n${input}` : instruction, response: output };
  }
}

function unpack(archive: string): string {
  const folder = Deno.makeTempDirSync({ prefix: "xft-example-" });
  const { success } = new Deno.Command("tar", { args: ["-xzf", archive, "-C", folder] }).outputSync();
  if (!success) throw new Error(`${archive}: tar cannot unpack it.`);
  return folder;
}

const [from, to] = Deno.args;
if (!from || !to) throw new Error("give the folder of the sources, and one to write to.");
const folders = ["exercism-python-practice", "TheAlgorithms-Python"].map((name) =>
  unpack(join(from, "corpus", `${name}.tar.gz`))
);
try {
  const sources = {
    exercism: [...exercises(folders[0])],
    "TheAlgorithms": [...functions(folders[1])],
    CodeAlpaca: [...alpaca(join(from, "sft/code_alpaca_2k.json"))],
  };
  const fits = ({ instruction, response }: Example): boolean => instruction.length + response.length <= LONGEST;
  Deno.mkdirSync(to, { recursive: true });
  const kept = Object.entries(sources).flatMap(([name, all]) => {
    console.log(`${name}: ${all.length} examples, ${all.filter(fits).length} of at most ${LONGEST} letters`);
    return all.filter(fits);
  });
  Deno.writeTextFileSync(join(to, "code.jsonl"), kept.map((one) => `${JSON.stringify(one)}\n`).join(""));
} finally {
  for (const folder of folders) Deno.removeSync(folder, { recursive: true });
}
