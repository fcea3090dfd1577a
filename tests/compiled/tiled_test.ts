/**
 * @file Loops over tiles: attention never stores its scores, a loss over a vocabulary never its logits, and the values
 * are those of the program without loops.
 */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { processor } from "../../bench/plan.ts";
import { inline } from "../../backend/compiler/inline.ts";
import { tile } from "../../backend/compiler/tile.ts";
import { pipeline } from "../../backend/compiler/pipeline.ts";
import { validateTiled } from "../../backend/compiler/validate/tile.ts";
import { constant, mul, node, scale, sum } from "../../dsl/build.ts";
import { evaluate } from "../../dsl/interpret/interpret.ts";
import { causal, contract, crossEntropy, maskedSoftmax, rename } from "../../dsl/mod.ts";
import { isOp, type Node, topological } from "../../dsl/node.ts";
import { axesOf, type Shape, sizeOf } from "../../dsl/shape.ts";
import type { TiledBody } from "../../dsl/primitives/tiled.ts";
import { simplify } from "../../dsl/simplify.ts";
import { nodeOf, tensorOf } from "../../dsl/tensor.ts";
import { backward } from "../../dsl/transforms/reverse.ts";
import { assertAgree, type Case, drawValues, expected, onDevice, randomNumbers } from "../agreement.ts";
import { allDevices, withDevice } from "../devices.ts";

const variable = (shape: Shape, dtype: "f32" | "i32" = "f32"): Node =>
  node("variable", [], { shape, dtype, name: "x" });

/** Attention with grouped queries and its gradients. */
function attention(sizes: { batch: number; seq: number; head: number; group: number; dim: number }): Case {
  const { batch, seq, head, group, dim } = sizes, random = randomNumbers(3);
  const parameters = [
    variable({ batch, seq, head, group, dim }),
    variable({ batch, seq, head, dim }),
    variable({ batch, seq, head, dim }),
    variable({ batch, seq, head, group, dim }),
  ];
  const [q, k, v, weight] = parameters;
  type Heads = "batch" | "seq" | "head" | "dim";
  const query = tensorOf<"batch" | "seq" | "head" | "group" | "dim", "real">(scale(q, 0.5));
  const key = rename(tensorOf<Heads, "real">(scale(k, 1.5)), { seq: "key" });
  const value = rename(tensorOf<Heads, "real">(scale(v, 0.75)), { seq: "key" });
  const scores = contract(query, key, "dim");
  const out = nodeOf(contract(maskedSoftmax(scores, "key", causal(seq)), value, "key"));
  const loss = sum(mul(mul(out, out), weight), axesOf(out.shape));
  return {
    parameters,
    results: [loss, ...backward([loss], [constant(1)], [q, k, v])],
    values: parameters.map(({ shape }) => drawValues({ shape }, random)),
  };
}

/** The loss over a vocabulary, with the gradients of the hidden state and of the output weights. */
function vocabularyLoss(sizes: { batch: number; seq: number; embed: number; vocab: number }): Case {
  const { batch, seq, embed, vocab } = sizes, random = randomNumbers(4);
  const parameters = [
    variable({ batch, seq, embed }),
    variable({ vocab, embed }),
    variable({ batch, seq }, "i32"),
  ];
  const [hidden, weights, labels] = parameters;
  const loss = nodeOf(crossEntropy(
    contract(
      tensorOf<"batch" | "seq" | "embed", "real">(hidden),
      tensorOf<"vocab" | "embed", "real">(weights),
      "embed",
    ),
    tensorOf<"batch" | "seq", "int">(labels),
  ));
  return {
    parameters,
    results: [loss, ...backward([loss], [constant(1)], [hidden, weights])],
    values: [
      drawValues({ shape: hidden.shape }, random),
      drawValues({ shape: weights.shape }, random),
      drawValues({ shape: labels.shape, dtype: "i32", range: [-1, vocab - 1] }, random),
    ],
  };
}

const limits = { largeBytes: 1024, accumulates: true, windowAlignment: 4 };
const plain = ({ results }: Case): Node[] => simplify(inline(results));
const loopsIn = (roots: readonly Node[]) => {
  const tiled = topological(roots).filter((each) => isOp(each, "tiled")) as unknown as Node<"tiled">[];
  return [...new Set(tiled.map(({ attributes }) => attributes.body))];
};

/** Batches, a single batch, and lengths that tiles do not divide. */
const attentions = [
  { batch: 3, seq: 24, head: 2, group: 3, dim: 4 },
  { batch: 1, seq: 35, head: 1, group: 2, dim: 4 },
  { batch: 1, seq: 150, head: 1, group: 1, dim: 4 },
];
const losses = [{ batch: 3, seq: 66, embed: 4, vocab: 61 }, { batch: 1, seq: 150, embed: 8, vocab: 40 }];

