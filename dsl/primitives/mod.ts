/** @file The table of primitives: one record each. Adding one is adding its record and its line here. */
import { register } from "../build.ts";
import type { Op } from "../node.ts";
import type { Primitive } from "../primitive.ts";
import { add, and, equal, less, maximum, mul, or, where } from "./binary.ts";
import { call } from "./call.ts";
import { contract, contractAt, contractInto } from "./contract.ts";
import { order, scatter, take, topk } from "./indexing.ts";
import { buffer, constant, data, iota, variable } from "./leaves.ts";
import { logSumExp, max, sum } from "./reduce.ts";
import { concat, expand, flatten, pad, rename, slice, unflatten, write } from "./structure.ts";
import { barrier, cast, copy, cos, erf, exp, floor, log, neg, not, recip, sin, sqrt, stop, tanh } from "./unary.ts";

/** Every primitive. */
// deno-fmt-ignore
export const primitives = {
  constant, data, variable, buffer, iota,
  neg, exp, log, recip, sqrt, sin, cos, tanh, erf, floor, not, cast, stop, barrier, copy,
  add, mul, maximum, less, equal, and, or, where,
  expand, rename, unflatten, flatten, slice, pad, concat, write,
  sum, max, logSumExp,
  contract, contractAt, contractInto, take, scatter, topk, order,
  call,
} as const satisfies { readonly [O in Op]: Primitive<O> };

register(primitives);
