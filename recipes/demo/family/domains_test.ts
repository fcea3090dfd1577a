/** @file Holds the meaning of every step against CPython (Pyodide): expected outputs are known without running it. */
import { assertEquals } from "@std/assert";
// deno-lint-ignore no-import-prefix -- one version for the sandbox and for this test
import { loadPyodide } from "npm:pyodide@314.0.7";
import { seeded } from "../../random.ts";
import { drawArguments } from "./domain.ts";
import { domains, evaluate, type Program, source, tasks } from "./generate.ts";

interface Case {
  readonly source: string;
  readonly inputs: readonly (readonly unknown[])[];
}

/** Runs each case in CPython: its outputs, as JSON. */
async function python(cases: readonly Case[]): Promise<unknown[][]> {
  const pyodide = await loadPyodide();
  pyodide.globals.set("cases", JSON.stringify(cases));
  return JSON.parse(pyodide.runPython(`
import json
def outputs(case):
    names = {}
    exec(case["source"], names)
    return [names["f"](*arguments) for arguments in json.loads(json.dumps(case["inputs"]))]
json.dumps([outputs(case) for case in json.loads(cases)])
`));
}

Deno.test("every step and several hundred tasks mean in TypeScript what they mean in Python", async () => {
  const random = seeded("meaning");
  const programs: { program: Program; inputs: unknown[][]; expected: unknown[] }[] = [];
  for (const domain of domains) {
    const plain = domain.reducers.find((step) => step.name === "itself")!;
    const lines = [...domain.transforms.map((step) => [step, plain]), ...domain.reducers.map((step) => [step])];
    for (const line of lines) {
      for (let draw = 0; draw < 4; draw++) {
        const program = { domain, steps: line.map((step) => ({ step, use: drawArguments(random) })) };
        const inputs = domain.inputs(random);
        programs.push({
          program,
          inputs: inputs.map((input) => [input]),
          expected: inputs.map((input) => evaluate(program, input)),
        });
      }
    }
  }
  const drawn = (["train", "validation", "test"] as const).flatMap((split) => tasks("meaning", split, 200));
  const cases = [
    ...programs.map(({ program, inputs, expected }) => ({ source: source(program), inputs, expected })),
    ...drawn.map(({ solution, inputs, expected }) => ({ source: solution, inputs, expected })),
  ];
  const found = await python(cases.map(({ source, inputs }) => ({ source, inputs })));
  for (const [index, { source, expected }] of cases.entries()) assertEquals(found[index], expected, source);
});
