/**
 * @file Weights of 16 bits: how an optimiser's small steps add up in them. An update of 5e-5 is less than half of bf16's
 * distance between numbers at 0.02, and rounded to nearest it is lost.
 */
import { cast, roundByChance, type Scalar } from "../../dsl/mod.ts";
import { storageOf } from "../model/storage.ts";
import { type ByPath, byPath, type Chance, leaves, type Optimizer, replant } from "./optimizer.ts";

/**
 * How weights are kept: in f32 (4 bytes each); in bf16, rounded up or down by chance after each step (2 bytes); in bf16
 * beside the f32 masters that steps are made on (6 bytes).
 */
export type Precision = "f32" | "bf16" | "bf16-master";

/** The optimiser's state, and the masters of weights of 16 bits, by path. */
export type NarrowState<S> = { readonly inner: S; readonly masters?: ByPath };

/**
 * Lets an optimiser step weights of which some are stored in 16 bits; it sees them in f32.
 *
 * @param how `chance` needs random bits for each step; `nearest` loses small steps, and is there to show it
 */
export const narrow = <S>(
  optimizer: Optimizer<S>,
  how: "chance" | "master" | "nearest",
): Optimizer<NarrowState<S>> => {
  const wide = (parameters: unknown, masters?: ByPath): ByPath =>
    byPath(leaves(parameters), (leaf, path) => masters?.[path] ?? cast(leaf, "f32"));
  return {
    init(parameters) {
      const inner = optimizer.init(wide(parameters));
      return how === "master"
        ? { inner, masters: byPath(leaves(parameters), (leaf) => storageOf(leaf) !== "f32" ? cast(leaf, "f32") : null) }
        : { inner };
    },
    step<P>(parameters: P, gradient: P, { inner, masters }: NarrowState<S>, rate: Scalar, chance: Chance = {}) {
      const gradients = byPath(leaves(gradient), (leaf) => leaf);
      const made = optimizer.step(wide(parameters, masters), gradients, inner, rate);
      const rounded = leaves(parameters).map(([path, before]) => {
        const half = storageOf(before), after = made.parameters[path];
        if (half === "f32") return after;
        if (how !== "chance") return cast(after, half);
        if (!chance[path]) throw new TypeError(`${path} is stored as ${half}: its step needs random bits to round by`);
        return roundByChance(chance[path], after, half, gradients[path]);
      });
      return {
        parameters: replant(parameters, rounded),
        state: {
          inner: made.state,
          ...(masters && { masters: byPath(Object.entries(masters), (_, path) => made.parameters[path]) }),
        },
      };
    },
  };
};
