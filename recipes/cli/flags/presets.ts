/** @file Settings that a command starts from: the paper's, and those that the project finds better. */
import type { OptimizerName } from "../../optim/mod.ts";

/** The stages that have settings. */
export type StageName = "sft" | "moe" | "learn";

/** Settings of one stage. */
export interface StageSettings {
  /** Highest learning rate; it falls in a straight line to 0. */
  readonly rate: number;
  /** Passes over the data. */
  readonly epochs: number;
  /** Steps of warm-up, as a share of all steps. */
  readonly warmup: number;
  /** Sequences per step. */
  readonly batch: number;
  /** Longest sequence in tokens. */
  readonly seq: number;
  /** Ignored by `learn`, whose few numbers always move by Adam. */
  readonly optimizer: OptimizerName;
  /** Of `learn`: the shared expert's share of the merge. */
  readonly lambda: number;
}

/** A preset's name. */
export type PresetName = "paper" | "tuned";

const paper = { batch: 64, seq: 1024, optimizer: "adafactor", warmup: 0.073, lambda: 0.75 } as const;
const tuned = { ...paper, batch: 8, seq: 512, lambda: 0.25 } as const;

/** Settings by preset and stage. */
export const presets: Readonly<Record<PresetName, Readonly<Record<StageName, StageSettings>>>> = {
  /** As published. Its warm-up is 125 steps per epoch, and 110,000 examples in batches of 64 are 1,719 steps: 7.3%. */
  paper: {
    sft: { ...paper, rate: 5e-5, epochs: 5 },
    moe: { ...paper, rate: 5e-5, epochs: 4 },
    learn: { ...paper, rate: 1e-5, epochs: 1 },
  },
  tuned: {
    sft: { ...tuned, rate: 5e-5, epochs: 5 },
    moe: { ...tuned, rate: 5e-5, epochs: 4 },
    learn: { ...tuned, rate: 0.02, epochs: 1 },
  },
};

/** For each value of `tuned` that is not the paper's: why, and what was measured (tables: recipes/FINDINGS.md). */
export const reasons: readonly {
  readonly key: keyof StageSettings;
  readonly stage?: StageName;
  readonly why: string;
}[] = [
  {
    key: "batch",
    why:
      "batch 8, not 64: a step that fits a CPU's time (SmolLM2's mixture, 4 × 256 tokens: 3.3 TFLOP; 64 rows of 1024 " +
      "tokens are 64 times that)",
  },
  {
    key: "seq",
    why: "seq 512, not 1024: 3 of CodeAlpaca's 1,953 samples are longer (95% have 228 tokens or fewer), and a step " +
      "costs half",
  },
  {
    key: "rate",
    stage: "learn",
    why: "learning rate 0.02, not 1e-5: the paper's rates add up to about 0.009, so its coefficients stay where they " +
      "start; in the miniature, rates that add up to 4 moved them by 0.25 and the loss from 0.1126 to 0.1119",
  },
  {
    key: "lambda",
    stage: "learn",
    why:
      "λ 0.25, not 0.75: in the miniature the uniform merge's loss was lower at 0.25 in 15 of 16 comparisons, 0.0002 " +
      "higher in the other (few examples, three in ten wrong: 0.1650 0.1649 0.1654 0.1664 0.1672 0.1679 at λ 0, 0.25, " +
      "0.5, 0.75, 0.9, 1); not so after 40 steps of SmolLM2: 0.9136, and 0.9109 at 0.75; on your model: " +
      "--lambdas 0,0.25,0.5,0.75,1",
  },
];
