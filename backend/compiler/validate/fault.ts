/** @file What a validator says when the compiler made a mistake: which pass, which value, why. */
import type { Node } from "../../../dsl/node.ts";
import { showShape } from "../../../dsl/shape.ts";

/** The passes that have a validator. */
export type Pass = "tile" | "lower" | "group" | "schedule" | "panels" | "place" | "emit";

/** A value as faults name it. */
export const describe = ({ op, id, dtype, shape }: Node): string => `${op} (node ${id}, ${dtype}${showShape(shape)})`;

/** Ends the compilation: a pass made something wrong out of a right program. */
export function fault(pass: Pass, value: Node | string, why: string): never {
  const name = typeof value === "string" ? value : describe(value);
  throw new Error(`compiler, pass "${pass}": ${name} ${why}. This is a fault of the compiler's: please report it.`);
}
