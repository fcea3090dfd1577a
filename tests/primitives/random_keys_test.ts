/** @file Random numbers: published test vectors, the same bits on every device, and the distributions' moments. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { compile, values } from "../../backend/compile.ts";
import type { Device } from "../../backend/runtime.ts";
import { constant } from "../../dsl/build.ts";
import {
  argsort,
  at,
  bernoulli,
  bits,
  cast,
  categorical,
  expand,
  fold,
  type Key,
  key,
  normal,
  permutation,
  read,
  split,
  take,
  type Tensor,
  tensor,
  uniform,
} from "../../dsl/mod.ts";
import { evaluate } from "../../dsl/interpret/interpret.ts";
import { threefry } from "../../dsl/ops/random.ts";
import { allDevices, withDevice } from "../devices.ts";

Deno.test("Threefry2x32-20: Random123's known answers", () => {
  // kat_vectors of Random123 1.09 (Salmon et al., 2011): counter, key, block.
  const known = [
    [0x00000000, 0x00000000, 0x00000000, 0x00000000, 0x6b200159, 0x99ba4efe],
    [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0x1cb996fc, 0xbb002be7],
    [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xc4923a9c, 0x483df7a0],
  ];
  for (const [counter0, counter1, key0, key1, ...block] of known) {
    const word = (value: number) => constant(value, "u32");
    const made = evaluate([...threefry([word(key0), word(key1)], [word(counter0), word(counter1)])]);
    assertEquals(made.map(({ data }) => data[0]), block);
  }
});

/** What must be the same everywhere, from one key that a compiled function gets as an argument. */
function discrete(key: Key) {
  const keys = split(key, { use: 6 }), use = (i: number): Key => at(keys, "use", i) as Key;
  const twoKeys = split(use(5), { layer: 2 });
  const rows = tensor({ a: 2, b: 5 }, [3, -7, 3, 0, 2 ** 31 - 1, -1, -1, -(2 ** 31), 5, 4], "i32");
  return {
    keys,
    bits: bits(use(0), { a: 3, b: 700 }),
    uniform: uniform(use(1), { a: 70, b: 3 }),
    bernoulli: cast(bernoulli(use(2), { a: 1000 }, 0.7), "i32"),
    perElement: cast(bernoulli(use(2), { a: 4, b: 100 }, tensor({ a: 4 }, [0, 0.25, 0.5, 1])), "i32"),
    short: permutation(use(3), "a", 10),
    long: permutation(use(4), "a", 3001),
    layers: bits(twoKeys, { b: 4 }),
    folded: fold(use(0), tensor({}, [9], "i32")),
    sorted: argsort(rows, "b"),
    sortedAcross: argsort(rows, "a"),
  };
}

const readEverything = async (device: Device): Promise<Record<string, number[]>> => {
  const made = await compile(discrete, device)(key(2 ** 40 + 5)), out: Record<string, number[]> = {};
  for (const [name, each] of Object.entries(made)) out[name] = Array.from(await values(each as never, device));
  return out;
};

for (const name of allDevices()) {
  Deno.test(`random bits, uniform, bernoulli and permutations on ${name} are those of the interpreter, traced or not`, () =>
    withDevice(name, async (device) => {
      const want = Object.fromEntries(
        Object.entries(discrete(key(2 ** 40 + 5))).map(([each, x]) => [each, Array.from(read(x as never))]),
      );
      assertEquals(await readEverything(device), want);
    }));
}

Deno.test("a permutation has every number once, and every place of a short one sees every number", () => {
  const seen = new Set<string>();
  for (let seed = 0; seed < 60; seed++) {
    const order = Array.from(read(permutation(key(seed), "batch", 4)));
    assertEquals(order.toSorted(), [0, 1, 2, 3]);
    order.forEach((value, place) => seen.add(`${place}:${value}`));
  }
  assertEquals(seen.size, 16);
  const long = Array.from(read(permutation(key(1), "batch", 2000)));
  assertEquals(long.toSorted((a, b) => a - b), Array.from({ length: 2000 }, (_, i) => i));
});

