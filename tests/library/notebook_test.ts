/** @file The notebooks of `recipes/examples` run, and their cells show what the text around them says. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { checkout } from "../support.ts";

/**
 * The code cells of a notebook as one module that prints what each displays, as a kernel would: what the last line of
 * a cell evaluates to, asked for `Symbol.for("Jupyter.display")`.
 */
function moduleOf(path: string): string {
  const { cells } = JSON.parse(Deno.readTextFileSync(path));
  const sources: string[] = cells.filter(({ cell_type }: { cell_type: string }) => cell_type === "code")
    .map(({ source }: { source: string[] }) => source.join(""));
  const parts = sources.map((source) => {
    const lines = source.split("\n"), last = lines.at(-1)!;
    if (/^(const|let|import|}|$)/.test(last)) return `${source}\n$shown.push({});`;
    const expression = lines.slice(0, -1).join("\n");
    return `${expression}\n$shown.push(await $display(${last.replace(/;$/, "")}));`;
  });
  const kernel = `type $Bundle = Record<string, string>;
const $shown: $Bundle[] = [];
const $display = (x: unknown) => (x as Record<symbol, () => Promise<$Bundle>>)[Symbol.for("Jupyter.display")]();`;
  const whole = [kernel, ...parts, "console.log(JSON.stringify($shown));"];
  // A kernel finds modules from the notebook's folder.
  return whole.join("\n").replaceAll(
    /from "(\.[^"]+)"/g,
    (_, specifier) => `from "${pathToFileURL(join(dirname(path), specifier)).href}"`,
  );
}

/** What the cells of a notebook display, one bundle each. Type-checked, and without a permission. */
async function run(path: string): Promise<Record<string, string>[]> {
  const args = ["run", "--quiet", "--check", "--no-prompt", "--ext=ts", "-"];
  const command = new Deno.Command(Deno.execPath(), { args, stdin: "piped", stdout: "piped", stderr: "piped" });
  const child = command.spawn(), writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(moduleOf(path)));
  await writer.close();
  const { code, stdout, stderr } = await child.output();
  assertEquals(code, 0, new TextDecoder().decode(stderr));
  return JSON.parse(new TextDecoder().decode(stdout).trim().split("\n").at(-1)!);
}

Deno.test("objective.ipynb: every cell runs without a permission and shows what it made", async () => {
  const [setup, softmax, gradient, experts, losses, weights] = await run(checkout("recipes/examples/objective.ipynb"));
  assertEquals(setup, {});
  for (const shown of [softmax, gradient, experts, losses, weights]) {
    assertStringIncludes(shown["text/html"], "<table>");
    assertStringIncludes(shown["text/plain"], "Tensor f32[");
  }
  for (const shown of [softmax, gradient, weights]) assertStringIncludes(shown["text/html"], "<svg ");
  assertStringIncludes(softmax["text/plain"], "[batch:3 embed:4]");
  assertStringIncludes(experts["text/plain"], "[expert:3 hidden:6 embed:8]");
  const [uniform, learned] = losses["text/plain"].split("\n")[2].slice(1, -1).split(", ").map(Number);
  assert(learned < uniform, losses["text/plain"]);
});
