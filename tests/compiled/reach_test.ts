/**
 * @file What a mask of counters hides is not computed: causal attention, windows, documents of fixed length. Values and
 * gradients are those of the program without loops, and a later token changes nothing before it.
 */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { clustersOf } from "../../backend/compiler/tiling/clusters.ts";
import { inline } from "../../backend/compiler/inline.ts";
import { rangeOf } from "../../backend/compiler/tiling/ranges.ts";
import { reachOf } from "../../backend/compiler/tiling/reach.ts";
import { tile } from "../../backend/compiler/tile.ts";
import { validateTiled } from "../../backend/compiler/validate/tile.ts";
import { constant, mul, node, sum } from "../../dsl/build.ts";
import { evaluate } from "../../dsl/interpret/interpret.ts";
import {
  add,
  and,
  causal,
  contract,
  equal,
  expand,
  iota,
  less,
  maskedSoftmax,
  not,
  rename,
  shiftRight,
  type Tensor,
} from "../../dsl/mod.ts";
import { isOp, type Node, topological } from "../../dsl/node.ts";
import { placementOf } from "../../dsl/primitives/tiled.ts";
import { axesOf, type Shape, stridesOf } from "../../dsl/shape.ts";
import { simplify } from "../../dsl/simplify.ts";
import { nodeOf, tensorOf } from "../../dsl/tensor.ts";
import { backward } from "../../dsl/transforms/reverse.ts";
import { assertAgree, type Case, drawValues, expected, onDevice, randomNumbers } from "../agreement.ts";
import { allDevices, withDevice } from "../devices.ts";

type Mask = Tensor<"seq" | "key", "bool">;
const length = 200;
const query = expand(iota("seq", length), { key: length }), key = expand(iota("key", length), { seq: length });

const variable = (shape: Shape, dtype: "f32" | "i32" = "f32"): Node =>
  node("variable", [], { shape, dtype, name: "x" });
const documents = variable({ seq: length }, "i32"), ids = tensorOf<"seq", "int">(documents);

/** Masks, with the part of the keys that is seen by queries 0 … 63, 64 … 127, and so on. */
const masks: Readonly<Record<string, { keep: Mask; seen: number[][] }>> = {
  causal: { keep: causal(length), seen: [[0, 64], [0, 128], [0, 192], [0, 200]] },
  window: {
    keep: and(causal(length), less(query, add(key, 40))),
    seen: [[0, 64], [0, 128], [64, 192], [128, 200]],
  },
  "documents of 64 tokens": {
    keep: and(causal(length), equal(shiftRight(query, 6), shiftRight(key, 6))),
    seen: [[0, 64], [64, 128], [128, 192], [192, 200]],
  },
  "causal, and documents that data tell": {
    keep: and(
      causal(length),
      equal(expand(ids, { key: length }), expand(rename(ids, { seq: "key" }), { seq: length })),
    ),
    seen: [[0, 64], [0, 128], [0, 192], [0, 200]],
  },
  "later keys only": { keep: less(query, key), seen: [[0, 200], [64, 200], [128, 200], [192, 200]] },
  "nothing for the first 70 queries": {
    keep: and(causal(length), not(less(query, 70))),
    seen: [[0, 64], [0, 128], [0, 192], [0, 200]],
  },
};

/** Attention with its gradients. */
function attention(keep: Mask): Case {
  const random = randomNumbers(5), heads = { batch: 1, seq: length, head: 1, dim: 4 };
  const [q, k, v, weight] = Array.from({ length: 4 }, () => variable(heads));
  type Heads = "batch" | "seq" | "head" | "dim";
  const other = (x: Node) => rename(tensorOf<Heads, "real">(x), { seq: "key" });
  const scores = contract(tensorOf<Heads, "real">(q), other(k), "dim");
  const out = nodeOf(contract(maskedSoftmax(scores, "key", keep), other(v), "key"));
  const loss = sum(mul(mul(out, out), weight), axesOf(out.shape));
  return {
    parameters: [q, k, v, weight, documents],
    results: [out, ...backward([loss], [constant(1)], [q, k, v])],
    values: [
      ...[q, k, v, weight].map(({ shape }) => drawValues({ shape, range: [-2, 2] }, random)),
      Float64Array.from({ length }, (_, i) => Math.floor(i / 30)),
    ],
  };
}

