/** @file What a merge of dense models is made of: a method says how tensors of one name become one, tensor by tensor. */
import { type Checkpoint, innerProducts, type Keep, type TensorOut } from "../../../backend/checkpoint.ts";

/** What is asked of a merge. */
export interface MergeSettings {
  /** How much each model weighs, in order; without the base. */
  readonly weights: readonly number[];
  /** Share of each model's changes that is kept, in order (TIES, DARE). */
  readonly densities: readonly number[];
  /** Divide by the weights' sum (default: as the method has it). */
  readonly normalize?: boolean;
  /** What the merged change is multiplied with before it is added to the base. */
  readonly lambda: number;
  /** Place between two models: 0 is the first, 1 the second (SLERP). */
  readonly t: number;
  /** Start of the random numbers (DARE). */
  readonly seed: number;
}

/** A tensor that all models have. */
export interface TensorOfModels {
  /** Its name in every checkpoint. */
  readonly name: string;
  /** How many elements it has. */
  readonly elements: number;
  /** The models, without the base. */
  readonly models: readonly Checkpoint[];
  /** The base model, where the method has one. */
  readonly base?: Checkpoint;
}

/** How models become one. What is computed, the native library computes from file to file. */
export type Method =
  & {
    /** What `--help` says. */
    readonly summary: string;
    /** Does it compare the models with a base model? */
    readonly base: boolean;
    /** How many models it takes, if not any number. */
    readonly models?: number;
  }
  & (
    | {
      /** A sum of the models, each with a share of its own. */
      readonly kind: "sum";
      /** What each model and the base are multiplied with. */
      shares(settings: MergeSettings): { readonly models: readonly number[]; readonly base: number };
    }
    | {
      /** The base, and some of the models' changes to it. */
      readonly kind: "changes";
      /** Are changes dropped whose sign is outvoted? */
      readonly elect: boolean;
      /** Is the sum divided by the weights, if nobody asks for the other? */
      readonly normalize: boolean;
      /** Which changes of the model at `index` are kept. */
      keep(tensor: TensorOfModels, index: number, settings: MergeSettings): Keep;
    }
    | {
      /** A sum of the base and one model, with shares that depend on where their tensors point to. */
      readonly kind: "between";
      /** What both are multiplied with, by the cosine of their angle. */
      shares(cosine: number, settings: MergeSettings): { readonly base: number; readonly model: number };
    }
  );

/** The numbers' sum. */
export const total = (numbers: readonly number[]): number => numbers.reduce((sum, each) => sum + each, 0);

/** A tensor merged by a method: what the writer computes it from. */
export function merged(method: Method, tensor: TensorOfModels, settings: MergeSettings): TensorOut["data"] {
  const { name, models, base } = tensor, { weights, lambda } = settings;
  switch (method.kind) {
    case "sum": {
      const shares = method.shares(settings);
      const all = models.map((checkpoint, i) => ({ checkpoint, name, weight: shares.models[i] }));
      const terms = base ? [{ checkpoint: base, name, weight: shares.base }, ...all] : all;
      const needed = terms.filter(({ weight }) => weight !== 0);
      return { terms: needed.length > 0 ? needed : terms.slice(0, 1) };
    }
    case "changes":
      return {
        base: { checkpoint: base!, name },
        models: models.map((checkpoint, i) => ({
          checkpoint,
          name,
          weight: weights[i],
          keep: method.keep(tensor, i, settings),
        })),
        elect: method.elect,
        normalize: settings.normalize ?? method.normalize,
        scale: lambda,
      };
    case "between":
      return () => {
        const [product, left, right] = innerProducts(base!, models[0], name);
        const cosine = left > 0 && right > 0 ? product / Math.sqrt(left * right) : 0;
        const shares = method.shares(Math.max(-1, Math.min(1, cosine)), settings);
        return {
          terms: [{ checkpoint: base!, name, weight: shares.base }, {
            checkpoint: models[0],
            name,
            weight: shares.model,
          }],
        };
      };
  }
}
