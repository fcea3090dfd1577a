/**
 * @file Mistakes that show while a program is traced: the error names operation, axes and sizes, and the line in the
 * user's own file, never one of the library's.
 */
import { assert, assertEquals, assertInstanceOf } from "@std/assert";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { checkout, withTempDir } from "../support.ts";

/**
 * A user's file, outside of the checkout, in a folder that is called as one of ours. Each function makes one mistake,
 * on the line that ends with HERE; the comment before it says what its message must contain.
 */
const file = (mod: string): string =>
  `
import * as xft from "${mod}";
const x = xft.tensor({ seq: 3, embed: 8 }, new Float32Array(24)), w = xft.tensor({ embed: 16, hidden: 2 }, new Float32Array(32));
const any = (value: unknown): any => value;
const config: xft.ModelConfig & { kind: "llama" } = {
  kind: "llama", vocabSize: 5, hiddenSize: 8, ffnSize: 4, layers: 1, heads: 2, kvHeads: 2, headDim: 4,
  maxPositions: 8, normEps: 1e-5, ropeTheta: 1e4, ropeScaling: null, tied: true,
} as any;

// contract: axis "embed" is 8 in one operand and 16 in the other ([seq:3 embed:8] vs [embed:16 hidden:2])
export function sizes() {
  return xft.contract(x, w, "embed"); // HERE
}
// add: the right operand has axis "hidden" that the left one lacks ([seq:3 embed:8] and [embed:16 hidden:2])
export function broadcast() {
  return xft.add(any(x), any(w)); // HERE
}
// sub: axis "embed" is 8 in one operand and 4 in the other ([seq:3 embed:8] vs [embed:4])
export function subtract() {
  return xft.sub(x, xft.tensor({ embed: 4 }, [1, 2, 3, 4])); // HERE
}
// sum: no axis "vocab" in [seq:3 embed:8]
export function missing() {
  return xft.sum(any(x), "vocab"); // HERE
}
// unflatten: axis "embed" is 8, but [head:3 dim:2] multiplies to 6
export function split() {
  return xft.unflatten(x, "embed", { head: 3, dim: 2 }); // HERE
}
// topk: 9 of axis "embed", which has 8
export function choose() {
  return xft.topk(x, "embed", { slot: 9 }); // HERE
}
// slice: 2 … 5 is not within axis "seq", which has 3
export function cut() {
  return xft.slice(x, "seq", 2, 5); // HERE
}
// rename: {"seq":"embed"} makes two axes alike in [seq:3 embed:8]
export function twice() {
  return xft.rename(any(x), { seq: "embed" }); // HERE
}
// contract: axis "embed" is 8 in one operand and 16 in the other
export function deep() {
  // Far more frames than a stack has by default, all of them the user's and the library's.
  const nested = (depth: number): any => depth === 0 ? xft.contract(x, w, "embed") : [0].map(() => nested(depth - 1))[0]; // HERE
  return nested(30);
}
// contract: axis "embed" is 8 in one operand and 16 in the other
export function inLoss() {
  return xft.grad((p: typeof x) => {
    const hidden = xft.checkpoint((q: typeof x) => xft.contract(q, w, "embed")); // HERE
    return xft.sum(hidden(p));
  })(x);
}
// sum: no axis "nowhere" in [batch:1 seq:2 embed:8]
export function inBlock() {
  const model = any(xft.mapTree((leaf) => leaf, parameters()));
  const tokens = xft.tensor({ batch: 1, seq: 2 }, [1, 2], "i32");
  return xft.llama(config, model, tokens, (hidden) => {
    return xft.sum(any(hidden), "nowhere") as any; // HERE
  });
}
// contract: axis "embed" is 8 in one operand and 9 in the other
export function inModel() {
  const { layers: [layer], ...model } = any(parameters());
  const attention = { ...layer.attention, q: xft.full({ head: 2, group: 1, dim: 4, embed: 9 }, 0) };
  const wrong = { ...model, layers: [{ ...layer, attention }] };
  return xft.llama(config, wrong, xft.tensor({ batch: 1, seq: 2 }, [1, 2], "i32"), xft.swiglu).logits; // HERE
}
// grad: the loss must be a scalar, it has axes seq
export function noScalar() {
  return xft.grad((p: typeof x) => any(xft.sum(p, "embed")))(x); // HERE
}
// jvp: tensor 0 is f32[seq:3 embed:8], but its change is f32[embed:16 hidden:2]
export function tangent() {
  return xft.jvp((p: typeof x) => p)(x, any(w)); // HERE
}
// tensor: [seq:2] needs 2 values, got 3
export async function compiled() {
  using device = await xft.open("interpreter");
  return await xft.compile((p: typeof x) => {
    return xft.add(xft.sum(p), xft.sum(xft.tensor({ seq: 2 }, [1, 2, 3]))); // HERE
  }, device)(x);
}

function parameters() {
  const norm = xft.full({ embed: 8 }, 1), project = xft.full({ head: 2, dim: 4, embed: 8 }, 0);
  const q = xft.full({ head: 2, group: 1, dim: 4, embed: 8 }, 0);
  const ffn = { gate: xft.full({ hidden: 4, embed: 8 }, 0), up: xft.full({ hidden: 4, embed: 8 }, 1), down: w };
  return {
    embedding: xft.full({ vocab: 5, embed: 8 }, 0), norm,
    layers: [{ norm1: norm, norm2: norm, ffn, attention: { q, k: project, v: project, o: q } }],
  };
}
`.trimStart();

Deno.test("errors of tracing name operation, axes, sizes and the user's own line", () =>
  withTempDir(async (folder) => {
    // A user's folder may have a name that ours have.
    const place = join(folder, "dsl"), path = join(place, "mine.ts");
    Deno.mkdirSync(place);
    const text = file(pathToFileURL(checkout("mod.ts")).href), lines = text.split("\n");
    Deno.writeTextFileSync(path, text);
    const mine: Record<string, () => unknown> = await import(pathToFileURL(path).href);
    const wrong: string[] = [];
    for (const [name, run] of Object.entries(mine)) {
      const start = lines.findIndex((line) => line.includes(`function ${name}(`));
      const here = lines.findIndex((line, i) => i > start && line.endsWith("// HERE")) + 1;
      let thrown: unknown;
      try {
        await run();
      } catch (error) {
        thrown = error;
      }
      assertInstanceOf(thrown, TypeError, `${name}: no error`);
      const message = (thrown as TypeError).message, expected = lines[start - 1].replace("// ", "");
      if (!message.startsWith(expected)) wrong.push(`${name}: expected ${expected}, got ${message}`);
      if (!message.endsWith(`\n  at ${path}:${here}`)) wrong.push(`${name}: expected line ${here}, got ${message}`);
    }
    assertEquals(wrong, []);
    assert(Object.keys(mine).length >= 15);
  }));
