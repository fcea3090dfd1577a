/**
 * @file Muon (kellerjordan.github.io/posts/muon): a matrix moves along the orthogonal matrix nearest to its momentum;
 * vectors, and matrices that are tables of rows (embeddings), are left to AdamW.
 */
import {
  add,
  contract,
  div,
  maximum,
  mul,
  rename,
  type Scalar,
  sqrt,
  square,
  sub,
  sum,
  type Tensor,
  zerosLike,
} from "../../dsl/mod.ts";
import type { Leaf } from "../model/layout.ts";
import { adamw, type AdamWOptions, type AdamWState } from "./adamw.ts";
import { type ByPath, byPath, leaves, type Optimizer, replant } from "./optimizer.ts";

/** Momenta of matrices, and AdamW's state of all else. */
export type MuonState = { readonly momentum: ByPath; readonly others: AdamWState };

/** Settings; the defaults are the author's. */
export interface MuonOptions {
  /** Share of the past in the momentum. */
  readonly momentum?: number;
  /** Share of the weights taken off in each step, times the rate. */
  readonly weightDecay?: number;
  /** AdamW's rate as a multiple of Muon's, whose useful rates are larger. */
  readonly othersRate?: number;
  /** AdamW's settings. */
  readonly others?: AdamWOptions;
}

type Matrix = Tensor<string>;
type Axes = readonly string[];

/** Coefficients of the odd polynomial that drives singular values towards 1. */
const [a, b, c] = [3.4445, -4.775, 2.0315];
const rounds = 5;

const renamed = (x: Matrix, from: Axes, to: (axis: string) => string): Matrix =>
  rename(x, Object.fromEntries(from.map((axis) => [axis, to(axis)])) as never) as unknown as Matrix;
const times = (x: Matrix, y: Matrix, over: Axes): Matrix => contract(x, y, ...over as [string]) as unknown as Matrix;
const primed = (axis: string): string => `${axis}'`;

/**
 * About U·Vᵀ of a matrix's singular value decomposition, by Newton and Schulz's iteration.
 *
 * @param matrix whose largest singular value is taken to 1 first
 * @param short axes of the matrix's shorter side
 * @param long those of the longer one; all others number separate matrices
 */
export function orthogonal(
  matrix: Tensor<string>,
  short: readonly string[],
  long: readonly string[],
): Tensor<string> {
  const size = sqrt(sum(square(matrix), ...[...short, ...long] as [string]));
  let x = div(matrix, maximum(size as unknown as Matrix, 1e-7)) as Matrix;
  for (let round = 0; round < rounds; round++) {
    const turned = renamed(x, short, primed), gram = times(x, turned, long);
    // gram·gram, whose second side is renamed so that it can be told from the first.
    const other = renamed(renamed(gram, short.map(primed), primed), short, primed);
    const squared = renamed(
      times(gram, other, short.map(primed)),
      short.map(primed).map(primed),
      (axis) => axis.slice(0, -1),
    );
    x = add(mul(x, a), times(add(mul(gram, b), mul(squared, c)), turned, short.map(primed)));
  }
  return x;
}

/** A matrix's sides, the shorter one first, and by how much its rate is larger than a square one's. */
function sidesOf({ shape, rows, columns }: Leaf): { short: Axes; long: Axes; scale: number } {
  const size = (axes: Axes): number => axes.reduce((product, axis) => product * shape[axis], 1);
  const [out, into] = [size(rows), size(columns)];
  return {
    ...out <= into ? { short: rows, long: columns } : { short: columns, long: rows },
    scale: Math.sqrt(Math.max(1, out / into)),
  };
}

/**
 * Muon for a model of this layout, with Nesterov's momentum.
 *
 * @param layout says which leaves are matrices; each expert is a matrix of its own
 */
export function muon(layout: readonly Leaf[], options: MuonOptions = {}): Optimizer<MuonState> {
  const { momentum = 0.95, weightDecay = 0, othersRate = 0.05 } = options;
  const isTable = ({ rows }: Leaf): boolean => rows.includes("vocab");
  const table = new Map(layout.flatMap((leaf) => leaf.columns.length > 0 && !isTable(leaf) ? [[leaf.path, leaf]] : []));
  const others = adamw({ weightDecay, ...options.others });
  const rest = (tree: unknown): ByPath => byPath(leaves(tree), (leaf, path) => table.has(path) ? null : leaf);
  return {
    init: (parameters) => ({
      momentum: byPath(leaves(parameters), (leaf, path) => table.has(path) ? zerosLike(leaf) : null),
      others: others.init(rest(parameters)),
    }),
    step: <P>(parameters: P, gradient: P, state: MuonState, rate: Scalar) => {
      const gradients = Object.fromEntries(leaves(gradient));
      const mixed = (path: string, past: Matrix): Matrix =>
        add(mul(past, momentum), mul(gradients[path], 1 - momentum));
      const next = byPath(Object.entries(state.momentum), (past, path) => mixed(path, past));
      const plain = others.step(rest(parameters), rest(gradient), state.others, mul(rate, othersRate));
      const made = leaves(parameters).map(([path, w]) => {
        const leaf = table.get(path);
        if (!leaf) return plain.parameters[path];
        const { short, long, scale } = sidesOf(leaf),
          direction = mul(orthogonal(mixed(path, next[path]), short, long), scale);
        return sub(w, mul(weightDecay === 0 ? direction : add(direction, mul(w, weightDecay)), rate));
      });
      return { parameters: replant(parameters, made), state: { momentum: next, others: plain.state } };
    },
  };
}
