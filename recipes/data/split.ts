/**
 * @file Training and validation by the content: what is asked for decides by its hash, so that the same question, even
 * with another answer, is never on both sides, and more data hardly moves what was there.
 */
import { UserError } from "../../dsl/errors.ts";
import { fingerprint, normalised } from "./clean/mod.ts";

/** Numbers of samples. */
export interface Split {
  /** In order. */
  readonly train: Uint32Array;
  /** Exactly as many as asked for, each with another question. */
  readonly validation: Uint32Array;
  /** In neither: their question is one of the validation's. */
  readonly repeats: Uint32Array;
}

/** A question's place in the order of which the first ones are validated on. Case and spacing do not count. */
export const splitKey = (question: string, seed: number): number => fingerprint(`${seed}\n${normalised(question)}`);

/**
 * The samples with the smallest keys, one for each key, are the validation set.
 *
 * @param keys one for each sample
 * @throws {UserError} if nothing is left to train on
 */
export function splitByKey(keys: ArrayLike<number>, validation: number): Split {
  const byKey = Uint32Array.from({ length: keys.length }, (_, index) => index).sort((a, b) => keys[a] - keys[b]);
  const held: number[] = [], repeats: number[] = [];
  let rest = 0;
  for (; rest < byKey.length; rest++) {
    if (held.length > 0 && keys[byKey[rest]] === keys[held[held.length - 1]]) repeats.push(byKey[rest]);
    else if (held.length < validation) held.push(byKey[rest]);
    else break;
  }
  const train = byKey.slice(rest).sort();
  if (train.length === 0) {
    throw new UserError(
      `the data has ${keys.length} examples; ${validation} for validation leave none to train on (--validation).`,
    );
  }
  return { train, validation: Uint32Array.from(held), repeats: Uint32Array.from(repeats) };
}
