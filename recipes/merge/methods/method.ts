/** @file What a merge of dense models is made of: a method turns tensors of one name into one, tensor by tensor. */

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

/** Elements of one tensor in all models; a method may overwrite the models' (they are read for it), not the base's. */
export interface TensorOfModels {
  /** The tensor's name. */
  readonly name: string;
  /** One array a model. */
  readonly models: readonly Float32Array[];
  /** The base model's, where the method has one. */
  readonly base: Float32Array;
}

/** How models become one. */
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
      /** A sum of the models, each with a share of its own: it never is in memory. */
      readonly kind: "sum";
      /** What each model and the base are multiplied with. */
      shares(settings: MergeSettings): { readonly models: readonly number[]; readonly base: number };
    }
    | {
      /** A function of whole tensors. */
      readonly kind: "tensor";
      /** The merged tensor. */
      merge(tensor: TensorOfModels, settings: MergeSettings): Float32Array<ArrayBuffer>;
    }
  );

/** The numbers' sum. */
export const total = (numbers: readonly number[]): number => numbers.reduce((sum, each) => sum + each, 0);
