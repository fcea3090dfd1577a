/**
 * @file Adafactor (arXiv 1804.04235) as XFT sets it: no relative step, no parameter scaling, no momentum. A matrix's
 * second moments are kept as a row and a column, so the state is small.
 */
import {
  add,
  complement,
  div,
  exp,
  log,
  maximum,
  mean,
  minimum,
  mul,
  outer,
  recip,
  rsqrt,
  type Scalar,
  scalar,
  sqrt,
  square,
  sub,
  type Tensor,
  zerosLike,
} from "../../dsl/mod.ts";
import type { Leaf } from "../model/layout.ts";
import { type ByPath, byPath, leaves, type Optimizer, replant } from "./optimizer.ts";

/** Steps made; mean squares by row and by column of each matrix; mean squares of each vector. */
export type AdafactorState = {
  readonly count: Scalar;
  readonly rows: ByPath;
  readonly columns: ByPath;
  readonly vectors: ByPath;
};

/** Settings; the defaults are XFT's. */
export interface AdafactorOptions {
  /** Added to squared gradients. */
  readonly epsilon?: number;
  /** Largest root mean square of a matrix's update, before the rate. */
  readonly clipThreshold?: number;
  /** The running means' share of the past is 1 − steps^decay. */
  readonly decay?: number;
  /** Share of the weights taken off in each step, times the rate. */
  readonly weightDecay?: number;
  /** The paper's own rate, min(0.01, 1/√steps), times the given one. */
  readonly relativeStep?: boolean;
  /** Steps as large as each matrix: the rate is times its root mean square (at least 0.001). */
  readonly scaleParameter?: boolean;
}

const over = <A extends string>(x: Tensor<A>, axes: readonly string[]): Tensor<string> =>
  axes.length === 0
    ? x as unknown as Tensor<string>
    : mean(x as unknown as Tensor<string>, ...axes as [string]) as unknown as Tensor<string>;

/** Of each matrix. First along columns: rows are then reduced where they are made, in one pass over the matrix. */
const rootMeanSquare = (x: Tensor<string>, leaf: Leaf | undefined): Tensor<string> =>
  sqrt(over(over(square(x), leaf?.columns ?? []), leaf?.rows ?? []));

/**
 * Adafactor for a model of this layout.
 *
 * @param layout says of each leaf which axes are a matrix's rows and columns; each expert is a matrix of its own
 */
export function adafactor(layout: readonly Leaf[], options: AdafactorOptions = {}): Optimizer<AdafactorState> {
  const {
    epsilon = 1e-30,
    clipThreshold = 1,
    decay = -0.8,
    weightDecay = 0,
    relativeStep = false,
    scaleParameter = false,
  } = options;
  const table = new Map(layout.map((leaf) => [leaf.path, leaf]));
  const isMatrix = (path: string): boolean => (table.get(path)?.columns.length ?? 0) > 0;
  const byRow = (x: Tensor<string>, path: string) => isMatrix(path) ? over(x, table.get(path)!.columns) : null;
  const byColumn = (x: Tensor<string>, path: string) => isMatrix(path) ? over(x, table.get(path)!.rows) : null;
  const whole = (x: Tensor<string>, path: string) => isMatrix(path) ? null : x;
  return {
    init: (parameters) => {
      const zeros = leaves(parameters).map(([path, leaf]) => [path, zerosLike(leaf)] as const);
      return {
        count: scalar(0),
        rows: byPath(zeros, byRow),
        columns: byPath(zeros, byColumn),
        vectors: byPath(zeros, whole),
      };
    },
    step: <P>(parameters: P, gradient: P, state: AdafactorState, rate: Scalar) => {
      const count = add(state.count, 1), past = complement(exp(mul(log(count), decay))), now = complement(past);
      const general = relativeStep ? mul(rate, minimum(rsqrt(count), 0.01)) : rate;
      const squares = leaves(gradient).map(([path, g]) => [path, add(square(g), epsilon)] as const);
      const running = (old: ByPath, fresh: ByPath): ByPath =>
        byPath(Object.entries(fresh), (x, path) => add(mul(old[path], past), mul(x, now)));
      const rows = running(state.rows, byPath(squares, byRow));
      const columns = running(state.columns, byPath(squares, byColumn));
      const vectors = running(state.vectors, byPath(squares, whole));
      const gradients = new Map(leaves(gradient));
      const made = leaves(parameters).map(([path, w]) => {
        const leaf = table.get(path), g = gradients.get(path)!;
        // r·cᵀ / mean(r) is the best rank-one guess of the squares.
        const scale = leaf && isMatrix(path)
          ? outer(rsqrt(div(rows[path], over(rows[path], leaf.rows))), rsqrt(columns[path]))
          : rsqrt(vectors[path]);
        const update = mul(g, scale);
        const size = rootMeanSquare(update, leaf);
        const own = scaleParameter ? mul(maximum(rootMeanSquare(w, leaf), 0.001), general) : general;
        // One number for each matrix, so that the kernel that updates it reads one.
        const factor = mul(recip(maximum(mul(size, 1 / clipThreshold), 1)), own);
        const kept = weightDecay === 0 ? w : mul(w, complement(mul(own as Scalar, weightDecay)));
        return sub(kept, mul(update, factor));
      });
      return { parameters: replant(parameters, made), state: { count, rows, columns, vectors } };
    },
  };
}
