/**
 * @file The list of primitives. Each family's file has its records and says what attributes they have; adding a
 * primitive is adding its file, and here its import, its attributes and its name.
 */
import { register } from "../build.ts";
import type { Op } from "../node.ts";
import type { Primitive } from "../primitive.ts";
import { add, and, type BinaryAttributes, equal, less, maximum, mul, or, shl, shr, where, xor } from "./binary.ts";
import { call, type CallAttributes } from "./call.ts";
import { contract, contractAt, type ContractAttributes, contractInto } from "./contract.ts";
import { erf, type ErfAttributes } from "./erf.ts";
import { type IndexingAttributes, order, scatter, take, topk } from "./indexing.ts";
import { buffer, constant, data, iota, type LeafAttributes, variable } from "./leaves.ts";
import { logSumExp, max, type ReduceAttributes, sum } from "./reduce.ts";
import { sinh, type SinhAttributes } from "./sinh.ts";
import { placed, tiled, type TiledAttributes, window } from "./tiled.ts";
import {
  concat,
  expand,
  flatten,
  pad,
  rename,
  slice,
  type StructureAttributes,
  unflatten,
  write,
} from "./structure.ts";
import {
  barrier,
  cast,
  copy,
  cos,
  exp,
  floor,
  log,
  neg,
  not,
  recip,
  sin,
  sqrt,
  stop,
  tanh,
  type UnaryAttributes,
} from "./unary.ts";

/** Attributes of each primitive, by name: together with the inputs they say everything about a node. */
export interface Attributes
  extends
    LeafAttributes,
    UnaryAttributes,
    ErfAttributes,
    SinhAttributes,
    BinaryAttributes,
    StructureAttributes,
    ReduceAttributes,
    ContractAttributes,
    IndexingAttributes,
    CallAttributes,
    TiledAttributes {}

/** Every primitive. */
// deno-fmt-ignore
export const primitives = {
  constant, data, variable, buffer, iota,
  neg, exp, log, recip, sqrt, sin, cos, tanh, erf, sinh, floor, not, cast, stop, barrier, copy,
  add, mul, maximum, less, equal, and, or, xor, shl, shr, where,
  expand, rename, unflatten, flatten, slice, pad, concat, write,
  sum, max, logSumExp,
  contract, contractAt, contractInto, take, scatter, topk, order,
  call,
  window, placed, tiled,
} as const satisfies { readonly [O in Op]: Primitive<O> };

register(primitives);
