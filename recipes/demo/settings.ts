/**
 * @file Sizes and settings of the miniature run, each with its reason. They were chosen on the validation split, the test
 * split had no part in it: sizes of the model and of its pretraining in PyTorch (f32, seed 1, one run each: differences
 * below about 5 points say nothing), what comes after it by `demo --study` on seed 1, two learning rates for each row
 * (recipes/FINDINGS.md has the tables).
 */
import { type Mixture, usualMixture } from "./family/mod.ts";

/** Sizes of the dense model: a Llama with tied embeddings. */
export interface ModelSettings {
  /** Width of the residual stream. */
  readonly hiddenSize: number;
  /** Width of the feed-forward network. */
  readonly ffnSize: number;
  /** Transformer layers. */
  readonly layers: number;
  /** Query heads, and as many key and value heads. */
  readonly heads: number;
  /** Base of the rotary frequencies. */
  readonly ropeTheta: number;
  /** Epsilon of every RMSNorm. */
  readonly normEps: number;
  /** Longest sequence: prompt and answer. */
  readonly maxPositions: number;
  /** `gain` of `initModel`: the initial deviation is 0.02 times this. */
  readonly gain: number;
}

/** How a stage trains: AdamW, linear warm-up and decay to 0. */
export interface StageSettings {
  /** Times that every example is seen. */
  readonly epochs: number;
  /** Examples of a batch. */
  readonly batch: number;
  /** The largest learning rate. */
  readonly rate: number;
  /** Share of the steps that warm up. */
  readonly warmup: number;
}

/** Everything that the miniature run chooses. */
export interface DemoSettings {
  /** Seed of the tasks, the weights and the shuffles. */
  readonly seed: number;
  /** Tasks of each split. */
  readonly tasks: { readonly train: number; readonly validation: number; readonly test: number };
  /** The dense model. */
  readonly model: ModelSettings;
  /** Pretraining from random weights. */
  readonly pretraining: {
    readonly steps: number;
    /** Rows of a batch. */
    readonly rows: number;
    /** Tokens of a row. */
    readonly length: number;
    readonly rate: number;
    /** Steps of the warm-up. */
    readonly warmup: number;
    readonly mixture: Mixture;
  };
  /** Tuning of the dense model; `sft` for the MoE's FLOPs takes {@link computeRatio} times its epochs. */
  readonly sft: StageSettings;
  /** Tuning of the upcycled mixture. */
  readonly moe: StageSettings & {
    /** All experts, the shared one included. */
    readonly experts: number;
    /** Experts that a token uses, the shared one included. */
    readonly active: number;
    /** Standard deviation of the router's initial weights. */
    readonly routerDeviation: number;
    /** Whether noise disturbs the router in training. */
    readonly noise: boolean;
    /** Weight of the balance loss. */
    readonly balanceWeight: number;
  };
  /** Learning of the merge's coefficients. */
  readonly coefficients: StageSettings & {
    /** Share of the shared expert in the uniform merge; where learning starts. */
    readonly lambda: number;
  };
  /** Greedy answers. */
  readonly generation: { readonly newTokens: number };
}

/** The settings of `xft demo`. */
export const settings: DemoSettings = {
  seed: 1,
  tasks: {
    // The strongest dial: at 250 steps, 500 × 8 epochs passes 29% (loss 0.171), 1,000 × 4 29% (0.123), 2,000 × 2 36%
    // (0.096). 1,280 seen once are 80 steps: enough to part the rows, and minutes less than more of them.
    train: 1280,
    validation: 400,
    test: 360, // a 95% interval of about ±5 points at 35%; the sandbox runs 12 programs a second
  },
  model: {
    hiddenSize: 96, // as tried out in shared/demo: 307 k parameters with the vocabulary, minutes on two cores
    ffnSize: 192, // 2 × hidden: the experts, which only the FFN multiplies, stay affordable
    layers: 3,
    heads: 4,
    ropeTheta: 10_000, // positions are few
    normEps: 1e-5,
    maxPositions: 128, // the longest task of 24,000 drawn has 115 tokens
    gain: 4, // deviation 0.08, near 1/√96: 0.02 is meant for wider models
  },
  pretraining: {
    steps: 1600, // many small batches rather than 800 large ones: copying an argument is learned by steps
    rows: 16,
    length: 96, // about two documents
    rate: 3e-3,
    warmup: 50,
    mixture: usualMixture, // 10% questions: the base passes 13.5% of validation tasks
  },
  sft: {
    epochs: 1,
    batch: 16,
    rate: 1e-3, // validation loss 0.111; 0.131 at 3e-3
    warmup: 0.05,
  },
  moe: {
    epochs: 1, // as SFT: the row differs from it by the mixture alone
    batch: 16,
    rate: 1e-3, // as many rates were tried as for SFT: 0.110; 0.137 at 3e-3
    warmup: 0.05,
    experts: 8,
    active: 6, // the paper's 8 with 6 active
    // Experts that differ, so that merging has something to do: on 1,000 × 4 the routed experts end as far from the
    // shared one as that is from the base (0.96; 0.70 with 0.02 and no noise), and the shared expert alone falls 4
    // points behind the MoE (28.2% and 32.2%; 31.5% and 30.8% without noise). The noise is the authors'.
    routerDeviation: 0.2,
    noise: true,
    balanceWeight: 0.01, // the paper's
  },
  coefficients: {
    // The paper has 0.75, fixed. Here more of the routed experts is better: the uniform merge has validation loss 0.1122
    // at 0.25, 0.1126 at 0.5 and 0.1146 at 0.75, and learning λ with α (0.1115) beats α alone (0.1119).
    lambda: 0.25,
    epochs: 1,
    batch: 16,
    rate: 0.1, // a budget of several units: coefficients can move (the paper's 1e-5 cannot)
    warmup: 0,
  },
  generation: {
    newTokens: 80, // the longest answer of 24,000 drawn has 72 tokens
  },
};

/**
 * How many times the dense model's FLOPs a mixture takes for a token: the ratio of the weights that a token meets, the
 * output projection among them, attention scores left out.
 *
 * @param settings sizes of the model and of the mixture
 * @param vocabSize rows of the embedding
 * @returns the ratio, above 1
 */
export function computeRatio({ model, moe }: Pick<DemoSettings, "model" | "moe">, vocabSize: number): number {
  const { hiddenSize, ffnSize, layers } = model;
  const attention = 4 * hiddenSize * hiddenSize, ffn = 3 * hiddenSize * ffnSize, output = vocabSize * hiddenSize;
  const router = hiddenSize * (moe.experts - 1);
  const dense = layers * (attention + ffn) + output;
  return (layers * (attention + router + moe.active * ffn) + output) / dense;
}
