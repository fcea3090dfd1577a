/** @file Texts as words and runs of words: what likeness of texts is measured on. */
import { createHash } from "node:crypto";
import { hashText } from "../../random.ts";

/** Words in lower case; punctuation and spacing do not count. */
export const wordsOf = (text: string): string[] => text.toLowerCase().match(/[\p{L}\p{N}_]+/gu) ?? [];

/** 32-bit hashes of every run of `count` words; of all words, where there are fewer. */
export function runHashes(words: readonly string[], count: number): Uint32Array {
  const each = Uint32Array.from(words, hashText), size = Math.min(count, words.length);
  return Uint32Array.from({ length: words.length - size + 1 }, (_, start) => {
    let hash = 0x811c9dc5;
    for (let at = start; at < start + size; at++) {
      hash = Math.imul(hash ^ each[at], 0x9e3779b1);
      hash ^= hash >>> 15;
    }
    return hash >>> 0;
  });
}

/**
 * 52 bits of a text's SHA-256 as a number: among ten million different texts, two of them share one with a probability
 * of about 1%.
 */
export function fingerprint(text: string): number {
  const digest = createHash("sha256").update(text).digest();
  return digest.readUIntBE(0, 6) * 16 + (digest[6] >> 4);
}

/** A text without what does not change its meaning: case and spacing. */
export const normalised = (text: string): string => text.toLowerCase().replaceAll(/\s+/g, " ").trim();
