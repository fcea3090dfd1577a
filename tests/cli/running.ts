/** @file Commands run as a user runs them, on the CPU: what they give, or the sentence with which they refuse. */
import { assertEquals } from "@std/assert";
import { join } from "node:path";
import { xft } from "../support.ts";

/** The result of a command that must succeed. */
export async function ran(args: string[], cwd: string, environment = {}): Promise<Record<string, unknown>> {
  const { code, stdout, stderr } = await xft([...args, "--device", "cpu", "--json"], cwd, environment);
  assertEquals(code, 0, `${args.join(" ")}: ${stderr}`);
  return JSON.parse(stdout.trim().split("\n").at(-1)!);
}

/** The sentence of a command that must fail. */
export async function refused(args: string[], cwd: string, environment = {}, exitCode = 1): Promise<string> {
  const { code, stderr } = await xft([...args, "--device", "cpu"], cwd, environment);
  assertEquals(code, exitCode, `${args.join(" ")}: ${stderr}`);
  return stderr.trim().split("\n").at(-1)!;
}

/** Writes a file of JSON lines. */
export function writeLines(folder: string, name: string, rows: readonly unknown[]): void {
  Deno.writeTextFileSync(join(folder, name), rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
}

/** Tasks as HumanEval+ has them: the function of task n adds n. */
export const additions = (count: number) =>
  Array.from({ length: count }, (_, index) => ({
    task_id: `HumanEval/${index}`,
    prompt: `def f${index}(x):\n`,
    entry_point: `f${index}`,
    canonical_solution: `    return x + ${index}\n`,
    base_input: [[1], [2]],
    plus_input: [[3]],
    atol: 0,
  }));
