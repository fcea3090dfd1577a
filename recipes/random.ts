/**
 * @file Random numbers of the host: a small seeded generator (sfc32), the same on every machine. It draws tasks,
 * orders, fresh weights and tokens, one at a time and no secrets; what a step draws on a device comes from keys
 * (dsl/ops/random.ts).
 */

/** A stream of random draws, wholly determined by its seed. */
export interface Random {
  /** A number in [0, 1) with 32 random bits. */
  unit(): number;
  /** A standard normal number (Box–Muller). */
  normal(): number;
  /** A whole number from `low` to `high`, both included. */
  integer(low: number, high: number): number;
  /** One item of a non-empty list, all equally likely. */
  pick<Item>(items: readonly Item[]): Item;
  /** An index of `weights`, each as likely as its share of their sum. */
  weighted(weights: readonly number[]): number;
  /** `count` different items in random order; all of them where the list is shorter. */
  sample<Item>(items: readonly Item[], count: number): Item[];
  /** The numbers below `count` in random order, in four bytes each; the order that `sample` would give them. */
  order(count: number): Uint32Array;
  /** A new stream that depends on this one's seed and the label alone, not on what was drawn so far. */
  child(label: string | number): Random;
}

/**
 * A 32-bit FNV-1a hash of a text with a final mix, so that texts differing in one letter land far apart.
 *
 * @param text any text; its UTF-16 units are hashed
 * @returns a whole number in [0, 2³²)
 */
export function hashText(text: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index++) {
    hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  }
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

/**
 * Opens the stream of a seed.
 *
 * @param seed a number or a text; 7 and "7" are the same seed
 * @returns the stream, at its beginning
 * @example
 * ```ts
 * import { seeded } from "./random.ts";
 * seeded(7).integer(1, 6) === seeded("7").integer(1, 6); // true
 * ```
 */
export function seeded(seed: number | string): Random {
  const name = String(seed);
  let a = hashText(name), b = hashText(`${name}/b`), c = hashText(`${name}/c`), counter = 1;

  // sfc32 (Chris Doty-Humphrey, public domain): 128 bits of state, passes PractRand.
  function bits(): number {
    const sum = (((a + b) | 0) + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (c << 21) | (c >>> 11);
    c = (c + sum) | 0;
    return sum >>> 0;
  }
  for (let round = 0; round < 12; round++) bits();

  const unit = (): number => bits() / 4294967296;
  const integer = (low: number, high: number): number => low + Math.floor(unit() * (high - low + 1));
  return {
    unit,
    normal: () => Math.sqrt(-2 * Math.log(1 - unit())) * Math.cos(2 * Math.PI * unit()),
    integer,
    pick: (items) => items[integer(0, items.length - 1)],
    weighted(weights) {
      let left = unit() * weights.reduce((sum, weight) => sum + weight, 0);
      for (let index = 0; index < weights.length; index++) {
        left -= weights[index];
        if (left < 0) return index;
      }
      return weights.length - 1;
    },
    sample(items, count) {
      const rest = [...items];
      const taken = Math.min(count, rest.length);
      for (let index = 0; index < taken; index++) {
        const other = integer(index, rest.length - 1);
        [rest[index], rest[other]] = [rest[other], rest[index]];
      }
      return rest.slice(0, taken);
    },
    order(count) {
      const numbers = Uint32Array.from({ length: count }, (_, index) => index);
      for (let index = 0; index < count; index++) {
        const other = integer(index, count - 1), value = numbers[index];
        numbers[index] = numbers[other];
        numbers[other] = value;
      }
      return numbers;
    },
    child: (label) => seeded(`${name}/${label}`),
  };
}
