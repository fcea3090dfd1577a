/**
 * @file Random numbers as values: a key is a tensor, and the same key gives the same numbers, whenever and wherever.
 *
 * The generator is Threefry-2×32 with 20 rounds (Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3, SC 2011),
 * a function of key and counter made of integer operations, so that bits are the same on every device. Counters are
 * laid out as in JAX's partitionable mode: element i (row-major in the order of the sizes) is made of block (0, i).
 */
import { add, cast, constant, expand, node } from "../build.ts";
import { mistake, type Node } from "../node.ts";
import { axesOf, type Shape, showShape, sizeOf, without } from "../shape.ts";
import { type In, nodeOf, type Operand, type Sizes, type Tensor, tensorOf } from "../tensor.ts";
import { add as plus, complement, cos, less, log, maximum, mul, neg, sqrt } from "./elementwise.ts";
import { argmax, take } from "./indexing.ts";
import { iota, tensor } from "./making.ts";
import { argsort, positions } from "./sort.ts";

/**
 * A key: two 32-bit words along the axis "word" (u32). With more axes, many keys. Use each key for one thing only;
 * `split` and `fold` make new ones.
 */
export type Key<A extends string = never> = Tensor<A | "word", "int">;

type Words = readonly [Node, Node];

const rotations = [[13, 15, 26, 6], [17, 29, 16, 24]] as const;
const PARITY = 0x1bd11bda, LARGEST_FOLD = 2 ** 53 - 1;

const word = (value: number): Node => constant(value, "u32");
const xor = (x: Node, y: Node): Node => node("xor", [x, expand(y, x.shape)], {});
const sum = (x: Node, y: Node): Node => add(x, expand(y, x.shape));
const shifted = (op: "shl" | "shr", x: Node, by: number): Node => node(op, [x, expand(word(by), x.shape)], {});
const rotated = (x: Node, by: number): Node => node("or", [shifted("shl", x, by), shifted("shr", x, 32 - by)], {});

/** Threefry2x32-20: the block of a counter under a key, all of one shape. */
export function threefry(key: Words, counter: Words): Words {
  const schedule = [...key, xor(xor(key[0], key[1]), word(PARITY))];
  let x = sum(counter[0], schedule[0]), y = sum(counter[1], schedule[1]);
  for (let round = 0; round < 20; round++) {
    x = add(x, y);
    y = xor(rotated(y, rotations[round / 4 & 1][round % 4]), x);
    if (round % 4 === 3) {
      const turn = (round + 1) / 4;
      x = add(x, schedule[turn % 3]);
      y = sum(add(y, schedule[(turn + 1) % 3]), word(turn));
    }
  }
  return [x, y];
}

/** The words of a key, each for every element of a shape. @throws TypeError when it is no key */
export function wordsOf(op: string, key: Node, shape: Shape): Words {
  if (key.shape.word !== 2 || key.dtype !== "u32") {
    mistake(op, `a key is u32 with an axis "word" of 2, this is ${key.dtype}${showShape(key.shape)}; see key()`);
  }
  const at = (start: number): Node => {
    const one = node("slice", [key], { axis: "word", start, stop: start + 1 });
    return expand(node("sum", [one], { over: ["word"] }), shape);
  };
  return [at(0), at(1)];
}

/** Both words of the blocks of a shape: one block for each element, under each key. */
function blocks(op: string, key: Node, sizes: Sizes): Words {
  const keys = without(key.shape, ["word"]), taken = axesOf(keys).find((axis) => axis in sizes);
  if (taken) mistake(op, `the keys have the axis "${taken}" already: ${showShape(key.shape)}`);
  const shape = { ...keys, ...sizes };
  if (sizeOf(sizes) >= 2 ** 31) mistake(op, `${showShape(sizes)} are too many elements for one key; split it`);
  return threefry(wordsOf(op, key, shape), [
    expand(word(0), shape),
    expand(positions(sizes, "u32"), shape),
  ]);
}

/** Two words as a key. */
function keyOf(words: Words): Node {
  const pieces = words.map((each) => expand(each, { ...each.shape, word: 1 }));
  return node("concat", pieces, { axis: "word" });
}

