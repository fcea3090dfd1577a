/** @file Prints a case as TypeScript that, pasted into a file of the repository, runs and checks it again. */
import { isOp, type Node } from "../../dsl/node.ts";
import type { Case } from "../agreement.ts";

/** Numbers that JSON lacks are written as JavaScript writes them. */
function literal(value: unknown): string {
  if (typeof value === "number") return Object.is(value, -0) ? "-0" : String(value);
  if (ArrayBuffer.isView(value)) return `Float64Array.of(${[...value as Float64Array].map(literal).join(", ")})`;
  if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const entries = Object.entries(value).filter(([, each]) => each !== undefined);
  return `{ ${entries.map(([name, each]) => `${JSON.stringify(name)}: ${literal(each)}`).join(", ")} }`;
}

/**
 * A case as code.
 *
 * @param device the device on which it went wrong
 * @param root where the repository is, from the file that the code stands in
 */
export function printCase({ parameters, results, values }: Case, device: string, root = "../"): string {
  const names = new Map<Node, string>(), lines: string[] = [];
  // Inputs first, in their own order: the same program always prints the same.
  const print = (each: Node): void => {
    if (names.has(each)) return;
    each.inputs.forEach(print);
    let attributes = "";
    if (isOp(each, "call")) {
      // Gradients are part of the program already: how they were made is not needed to run it.
      const { parameters: inner, result } = each.attributes.func;
      [...inner, result].forEach(print);
      const given = inner.map((x) => names.get(x)).join(", ");
      attributes = `{ func: { parameters: [${given}], result: ${names.get(result)}, vjp: () => [], jvp: () => null } }`;
    } else attributes = literal(each.attributes);
    names.set(each, `n${names.size}`);
    const inputs = each.inputs.map((input) => names.get(input)).join(", ");
    lines.push(`const ${names.get(each)} = node("${each.op}", [${inputs}], ${attributes});`);
  };
  [...parameters, ...results].forEach(print);
  const list = (nodes: readonly Node[]): string => nodes.map((each) => names.get(each)).join(", ");
  return [
    `import { node } from "${root}dsl/build.ts";`,
    `import { withDevice } from "${root}tests/devices.ts";`,
    `import { checkCase } from "${root}tests/random/check.ts";`,
    ...lines,
    "export const failing = {",
    `  parameters: [${list(parameters)}],`,
    `  results: [${list(results)}],`,
    `  values: [${values.map(literal).join(", ")}],`,
    "};",
    `await withDevice("${device}", (device) => checkCase(failing, device));`,
  ].join("\n");
}
