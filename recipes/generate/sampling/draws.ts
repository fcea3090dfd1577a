/**
 * @file Random numbers of sampled tokens, by seed, prompt, sample and position: what one sample draws does not depend
 * on what else runs, in which order, or how many at a time. Threefry-2×32 with 20 rounds, as on devices
 * (dsl/ops/random.ts).
 */

/** Two 32-bit words. */
export type Words = readonly [number, number];

const rotations = [[13, 15, 26, 6], [17, 29, 16, 24]] as const, PARITY = 0x1bd11bda;
const rotated = (x: number, by: number): number => (x << by) | (x >>> (32 - by));

/** The block of a counter under a key. */
export function threefry([first, second]: Words, [low, high]: Words): Words {
  const schedule = [first, second, first ^ second ^ PARITY];
  let x = (low + first) | 0, y = (high + second) | 0;
  for (let round = 0; round < 20; round++) {
    x = (x + y) | 0;
    y = rotated(y, rotations[(round >> 2) & 1][round & 3]) ^ x;
    if ((round & 3) !== 3) continue;
    const turn = (round + 1) >> 2;
    x = (x + schedule[turn % 3]) | 0;
    y = (y + schedule[(turn + 1) % 3] + turn) | 0;
  }
  return [x >>> 0, y >>> 0];
}

/**
 * The key of one sample of a prompt.
 *
 * @param seed a whole number from 0 to 2⁵³ − 1
 * @param promptIds the prompt: another one has other numbers, wherever it stands in a list
 * @param sample which of the prompt's samples, from 0 on
 */
export function sampleKey(seed: number, promptIds: Iterable<number>, sample: number): Words {
  let key: Words = [Math.floor(seed / 2 ** 32), seed >>> 0];
  for (const id of promptIds) key = threefry(key, [1, id]);
  return threefry(key, [2, sample]);
}

/**
 * A number in [0, 1) for each position of a sample: a multiple of 2⁻⁵³.
 *
 * @example
 * ```ts
 * import { draw, sampleKey } from "./draws.ts";
 * console.assert(draw(sampleKey(7, [5, 6], 0), 3) === draw(sampleKey(7, [5, 6], 0), 3));
 * ```
 */
export function draw(key: Words, position: number): number {
  const [x, y] = threefry(key, [0, position]);
  return ((x >>> 5) * 2 ** 26 + (y >>> 6)) * 2 ** -53;
}