Deno.test("argsort is stable and sorts along any axis, negative numbers first", () => {
  const x = tensor({ row: 2, seq: 4 }, [[5, -1, 5, -(2 ** 31)], [0, 0, -3, 2 ** 31 - 1]], "i32");
  assertEquals(Array.from(read(argsort(x, "seq"), "row", "seq")), [3, 1, 0, 2, 2, 0, 1, 3]);
  assertEquals(Array.from(read(argsort(x, "row"), "row", "seq")), [1, 0, 1, 0, 0, 1, 0, 1]);
  assertEquals(Array.from(read(take(x, "seq", argsort(x, "seq")), "row", "seq")).slice(0, 3), [-(2 ** 31), -1, 5]);
  const unsigned = tensor({ seq: 3 }, [2 ** 32 - 1, 0, 2 ** 31], "u32");
  assertEquals(Array.from(read(argsort(unsigned, "seq"))), [1, 2, 0]);
});

const mean = (x: ArrayLike<number>): number => Array.from(x).reduce((a, b) => a + b, 0) / x.length;
const correlation = (x: ArrayLike<number>, y: ArrayLike<number>): number => {
  const [mx, my] = [mean(x), mean(y)], dx = Array.from(x, (each) => each - mx), dy = Array.from(y, (each) => each - my);
  return mean(dx.map((each, i) => each * dy[i])) / Math.sqrt(mean(dx.map((d) => d * d)) * mean(dy.map((d) => d * d)));
};

Deno.test("distributions have their moments, and neighbours, children and folds are uncorrelated", () => {
  const count = 20_000, spread = 4 / Math.sqrt(count), sizes = { seq: count };
  const flat = read(uniform(key(1), sizes)), bell = read(normal(key(2), sizes));
  assert(flat.every((x) => x >= 0 && x < 1 && Number.isInteger(x * 2 ** 24)));
  assert(Math.abs(mean(flat) - 0.5) < spread && Math.abs(mean(flat.map((x) => x * x)) - 1 / 3) < spread);
  assert(Math.abs(mean(bell)) < spread && Math.abs(mean(bell.map((x) => x * x)) - 1) < 2 * spread);
  assert(Math.abs(mean(bell.map((x) => x ** 4)) - 3) < 12 * spread);
  assert(Math.abs(correlation(flat.slice(1), flat.slice(0, -1))) < spread);
  const [left, right] = [0, 1].map((use) => read(uniform(at(split(key(1), { use: 2 }), "use", use) as Key, sizes)));
  const folded = read(uniform(fold(key(1), 2), sizes));
  for (const other of [right, folded, flat]) assert(Math.abs(correlation(left, other)) < spread);
});

Deno.test("categorical draws with the probabilities of a softmax, row by row", () => {
  const count = 20_000, logits = tensor({ vocab: 3 }, [0, Math.log(2), Math.log(5)]);
  const drawn = read(categorical(key(4), expand(logits, { seq: count }), "vocab"));
  [1, 2, 5].forEach((weight, i) => {
    const share = drawn.filter((each) => each === i).length / count;
    assert(Math.abs(share - weight / 8) < 4 / Math.sqrt(count), `${share} of ${i}`);
  });
});

Deno.test("what is no key, no seed and no new axis is refused by name", () => {
  assertThrows(() => key(-1), TypeError, "key: -1 is no whole number");
  assertThrows(() => key(0.5), TypeError, "key: 0.5");
  const wrong = tensor({ word: 3 }, [1, 2, 3], "u32");
  assertThrows(() => bits(wrong, { seq: 2 }), TypeError, 'a key is u32 with an axis "word" of 2, this is u32[word:3]');
  const layers: Tensor<"layer" | "word", "int"> = split(key(1), { layer: 2 });
  assertThrows(() => uniform(layers, { layer: 2 }), TypeError, 'the keys have the axis "layer" already');
});
