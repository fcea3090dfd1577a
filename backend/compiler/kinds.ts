/** @file Kinds of nodes, as kernels see them. */
import type { Node } from "../../dsl/node.ts";

const templates = new Set<Node["op"]>([
  "contract",
  "contractAt",
  "contractInto",
  "scatter",
  "topk",
  "order",
  "write",
  "tiled",
]);
const reductions = new Set<Node["op"]>(["sum", "max", "logSumExp"]);
const arguments_ = new Set<Node["op"]>(["variable", "data", "buffer", "window"]);

/** Given from outside: always in memory. */
export const isArgument = (node: Node): boolean => arguments_.has(node.op);
/** Has a kernel of its own. */
export const isTemplate = (node: Node): boolean => templates.has(node.op);
/** Combines elements. */
export const isReduction = (node: Node): node is Node<"sum"> | Node<"max"> | Node<"logSumExp"> =>
  reductions.has(node.op);
