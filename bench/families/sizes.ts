/** @file The models that are measured: by sizes, with weights by formula (`../weights.ts`). */
import type { LlamaConfig, ModelConfig, MoeConfig } from "../../recipes/convert/config.ts";

const rest = { maxPositions: 8192, normEps: 1e-5, ropeTheta: 100_000, ropeScaling: null } as const;

/** Routing as XFT has it, without noise: every program then computes the same. */
export const routing = {
  experts: 8,
  active: 6,
  router: "linear",
  normalised: true,
  noise: false,
  noiseEpsilon: 0.01,
  balanceWeight: 0.01,
} as const;

/** Sizes and batches. */
export const sizes = {
  /** For tests of the suite itself. */
  toy: {
    ...{ vocabSize: 32, hiddenSize: 16, ffnSize: 24, layers: 2, heads: 4, kvHeads: 2, headDim: 4, tied: true },
    ...{ batch: 2, seq: 8 },
  },
  tiny: {
    ...{ vocabSize: 512, hiddenSize: 256, ffnSize: 688, layers: 4, heads: 8, kvHeads: 8, headDim: 32, tied: false },
    ...{ batch: 8, seq: 256 },
  },
  small: {
    ...{ vocabSize: 2048, hiddenSize: 512, ffnSize: 1376, layers: 8, heads: 8, kvHeads: 8, headDim: 64, tied: false },
    ...{ batch: 4, seq: 512 },
  },
  smollm2: {
    ...{ vocabSize: 49152, hiddenSize: 576, ffnSize: 1536, layers: 30, heads: 9, kvHeads: 3, headDim: 64, tied: true },
    ...{ batch: 4, seq: 256 },
  },
  /** One layer of DeepSeek-Coder-1.3B, with a small vocabulary so that the layer is what is measured. */
  wide: {
    ...{ vocabSize: 512, hiddenSize: 2048, ffnSize: 5504, layers: 1, heads: 16, kvHeads: 16, headDim: 128 },
    ...{ tied: false, batch: 1, seq: 1024 },
  },
  /** DeepSeek-Coder-1.3B: planned and compiled, not run. */
  "1.3B": {
    ...{ vocabSize: 32256, hiddenSize: 2048, ffnSize: 5504, layers: 24, heads: 16, kvHeads: 16, headDim: 128 },
    ...{ tied: false, batch: 1, seq: 1024 },
  },
} as const;

/** The name of a size. */
export type SizeName = keyof typeof sizes;

function configOf(name: SizeName): LlamaConfig {
  const { batch: _batch, seq: _seq, ...config } = sizes[name];
  return { ...config, ...rest };
}

/** A dense model of this size. */
export const denseOf = (name: SizeName): ModelConfig & { readonly kind: "llama" } => ({
  kind: "llama",
  ...configOf(name),
});

/** A mixture of this size; `routing` may be changed. */
export const mixtureOf = (name: SizeName, changes: Partial<MoeConfig> = {}): MoeConfig & { readonly kind: "moe" } => ({
  kind: "moe",
  ...configOf(name),
  ...routing,
  ...changes,
});
