/**
 * @file Duplicates: texts that are equal (fingerprints), and texts that are nearly so: the share of three-word runs that
 * two texts have in common (their Jaccard similarity), estimated by MinHash (Broder 1997) on candidates that
 * locality-sensitive hashing finds.
 */
import { UserError } from "../../../dsl/errors.ts";
import { seeded } from "../../random.ts";
import { fingerprint, runHashes, wordsOf } from "./words.ts";

/** Texts whose runs of words are alike to this share are near-duplicates. */
export const NEAR = 0.8;

/** Words in a run. */
const RUN = 3;
/** Candidates agree in all minima of one band: of texts alike to 0.8, all but 1 in 14,000 pairs do. */
const BANDS = 24, ROWS = 5, MINIMA = BANDS * ROWS;

/** Finds the texts that were seen before. */
export interface DuplicateFinder {
  /** The number (from 0) of the first text that this one repeats, or undefined: then it is remembered. */
  find(text: string): number | undefined;
}

/** Equal texts, to the letter. Remembers some 100 bytes a text. */
export function exactDuplicates(): DuplicateFinder {
  const seen = new Map<number, number>();
  return {
    find(text) {
      const key = fingerprint(text), first = seen.get(key);
      if (first === undefined) seen.set(key, seen.size);
      return first;
    },
  };
}

/** Multipliers of the hash functions whose minima are taken. */
const salts = ((): Uint32Array => {
  const random = seeded("minhash");
  return Uint32Array.from({ length: MINIMA }, () => random.integer(0, 0xffffffff));
})();

/** The minimum of each hash function over a text's runs of words. */
function signature(text: string): Uint32Array {
  const minima = new Uint32Array(MINIMA).fill(0xffffffff);
  for (const run of new Set(runHashes(wordsOf(text), RUN))) {
    for (let i = 0; i < MINIMA; i++) {
      let hash = Math.imul(run ^ salts[i], 0x85ebca6b);
      hash = Math.imul(hash ^ (hash >>> 15), 0xc2b2ae35);
      hash = (hash ^ (hash >>> 16)) >>> 0;
      if (hash < minima[i]) minima[i] = hash;
    }
  }
  return minima;
}

/** How alike two texts are, as their signatures tell: the standard error at 0.8 is 0.04. */
function similarity(a: Uint32Array, b: Uint32Array): number {
  let same = 0;
  for (let i = 0; i < MINIMA; i++) if (a[i] === b[i]) same++;
  return same / MINIMA;
}

/**
 * Texts that are alike to `threshold` or more. Remembers some 2 KiB a text.
 *
 * @example
 * ```ts
 * import { nearDuplicates } from "./duplicates.ts";
 * const finder = nearDuplicates(), text = "sort the given list of numbers in place and then return the sorted list";
 * console.assert(finder.find(text) === undefined && finder.find(`${text}!`) === 0);
 * ```
 */
export function nearDuplicates(threshold: number = NEAR): DuplicateFinder {
  if (!(threshold > 0.5 && threshold <= 1)) throw new UserError(`a threshold of ${threshold}: between 0.5 and 1.`);
  // Of each text its signature and, band by band, the text before it in the same bucket (−1: none); of each bucket its
  // last text. Flat, for there may be millions of texts.
  let signatures = new Uint32Array(1024 * MINIMA), before = new Int32Array(1024 * BANDS), count = 0;
  const last = Array.from({ length: BANDS }, () => new Map<number, number>());
  const signatureOf = (text: number): Uint32Array => signatures.subarray(text * MINIMA, (text + 1) * MINIMA);
  return {
    find(text) {
      const own = signature(text), keys = last.map((_, band) => bandKey(own, band)), candidates = new Set<number>();
      for (let band = 0; band < BANDS; band++) {
        let other = last[band].get(keys[band]) ?? -1;
        for (; other >= 0; other = before[other * BANDS + band]) candidates.add(other);
      }
      for (const other of [...candidates].sort((a, b) => a - b)) {
        if (similarity(own, signatureOf(other)) >= threshold) return other;
      }
      if (signatures.length === count * MINIMA) {
        const [minima, links] = [new Uint32Array(2 * signatures.length), new Int32Array(2 * before.length)];
        minima.set(signatures);
        links.set(before);
        [signatures, before] = [minima, links];
      }
      signatures.set(own, count * MINIMA);
      for (let band = 0; band < BANDS; band++) {
        before[count * BANDS + band] = last[band].get(keys[band]) ?? -1;
        last[band].set(keys[band], count);
      }
      count++;
      return undefined;
    },
  };
}

/** The minima of one band as one number of 32 bits with a sign: V8 holds it without an object of its own. */
function bandKey(signature: Uint32Array, band: number): number {
  let key = 0;
  for (let i = band * ROWS; i < (band + 1) * ROWS; i++) key = Math.imul(key ^ signature[i], 0x9e3779b1) ^ (key >>> 13);
  return key;
}
