/** @file What work costs at least: its products, FLOPs and bytes, counted by hand and not by what our compiler made. */
import type { ModelConfig } from "../recipes/convert/config.ts";
import type { Cost, Pass, Product, StepWork, Work } from "./case.ts";

const flopsOf = (products: readonly Product[]): number =>
  products.reduce((sum, { m, n, k, count, share }) => sum + 2 * m * n * k * count * share, 0);

const byProducts = (products: readonly Product[], bytes = 0): Cost => ({ flops: flopsOf(products), bytes, products });

/** A linear layer [n × k] on m rows, in these passes. */
const linear = (passes: readonly Pass[], m: number, n: number, k: number, count: number): Product[] =>
  passes.map((pass) => ({ pass, m, n, k, count, share: 1 }));

/** Causal scores and what they pick: two products forward, four backward, each of seq × seq × dim, half of it used. */
function scores(seq: number, dim: number, count: number, backward: boolean): Product[] {
  const one = (pass: Pass, times: number): Product => ({
    pass,
    m: seq,
    n: seq,
    k: dim,
    count: count * times,
    share: 0.5,
  });
  return backward ? [one("forward", 2), one("dX", 2), one("dW", 2)] : [one("forward", 1), one("dX", 1)];
}

/** All products of a step. Embeddings are looked up, not multiplied; routers' products are counted with the rest. */
function productsOf(
  { step, config, batch, seq }: Pick<StepWork, "step" | "config" | "batch" | "seq">,
): Product[] {
  const { hiddenSize, ffnSize, layers, heads, kvHeads, headDim, vocabSize } = config, rows = batch * seq;
  const all: Pass[] = ["forward", "dX", "dW"];
  // Learning coefficients, weights outside the FFNs are frozen: no gradient of theirs is asked for.
  const frozen: Pass[] = step === "coefficients" ? ["forward", "dX"] : all;
  const ffn = (m: number): Product[] => [
    ...linear(all, m, ffnSize, hiddenSize, 2 * layers),
    ...linear(all, m, hiddenSize, ffnSize, layers),
  ];
  const mixture = step === "moe" && config.kind === "moe"
    ? [...linear(all, rows, config.experts - 1, hiddenSize, layers), ...ffn(rows * (config.active - 1))]
    : [];
  return [
    ...linear(frozen, rows, heads * headDim, hiddenSize, layers),
    ...linear(frozen, rows, kvHeads * headDim, hiddenSize, 2 * layers),
    ...linear(frozen, rows, hiddenSize, heads * headDim, layers),
    ...scores(seq, headDim, batch * heads * layers, true),
    ...ffn(rows),
    ...mixture,
    ...linear(frozen, rows, vocabSize, hiddenSize, 1),
  ];
}

/** Weights that a token meets in products: what a step of generation reads. */
const matrixWeights = ({ hiddenSize, ffnSize, layers, heads, kvHeads, headDim, vocabSize }: ModelConfig): number =>
  layers * (3 * hiddenSize * ffnSize + 2 * hiddenSize * headDim * (heads + kvHeads)) + vocabSize * hiddenSize;

/** What a prompt takes until its first token; only the last place asks for logits. */
function promptProducts(config: ModelConfig, batch: number, seq: number): Product[] {
  const { hiddenSize, ffnSize, layers, heads, kvHeads, headDim, vocabSize } = config, rows = batch * seq;
  const forward = (m: number, n: number, k: number, count: number): Product[] => linear(["forward"], m, n, k, count);
  return [
    ...forward(rows, heads * headDim, hiddenSize, layers),
    ...forward(rows, kvHeads * headDim, hiddenSize, 2 * layers),
    ...forward(rows, hiddenSize, heads * headDim, layers),
    ...scores(seq, headDim, batch * heads * layers, false),
    ...forward(rows, ffnSize, hiddenSize, 2 * layers),
    ...forward(rows, hiddenSize, ffnSize, layers),
    ...forward(batch, vocabSize, hiddenSize, 1),
  ];
}

/** Passes over a matrix of 4-byte elements that a kernel needs at least. */
const passes = { swiglu: 3, softmax: 2, rmsnorm: 2, adafactor: 5 } as const;

/** What a piece of work costs at least. */
export function costOf(work: Work, smollm2: ModelConfig): Cost {
  switch (work.kind) {
    case "step":
      return byProducts(productsOf(work));
    case "product":
    case "grouped": {
      const { pass, m, n, k } = work;
      return byProducts([{ pass, m, n, k, count: 1, share: 1 }]);
    }
    case "kernel":
      return { flops: 0, bytes: passes[work.kernel] * 4 * work.rows * work.columns, products: [] };
    case "long": {
      const { heads, headDim, hiddenSize, vocabSize } = work.config;
      return byProducts(
        work.part === "attention"
          ? scores(work.seq, headDim, heads, true)
          : linear(["forward", "dX", "dW"], work.seq, vocabSize, hiddenSize, 1),
      );
    }
    case "generation": {
      if (work.tokens === 1) return byProducts(promptProducts(smollm2, work.batch, work.prompt));
      // A token's products read every weight once for the whole batch: two bytes each, as bf16.
      const weights = matrixWeights(smollm2), steps = work.tokens - 1;
      return {
        flops: 2 * weights * work.batch * (work.prompt + steps),
        bytes: 2 * weights * (1 + steps),
        products: [],
      };
    }
    case "merge":
      return { flops: 0, bytes: mergeBytes(work.config, work.models), products: [] };
    case "start":
    case "compile":
      return { flops: 0, bytes: 0, products: [] };
  }
}

/** Reading every model and writing one, four bytes a weight. */
function mergeBytes(config: ModelConfig, models: number): number {
  const dense = matrixWeights(config), experts = config.kind === "moe" ? config.experts : 1;
  const ffns = 3 * config.layers * config.hiddenSize * config.ffnSize;
  return 4 * (models * dense + (experts - 1) * ffns + dense);
}