Deno.test("attention is one loop forward and one backward, and gives what it gives without loops", () => {
  for (const sizes of attentions) {
    const each = attention(sizes), roots = plain(each), cut = tile(roots, limits);
    assertEquals(loopsIn(cut).length, 2);
    assertSameValues(each, roots, cut);
  }
});

Deno.test("the loss over a vocabulary is one loop for its value and its gradients", () => {
  for (const sizes of losses) {
    const each = vocabularyLoss(sizes), roots = plain(each), cut = tile(roots, limits);
    assertEquals(loopsIn(cut).length, 1);
    assertSameValues(each, roots, cut);
  }
});

function assertSameValues({ parameters, values }: Case, roots: readonly Node[], cut: readonly Node[]): void {
  const given = new Map(parameters.map((x, i) => [x, { shape: x.shape, data: values[i] }]));
  const want = evaluate(roots, given), got = evaluate(cut, given);
  want.forEach(({ data }, i) => {
    data.forEach((value, j) => {
      const off = Math.abs(got[i].data[j] - value);
      assert(off <= 1e-12 * Math.max(1, Math.abs(value)), `result ${i}, element ${j}: ${got[i].data[j]}, not ${value}`);
    });
  });
}

Deno.test("a loop that was broken on purpose is caught", () => {
  const roots = plain(attention(attentions[0])), cut = tile(roots, limits);
  const loops = topological(cut).filter((each) => isOp(each, "tiled")) as unknown as Node<"tiled">[];
  const { attributes: { body, result }, inputs } = loops[0], [first] = body.tiles;
  const broken = (changed: Partial<TiledBody>, given = inputs): Node[] => [
    node("tiled", given, { body: { ...body, ...changed }, result }) as unknown as Node,
  ];
  const same = { ...roots[0], ...body.results[result] } as Node;
  const caught = (words: RegExp, after: Node[]) =>
    assertThrows(() => validateTiled([same], after), Error, words.source);
  validateTiled([same], broken({}));
  caught(/comes next/, broken({ tiles: [{ ...first, starts: first.starts.slice(1) }] }));
  caught(/covers/, broken({ tiles: [{ ...first, starts: first.starts.slice(0, 1) }] }));
  caught(
    /looks at another tensor/,
    broken({}, [inputs[0], ...inputs.slice(0, -1)].map((x, i) => i === 0 ? roots[0] : x)),
  );
  caught(/has no place/, broken({ tiles: [{ ...first, results: first.results.map((root) => root.inputs[0]) }] }));
  caught(/is not given it/, broken({ tiles: [{ ...first, windows: first.windows.slice(1) }] }, inputs.slice(1)));
});

Deno.test("what is computed tile by tile is nowhere in memory as a whole", () => {
  const compiled = (each: Case, fuse: "on" | "off") =>
    pipeline(each, {
      capabilities: processor,
      fuse,
      poison: false,
      donated: each.parameters.map(() => false),
      hosted: each.parameters.map(() => false),
    }).plan;
  const arena = (each: Case, fuse: "on" | "off") => compiled(each, fuse).arena.reduce((a, b) => a + b, 0);
  // Scores of 64 MiB, and logits of 128 MiB.
  const scores = { batch: 1, seq: 1024, head: 4, group: 4, dim: 64 };
  const logits = { batch: 1, seq: 1024, embed: 128, vocab: 32768 };
  const megabyte = 2 ** 20;
  assert(arena(attention(scores), "off") > 128 * megabyte);
  assert(arena(attention(scores), "on") < 48 * megabyte);
  assert(arena(vocabularyLoss(logits), "off") > 256 * megabyte);
  assert(arena(vocabularyLoss(logits), "on") < 80 * megabyte);
  assert(sizeOf(attention(scores).results[0].shape) === 1);
});

for (const name of allDevices().filter((each) => each !== "interpreter")) {
  Deno.test(`loops over tiles on ${name}: the interpreter's values`, () =>
    withDevice(name, async (device) => {
      const cases = [
        ...attentions.map(attention),
        attention({ batch: 1, seq: 192, head: 2, group: 1, dim: 16 }),
        ...losses.map(vocabularyLoss),
        vocabularyLoss({ batch: 1, seq: 192, embed: 16, vocab: 96 }),
      ];
      for (const [i, each] of cases.entries()) {
        const want = expected(each);
        for (const largeBytes of [1024, 16384]) {
          assertAgree(await onDevice(each, device, { largeBytes }), want, `case ${i} in tiles of ${largeBytes} bytes`);
        }
      }
    }));
}
