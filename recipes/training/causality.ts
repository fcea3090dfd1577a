/**
 * @file Proof that no token sees what comes after it, on the compiled program and the user's own tokens: the last token
 * is changed, and logits before it must keep every bit. (The authors' coefficient stage lost its mask under torch ≥ 2.1.1.)
 */
import { UserError } from "../../dsl/errors.ts";
import { tensor } from "../../dsl/mod.ts";
import { compile, free, values } from "../../backend/compile.ts";
import type { Device } from "../../backend/runtime.ts";
import type { HostBatch } from "../model/batch.ts";
import type { Output, Tokens } from "../model/llama.ts";
import type { Packing } from "../model/packing.ts";

/** Tokens of the row that is looked at, at most. */
const longest = 64;

/**
 * Changes the last token of a batch's first row and compares the logits of those before it. A row that holds several
 * documents is looked at as it is learned from, with each seeing itself alone.
 *
 * @param forward the model, as it will be compiled
 * @returns how many tokens were compared
 * @throws {UserError} if a logit moved
 */
export async function proveCausality(
  forward: (tokens: Tokens, packing?: Packing) => Output["logits"],
  batch: HostBatch,
  device: Device,
): Promise<number> {
  const row = batch.tokens.subarray(0, batch.length), end = row.findIndex((token) => token < 0);
  const seq = Math.min(longest, end < 0 ? row.length : end);
  if (seq < 2) return 0;
  const run = compile(forward, device);
  const ids = (row: Int32Array): Tokens => tensor({ batch: 1, seq }, row.slice(0, seq), "i32");
  const packing = batch.packing &&
    { documents: ids(batch.packing.documents), positions: ids(batch.packing.positions) };
  const logits = async (tokens: Int32Array): Promise<ArrayLike<number>> => {
    const out = await run(ids(tokens), packing);
    const found = await values(out, device, "batch", "seq", "vocab");
    free(out, device);
    return found;
  };
  const changed = row.slice(0, seq);
  // Its neighbour in the vocabulary; the first tokens of which are there in every model.
  changed[seq - 1] = changed[seq - 1] === 0 ? 1 : changed[seq - 1] - 1;
  const [as, but] = [await logits(row), await logits(changed)], vocab = as.length / seq;
  for (let i = 0; i < (seq - 1) * vocab; i++) {
    if (Object.is(as[i], but[i])) continue;
    throw new UserError(
      `the model sees the future: with another token at place ${seq - 1} a logit of place ` +
        `${Math.floor(i / vocab)} goes from ${as[i]} to ${but[i]}. This is our fault; coefficients learned ` +
        "like this would be worthless, so nothing was learned.",
    );
  }
  return seq - 1;
}
