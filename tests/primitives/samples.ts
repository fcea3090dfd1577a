/** @file Every primitive's samples as programs. */
import { mul, node, sum } from "../../dsl/build.ts";
import type { Node, Op } from "../../dsl/node.ts";
import type { Primitive, Sample } from "../../dsl/primitive.ts";
import { primitives } from "../../dsl/primitives/mod.ts";
import { axesOf } from "../../dsl/shape.ts";
import { type Case, drawValues, randomNumbers } from "../agreement.ts";

/** Every primitive's record. */
export const allPrimitives = Object.values(primitives) as unknown as readonly Primitive<Op>[];

/** A sample as a program of one primitive, with values drawn from its ranges. */
export function caseOf(op: Op, sample: Sample<Op>, seed: number): Case {
  const random = randomNumbers(seed);
  const parameters = sample.inputs.map(({ shape, dtype = "f32" }, i) =>
    node("variable", [], { shape, dtype, name: `input ${i}` })
  );
  return {
    parameters,
    results: [node(op, parameters, sample.attributes)],
    values: sample.inputs.map((input) => drawValues(input, random)),
  };
}

/** A scalar that depends on every element differently: Σ result · weights. */
export function probe(result: Node, random: () => number): Node {
  const values = drawValues({ shape: result.shape }, random);
  const weights = node("data", [], { shape: result.shape, dtype: "f32", values });
  return sum(mul(result, weights), axesOf(result.shape));
}
