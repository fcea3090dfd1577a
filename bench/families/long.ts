/** @file Attention and the loss over a vocabulary at growing lengths: their time, and that their memory stays linear. */
import { compile, free, number, put } from "../../backend/compile.ts";
import { open } from "../../backend/open.ts";
import {
  add,
  causal,
  contract,
  crossEntropy,
  maskedSoftmax,
  mul,
  rename,
  type Scalar,
  sum,
  type Tensor,
  tensor,
  valueAndGrad,
} from "../../dsl/mod.ts";
import { leaves } from "../../recipes/optim/mod.ts";
import type { Case, LongWork, Prepared } from "../case.ts";
import { batchOf, uniform } from "../weights.ts";
import { denseOf } from "./sizes.ts";

const parts = { attention: "scores", vocabulary: "logits" } as const;
const everyPart = ["attention", "vocabulary"] as const;

/** Beyond it what would be stored takes 10 GiB and more. */
const LONGEST_STORED = 4096;

/** A case, and beside it the same with all scores or logits in memory, where these fit. */
function long(part: LongWork["part"], seq: number): Case {
  const work: LongWork = { kind: "long", part, seq, config: denseOf("smollm2") };
  const variants = seq <= LONGEST_STORED ? { [`stored ${parts[part]}`]: { ...work, stored: true } } : {};
  return { name: `long/${part}/${seq}`, work, variants, curve: { name: part, over: "tokens", at: seq } };
}

/** At SmolLM2-135M's sizes: 9 heads of 64, 49,152 tokens to choose from. */
export const longCases: readonly Case[] = everyPart.flatMap((part) =>
  [512, 1024, 2048, 4096, 8192].map((seq) => long(part, seq))
);

/** Small ones, for tests. */
export const toyLong: readonly Case[] = everyPart.map((part) => {
  const work: LongWork = { kind: "long", part, seq: 8, config: denseOf("toy") };
  return { name: `long/${part}/8`, work, variants: { stored: { ...work, stored: true } } };
});

type Rows = Tensor<"head" | "seq" | "dim">;
type Attended = { query: Rows; key: Rows; value: Rows };
type Unembedded = { hidden: Tensor<"seq" | "embed">; table: Tensor<"vocab" | "embed"> };

/** softmax(q·kᵀ / √dim)·v for every head, causal. */
function attention({ query, key, value }: Attended): Rows {
  const { seq, dim } = query.shape;
  const scores = contract(mul(query, dim ** -0.5), rename(key, { seq: "key" }), "dim");
  return contract(maskedSoftmax(scores, "key", causal(seq)), rename(value, { seq: "key" }), "key");
}

/** Every gradient is asked for and none is kept: a step would hand them to its optimiser. */
export const touched = (gradient: unknown): Scalar => {
  const [first, ...rest] = leaves(gradient).map(([, leaf]) => sum(leaf) as Scalar);
  return add(first, ...rest);
};

async function prepared<P>(parameters: P, stored: boolean, loss: (parameters: P) => Scalar): Promise<Prepared> {
  const device = await open("cpu"), own = put(parameters, device);
  const options = stored ? { largeBytes: Number.MAX_SAFE_INTEGER } : {};
  const run = compile(
    (p: P) => {
      const { value, grad } = valueAndGrad(loss)(p);
      return { value, gradients: touched(grad) };
    },
    device,
    options,
  );
  const once = async (): Promise<number> => {
    const out = await run(own), value = await number(out.value, device);
    free(out, device);
    return value;
  };
  const first = await once();
  return { losses: [first], bytes: run.report(own).moved, run: async () => void await once() };
}

/** Forward and backward, in the device's memory. */
export async function prepareLong({ part, seq, config, stored = false }: LongWork): Promise<Prepared> {
  switch (part) {
    case "attention": {
      const shape = { head: config.heads, seq, dim: config.headDim };
      const rows = (name: string): Rows => tensor(shape, uniform(name, config.heads * seq * config.headDim, 1));
      const weight = rows("weight");
      return await prepared(
        { query: rows("query"), key: rows("key"), value: rows("value") },
        stored,
        (p) => sum(mul(attention(p), weight)),
      );
    }
    case "vocabulary": {
      const { vocabSize: vocab, hiddenSize: embed } = config;
      const labels = tensor({ seq }, batchOf(config, 1, seq).tokens, "i32");
      const parameters: Unembedded = {
        hidden: tensor({ seq, embed }, uniform("hidden", seq * embed, 1)),
        table: tensor({ vocab, embed }, uniform("table", vocab * embed, 0.02)),
      };
      return await prepared(
        parameters,
        stored,
        ({ hidden, table }) => crossEntropy(contract(hidden, table, "embed"), labels),
      );
    }
  }
}
