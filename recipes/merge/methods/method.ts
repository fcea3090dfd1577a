/** @file What a merge of dense models is made of: a method says how tensors of one name become one, tensor by tensor. */
import { type Checkpoint, innerProducts, type Keep, type TensorOut } from "../../../backend/checkpoint.ts";

/** What is asked of a merge. */
export interface MergeSettings {
  /** How much each model weighs, in order; without the base. */
  readonly weights: readonly number[];
  /** Share of each model's changes that is kept, in order (TIES, DARE, breadcrumbs). */
  readonly densities: readonly number[];
  /** Share of each model's changes that is dropped for being the largest, in order (breadcrumbs). */
  readonly gammas: readonly number[];
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
    /** How many models it takes beside the base, if not any number. */
    readonly models?: { readonly least: number; readonly most: number };
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
      /** A sum of the base, where there is one, and the models, with shares that depend on where their tensors point to. */
      readonly kind: "directed";
      /** What each is multiplied with; `products[i][j]` is the inner product of tensors i and j; the base is the first. */
      shares(products: readonly (readonly number[])[], settings: MergeSettings): readonly number[];
    }
  );

/** The numbers' sum. */
export const total = (numbers: readonly number[]): number => numbers.reduce((sum, each) => sum + each, 0);

/** The cosine between vectors i and j, from the inner products of all; 0 where one of them is 0. */
export function cosineOf(products: readonly (readonly number[])[], i: number, j: number): number {
  const lengths = Math.sqrt(products[i][i] * products[j][j]);
  return lengths > 0 ? Math.max(-1, Math.min(1, products[i][j] / lengths)) : 0;
}

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
    case "directed":
      return () => {
        const all = base ? [base, ...models] : models, shares = method.shares(innerProducts(all, name), settings);
        return { terms: all.map((checkpoint, i) => ({ checkpoint, name, weight: shares[i] })) };
      };
  }
}
