/** @file Exponentials that a kernel has already, but for a factor that is the same along a row. */
import type { Builder } from "../../../dsl/primitive.ts";
import { type Instruction, operandsOf } from "../kernel.ts";

/**
 * exp(x − y), where y is log Σ exp(x − m), or made of it: exp(x − m) · exp(m − y). A softmax then takes one exponential
 * for each element instead of two. No factor is large: m is the largest x.
 *
 * @param a register of x − y
 * @returns the register of the product; undefined where the kernel has no such exponential
 */
export function knownExponential(body: readonly Instruction[], build: Builder, a: number): number | undefined {
  const wanted = differenceAt(body, a);
  if (!wanted) return undefined;
  for (let register = 0; register < body.length; register++) {
    const instruction = body[register];
    if (instruction.op !== "exp") continue;
    const known = differenceAt(body, instruction.a);
    if (known?.x !== wanted.x || !isMadeOfSum(body, wanted.less, register)) continue;
    const factor = build.unary("exp", build.binary("sub", known.less, wanted.less));
    return build.binary("mul", register, factor);
  }
  return undefined;
}

/** x − y as its registers, however it is written. */
function differenceAt(body: readonly Instruction[], at: number): { x: number; less: number } | undefined {
  const instruction = body[at];
  if (instruction.op === "sub") return { x: instruction.a, less: instruction.b };
  if (instruction.op !== "add") return undefined;
  const other = body[instruction.b];
  return other.op === "neg" ? { x: instruction.a, less: other.a } : undefined;
}

/** Does a register depend on the sum of another one over a row? */
function isMadeOfSum(body: readonly Instruction[], register: number, summed: number): boolean {
  const met = new Set([register]);
  for (const each of met) {
    const instruction = body[each];
    if (instruction.op === "reduce" && instruction.by === "sum" && instruction.a === summed) return true;
    // What is older than the summed one does not depend on it.
    for (const operand of operandsOf(instruction)) if (operand > summed) met.add(operand);
  }
  return false;
}
