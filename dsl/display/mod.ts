/**
 * @file How tensors and programs show themselves in a notebook: Deno's Jupyter kernel asks what it displays for
 * `Symbol.for("Jupyter.display")`.
 */
import { evaluate } from "../interpret/interpret.ts";
import { isOp, type Node, nodePrototype, topological } from "../node.ts";
import { showShape, sizeOf } from "../shape.ts";
import { show } from "../text/show.ts";
import { type Box, drawGraph, escape } from "./graph.ts";
import { numeral, spanOf, tableOf } from "./values.ts";

/** The same thing in several formats, by MIME type. */
export type DisplayBundle = Readonly<Record<string, string>>;

/** The symbol that notebooks ask for. */
export const displaySymbol: symbol = Symbol.for("Jupyter.display");

/** Memory of a device that can be read: what a backend puts into a `buffer` may have this. */
export interface Readable {
  /** The values as they are stored. */
  values(): Promise<ArrayLike<number>>;
}

/** Expressions of up to so many elements, all of their parts together, are computed to be shown. */
const computed = 100_000;

/** Tensors of up to so many elements are read from their device to be shown. */
const fetched = 2 ** 22;

/** Graphs of more boxes say less than their text. */
const drawn = 80;

const style = "<style>.xft table{border-collapse:collapse;margin:4px 0}.xft td,.xft th{padding:1px 6px;" +
  "text-align:right;font:11px monospace}.xft th{color:#5a6472;font-weight:normal}</style>";

/** A tensor or program, as HTML and as text. */
async function displayOf(node: Node): Promise<DisplayBundle> {
  const name = `Tensor ${node.dtype}${showShape(node.shape)}`, values = await valuesOf(node);
  const program = topological([node]);
  const isLeaf = program.length === 1;
  const text = [name], html = [`<b>${escape(name)}</b>`];
  if (values) {
    const span = spanOf(values, node.dtype);
    const first = Array.from({ length: Math.min(8, values.length) }, (_, i) => numeral(values[i], node.dtype));
    text.push(span, `[${first.join(", ")}${values.length > first.length ? ", …" : ""}]`);
    html.push(`<div>${escape(span)}</div>`);
    if (values.length > 0) html.push(tableOf(node.shape, values, node.dtype));
  }
  if (!isLeaf) {
    const printed = show(node);
    text.push(printed);
    html.push(
      program.length <= drawn
        ? programGraph(program, node)
        : `<pre>${program.length} operations\n${escape(printed.split("\n").slice(-drawn).join("\n"))}</pre>`,
    );
  }
  return { "text/html": `<div class="xft">${style}${html.join("")}</div>`, "text/plain": text.join("\n") };
}

/** Values that are known, or soon computed; undefined where they depend on what is not there. */
async function valuesOf(node: Node): Promise<ArrayLike<number> | undefined> {
  if (isOp(node, "buffer")) {
    const memory = node.attributes.memory as Partial<Readable>;
    if (sizeOf(node.shape) > fetched) return undefined;
    // Memory that was given back has nothing to show.
    return await memory.values?.().catch(() => undefined);
  }
  const program = topological([node]);
  const isClosed = program.every((each) => !isOp(each, "variable") && !isOp(each, "buffer"));
  const elements = program.reduce((sum, { shape }) => sum + sizeOf(shape), 0);
  return isClosed && elements <= computed ? evaluate([node])[0].data : undefined;
}

/** Constants stand inside the boxes that use them. */
function programGraph(program: readonly Node[], result: Node): string {
  const isQuiet = (node: Node): boolean => isOp(node, "constant") || (isOp(node, "expand") && isQuiet(node.inputs[0]));
  const boxes = program.filter((node) => node === result || !isQuiet(node)).map((node): Box => {
    const values = node.inputs.filter(isQuiet).map((input) => constantOf(input));
    const words = isOp(node, "variable") ? node.attributes.name : [node.op, ...values].join(" ");
    return {
      id: String(node.id),
      lines: [words, `${node.dtype}${showShape(node.shape)}`],
      title: JSON.stringify(node.attributes, (key, value) => key === "values" || key === "memory" ? undefined : value),
      tone: node === result
        ? "result"
        : node.inputs.length === 0
        ? "leaf"
        : /contract/.test(node.op)
        ? "heavy"
        : "work",
      inputs: node.inputs.map(({ id }) => String(id)),
    };
  });
  return drawGraph(boxes);
}

function constantOf(node: Node): string {
  if (isOp(node, "constant")) return numeral(node.attributes.value, node.dtype);
  return constantOf(node.inputs[0]);
}

Object.defineProperty(nodePrototype, displaySymbol, {
  value(this: Node): Promise<DisplayBundle> {
    return displayOf(this);
  },
});
