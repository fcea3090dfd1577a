/** @file Every method by which dense models are merged, by mergekit's names. */
import { breadcrumbs, breadcrumbsTies } from "./breadcrumbs.ts";
import { dareLinear, dareTies } from "./dare.ts";
import { karcher } from "./karcher.ts";
import { linear } from "./linear.ts";
import type { Method } from "./method.ts";
import { modelStock } from "./model_stock.ts";
import { slerp } from "./slerp.ts";
import { taskArithmetic } from "./task_arithmetic.ts";
import { ties } from "./ties.ts";

export { merged, type MergeSettings, type Method, type TensorOfModels } from "./method.ts";

const all = {
  linear,
  karcher,
  task_arithmetic: taskArithmetic,
  ties,
  dare_linear: dareLinear,
  dare_ties: dareTies,
  breadcrumbs,
  breadcrumbs_ties: breadcrumbsTies,
  model_stock: modelStock,
  slerp,
} satisfies Readonly<Record<string, Method>>;

/** A method's name. */
export type MethodName = keyof typeof all;

/** The methods. */
export const methods: Readonly<Record<MethodName, Method>> = all;

/** Is there a method of this name? */
export const isMethodName = (name: string): name is MethodName => Object.hasOwn(methods, name);
