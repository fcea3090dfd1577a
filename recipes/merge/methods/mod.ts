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

/** A method's name. */
export type MethodName =
  | "linear"
  | "karcher"
  | "task_arithmetic"
  | "ties"
  | "dare_linear"
  | "dare_ties"
  | "breadcrumbs"
  | "breadcrumbs_ties"
  | "model_stock"
  | "slerp";

/** The methods. */
export const methods: Readonly<Record<MethodName, Method>> = {
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
};

/** Is there a method of this name? */
export const isMethodName = (name: string): name is MethodName => Object.hasOwn(methods, name);