const limits = { largeBytes: 16384, accumulates: true, windowAlignment: 4 };
const plain = ({ results }: Case): Node[] => simplify(inline(results));
const given = ({ parameters, values }: Case) =>
  new Map(parameters.map((x, i) => [x, { shape: x.shape, data: values[i] }]));

Deno.test("tiles see what a mask shows them, and give what the program gives without loops", () => {
  for (const [name, { keep, seen }] of Object.entries(masks)) {
    const each = attention(keep), roots = plain(each);
    const clusters = clustersOf(roots, topological(roots), limits.largeBytes);
    for (const cluster of clusters) {
      const bands = reachOf(cluster, "seq")!.bands;
      const of = (row: number) => bands.find(({ start, stop }) => start <= row && row < stop)!;
      assertEquals(seen.map((_, i) => [of(64 * i).from, of(64 * i).to]), seen, name);
    }
    assert(clusters.length > 0);
    const cut = tile(roots, limits);
    validateTiled(roots, cut);
    const want = evaluate(roots, given(each)), got = evaluate(cut, given(each));
    want.forEach(({ data }, i) =>
      data.forEach((value, j) =>
        assert(
          Math.abs(got[i].data[j] - value) <= 1e-12 * Math.max(1, Math.abs(value)),
          `${name}: result ${i}, element ${j} is ${got[i].data[j]}, not ${value}`,
        )
      )
    );
  }
});

Deno.test("what only data can tell hides nothing", () => {
  const same = equal(expand(ids, { key: length }), expand(rename(ids, { seq: "key" }), { seq: length }));
  const roots = plain(attention(same));
  for (const cluster of clustersOf(roots, topological(roots), limits.largeBytes)) {
    assertEquals(reachOf(cluster, "seq"), undefined);
  }
});

Deno.test("a softmax without a floor keeps its masked elements: far below others they still count if all are", () => {
  const { parameters: [q, k, v] } = attention(causal(length));
  const scores = node("contract", [q, node("rename", [k], { names: { seq: "key" } })], { over: ["dim"] });
  const masked = node(
    "where",
    [expandTo(nodeOf(causal(length)), scores), scores, expandTo(constant(-1e30), scores)],
    {},
  );
  const total = node("logSumExp", [masked], { over: ["key"] });
  const roots = simplify([sum(mul(total, expandTo(sum(v, ["seq", "dim"]), total)), ["seq"])]);
  const [cluster] = clustersOf(roots, topological(roots), limits.largeBytes);
  assertEquals(reachOf(cluster, "seq"), undefined);
});

const expandTo = (x: Node, { shape }: Node): Node => node("expand", [x], { shape });