/** The upper 24 bits as a number in [0, 1): a multiple of 2⁻²⁴, exact in f32. */
export function fraction(bits: Node): Node {
  const whole = cast(shifted("shr", bits, 8), "f32");
  return node("mul", [whole, expand(constant(2 ** -24), whole.shape)], {});
}

/**
 * A key from a seed.
 *
 * @param seed a whole number from 0 to 2⁵³ − 1
 * @throws TypeError for any other number
 * @example
 * ```ts
 * import { key, read } from "../mod.ts";
 * console.assert(read(key(7)).join() === "0,7");
 * ```
 */
export function key(seed: number): Key {
  return tensor({ word: 2 }, halves("key", seed), "u32");
}

/** A whole number as two words, the upper one first. */
function halves(op: string, value: number): [number, number] {
  if (!(Number.isInteger(value) && value >= 0 && value <= LARGEST_FOLD)) {
    mistake(op, `${value} is no whole number from 0 to 2⁵³ − 1`);
  }
  return [Math.floor(value / 2 ** 32), value % 2 ** 32];
}

/**
 * Independent keys along new axes: one for each layer, say. Take one with `at`.
 *
 * @param sizes the new axes; each element gets a key
 * @throws TypeError when the key has one of the axes already
 * @example
 * ```ts
 * import { at, key, read, split, uniform } from "../mod.ts";
 * const keys = split(key(7), { layer: 2 });
 * const [first, second] = [0, 1].map((layer) => read(uniform(at(keys, "layer", layer), { seq: 4 })).join());
 * console.assert(first !== second);
 * ```
 */
export function split<A extends string, const S extends Sizes>(
  key: Key<A>,
  sizes: S,
): Key<Exclude<A, "word"> | (keyof S & string)> {
  return tensorOf(keyOf(blocks("split", nodeOf(key), sizes)));
}

/**
 * A new key from a key and a number: the same number gives the same key. For steps of a loop, whose number may be
 * known at run time only.
 *
 * @param data a whole number from 0 to 2⁵³ − 1, or an integer tensor without axes (its 32 bits count)
 * @throws TypeError for any other number
 * @example
 * ```ts
 * import { fold, key, read } from "../mod.ts";
 * console.assert(read(fold(key(7), 1)).join() !== read(fold(key(7), 2)).join());
 * ```
 */
export function fold<A extends string>(key: Key<A>, data: number | Tensor<never, "int">): Key<A> {
  const from = nodeOf(key), shape = without(from.shape, ["word"]);
  const [upper, lower] = typeof data === "number"
    ? halves("fold", data).map(word)
    : [word(0), cast(nodeOf(data), "u32")];
  return tensorOf(keyOf(threefry(wordsOf("fold", from, shape), [expand(upper, shape), expand(lower, shape)])));
}

/**
 * Random bits, 32 for each element (u32): the same on every device.
 *
 * @throws TypeError when the key has one of the axes already
 * @example
 * ```ts
 * import { bits, key, read } from "../mod.ts";
 * console.assert(read(bits(key(7), { seq: 3 })).every((each) => each >= 0 && each < 2 ** 32));
 * ```
 */
export function bits<A extends string, const S extends Sizes>(
  key: Key<A>,
  sizes: S,
): Tensor<Exclude<A, "word"> | (keyof S & string), "int"> {
  const [x, y] = blocks("bits", nodeOf(key), sizes);
  return tensorOf(xor(x, y));
}

/**
 * Numbers in [0, 1), multiples of 2⁻²⁴: the same on every device.
 *
 * @throws TypeError when the key has one of the axes already
 * @example
 * ```ts
 * import { key, mean, item, uniform } from "../mod.ts";
 * console.assert(Math.abs(item(mean(uniform(key(7), { seq: 1000 }))) - 0.5) < 0.05);
 * ```
 */
export function uniform<A extends string, const S extends Sizes>(
  key: Key<A>,
  sizes: S,
): Tensor<Exclude<A, "word"> | (keyof S & string)> {
  return tensorOf(fraction(nodeOf(bits(key, sizes))));
}