Deno.test("a range holds every element at its indices", () => {
  const random = randomNumbers(11), below = (most: number) => Math.floor(random() * most);
  const seq = nodeOf(query), other = nodeOf(key);
  const made: Node[] = [seq, other], reals: Node[] = [], bools: Node[] = [];
  const pick = (from: readonly Node[]): Node => from[below(from.length)];
  const number = (value: number, dtype: "i32" | "f32") => expandTo(constant(value, dtype), seq);
  for (let i = 0; i < 100; i++) {
    const [a, b] = [pick(made), pick(made)];
    made.push([
      () => node("add", [a, b], {}),
      () => node("mul", [a, number(below(7) - 3, "i32")], {}),
      () => node("neg", [a], {}),
      () => node("maximum", [a, b], {}),
      () => node("shr", [a, number(below(9), "i32")], {}),
      () => node("where", [pick([...bools, node("less", [a, b], {})]), a, b], {}),
    ][below(6)]());
    bools.push([
      () => node("less", [a, b], {}),
      () => node("equal", [a, b], {}),
      () => node("not", [pick([...bools, node("less", [b, a], {})])], {}),
      () =>
        node(["and", "or", "xor"][below(3)] as "and", [
          pick([...bools, node("equal", [a, b], {})]),
          node("less", [a, b], {}),
        ], {}),
    ][below(4)]());
    const x = node("cast", [a], { dtype: "f32" }), y = pick([...reals, x]);
    reals.push([
      () => node("mul", [y, number(random() - 0.5, "f32")], {}),
      () => node("add", [x, y], {}),
      () => node("exp", [node("mul", [y, number(-1e-3, "f32")], {})], {}),
      () => node("where", [pick(bools), y, number(-1e30, "f32")], {}),
    ][below(4)]());
  }
  const nodes = [...made, ...bools, ...reals], values = evaluate(nodes);
  let told = 0;
  nodes.forEach((each, i) => {
    const start = [below(length - 20), below(length - 20)];
    const [low, high] = rangeOf(each, { seq: [start[0], start[0] + 19], key: [start[1], start[1] + 19] });
    if (low > -1e9 && high < 1e9 && !(each.dtype === "bool" && low < high)) told++;
    const { data, shape } = values[i], found = stridesOf(shape);
    for (let s = 0; s < 20; s++) {
      for (let k = 0; k < 20; k++) {
        const value = data[(found.seq ?? 0) * (start[0] + s) + (found.key ?? 0) * (start[1] + k)];
        assert(
          Number.isNaN(value) || (low <= value && value <= high),
          `${each.op}: ${value} is not in ${low} … ${high}`,
        );
      }
    }
  });
  assert(told > nodes.length / 5, `only ${told} of ${nodes.length} ranges say something`);
});

Deno.test("a tile that puts its part beyond its tensor is caught", () => {
  const roots = plain(attention(masks.window.keep)), cut = tile(roots, limits);
  const loops = topological(cut).filter((each) => isOp(each, "tiled")) as unknown as Node<"tiled">[];
  const added = loops.find(({ attributes: { body } }) =>
    body.tiles.some(({ results }) =>
      results.some((root) => placementOf(root)?.from?.key ?? placementOf(root)?.from?.seq)
    )
  )!;
  const { attributes: { body, result }, inputs } = added;
  const moved = (root: Node): Node => {
    const into = placementOf(root)!;
    if (!into.from) return root;
    const from = Object.fromEntries(Object.keys(into.from).map((axis) => [axis, length - 1]));
    return node("placed", [isOp(root, "placed") ? root.inputs[0] : root], { into: { ...into, from } });
  };
  const tiles = body.tiles.map((each) => ({ ...each, results: each.results.map(moved) }));
  const broken = node("tiled", inputs, { body: { ...body, tiles }, result }) as unknown as Node;
  assertThrows(() => validateTiled([broken], [broken]), Error, "is no tile of result");
});

for (const name of allDevices().filter((each) => each !== "interpreter")) {
  Deno.test(`masks on ${name}: the interpreter's values and gradients`, () =>
    withDevice(name, async (device) => {
      for (const [mask, { keep }] of Object.entries(masks)) {
        const each = attention(keep), got = await onDevice(each, device, { largeBytes: 32768 });
        assertAgree(got, expected(each), mask);
        if (!mask.startsWith("nothing")) continue;
        const row = got[0].length / length;
        assert(
          [0, 1].every((i) => got[i].subarray(0, 70 * row).every((value) => value === 0)),
          "a row that sees nothing",
        );
      }
    }));

  Deno.test(`masks on ${name}: a later token changes no bit of what is before it`, () =>
    withDevice(name, async (device) => {
      const each = attention(causal(length)), [first] = await onDevice(each, device, { largeBytes: 32768 });
      for (const from of [199, 150, 64]) {
        const row = each.values[0].length / length;
        const values = each.values.map((x, i) => i < 3 ? x.map((v, at) => at >= from * row ? 3 - v : v) : x);
        const [out] = await onDevice({ ...each, values }, device, { largeBytes: 32768 });
        assertEquals(out.subarray(0, from * row), first.subarray(0, from * row));
        assert(out.subarray(from * row).some((value, i) => value !== first[from * row + i]));
      }
    }));
}