/**
 * Standard normal numbers: mean 0, standard deviation 1, none beyond ±5.8. Box–Muller on both words of a block; devices
 * agree up to the rounding of log, sqrt and cos.
 *
 * @throws TypeError when the key has one of the axes already
 * @example
 * ```ts
 * import { item, key, mean, normal, square } from "../mod.ts";
 * console.assert(Math.abs(item(mean(square(normal(key(7), { seq: 1000 })))) - 1) < 0.15);
 * ```
 */
export function normal<A extends string, const S extends Sizes>(
  key: Key<A>,
  sizes: S,
): Tensor<Exclude<A, "word"> | (keyof S & string)> {
  type Axes = Exclude<A, "word"> | (keyof S & string);
  const [x, y] = blocks("normal", nodeOf(key), sizes).map((each) => tensorOf<Axes, "real">(fraction(each)));
  return mul(sqrt(mul(log(complement(x)), -2)), cos(mul(y, 2 * Math.PI)));
}

/**
 * True with a probability: the same on every device.
 *
 * @param probability a number, or one for each element along some of the axes
 * @throws TypeError when the probability has other axes
 * @example
 * ```ts
 * import { bernoulli, cast, item, key, mean } from "../mod.ts";
 * const dropped = bernoulli(key(7), { seq: 1000 }, 0.1);
 * console.assert(Math.abs(item(mean(cast(dropped, "f32"))) - 0.1) < 0.05);
 * ```
 */
export function bernoulli<A extends string, const S extends Sizes>(
  key: Key<A>,
  sizes: S,
  probability: number | Operand<NoInfer<Exclude<A, "word"> | (keyof S & string)>>,
): Tensor<Exclude<A, "word"> | (keyof S & string), "bool"> {
  // Devices hold the number in f32, so the interpreter must compare with that one.
  const share = typeof probability === "number" ? Math.fround(probability) : probability;
  return less(uniform(key, sizes), share as In<Exclude<A, "word"> | (keyof S & string)>);
}

/**
 * One index along an axis for each row, drawn with probabilities softmax(logits) (the Gumbel-max trick). Devices agree
 * unless rounding decides between two nearly equal candidates.
 *
 * @param logits unnormalised log-probabilities
 * @throws TypeError when the logits lack the axis
 * @example
 * ```ts
 * import { categorical, item, key, tensor } from "../mod.ts";
 * console.assert(item(categorical(key(7), tensor({ vocab: 3 }, [-90, 0, -90]), "vocab")) === 1);
 * ```
 */
export function categorical<A extends string, D extends A>(
  key: Key,
  logits: Tensor<A>,
  axis: D,
): Tensor<Exclude<A, D>, "int"> {
  const drawn = tensorOf<A, "real">(nodeOf(uniform(key, nodeOf(logits).shape)));
  // −log(1 − u) is 0 for one u in 2²⁴; half of the next larger value stands in for it.
  const waiting = maximum(neg(log(complement(drawn))), 2 ** -25);
  return argmax(plus(logits, neg(log(waiting))), axis);
}

/**
 * 0 … size − 1 in random order along an axis: the same on every device. Sorts random bits, often enough that equal bits
 * hardly ever matter.
 *
 * @throws TypeError when the key has more axes than "word"
 * @example
 * ```ts
 * import { key, permutation, read } from "../mod.ts";
 * console.assert(read(permutation(key(7), "batch", 5)).toSorted().join() === "0,1,2,3,4");
 * ```
 */
export function permutation<N extends string>(key: Key, axis: N, size: number): Tensor<N, "int"> {
  // Each round makes a pair of equal bits, which would stay in order, 2³² times as rare.
  const rounds = Math.max(1, Math.ceil(3 * Math.log(Math.max(1, size)) / Math.log(2 ** 32)));
  const sizes = { [axis]: size } as { readonly [k in N]: number };
  let order: Tensor<N, "int"> = iota(axis, size);
  for (let round = 0; round < rounds; round++) {
    const drawn = tensorOf<N, "int">(nodeOf(bits(fold(key, round), sizes)));
    order = tensorOf(nodeOf(take(order, axis, argsort(drawn, axis))));
  }
  return order;
}
