/** @file A whole training step of a mixture as a program: forward, backward, Adafactor, balance loss. */
import { routing } from "../../bench/families/sizes.ts";
import { node } from "../../dsl/build.ts";
import { evaluate } from "../../dsl/interpret/interpret.ts";
import { tensor, valueAndGradWith } from "../../dsl/mod.ts";
import type { Node } from "../../dsl/node.ts";
import { nodeOf, tensorOf } from "../../dsl/tensor.ts";
import { leavesOf, mapLeaves } from "../../dsl/tree.ts";
import { openInterpreter } from "../../backend/interpreter.ts";
import type { ModelConfig } from "../../recipes/convert/config.ts";
import { lossFor } from "../../recipes/model/loss.ts";
import { initModel } from "../../recipes/model/parameters.ts";
import { optimizer } from "../../recipes/optim/mod.ts";
import { layout } from "../../recipes/model/layout.ts";
import { type Case, drawValues, randomNumbers, withDecisionsFedIn } from "../agreement.ts";

/** The mixture. */
export const config: ModelConfig = {
  kind: "moe",
  vocabSize: 37,
  hiddenSize: 16,
  ffnSize: 24,
  layers: 2,
  heads: 4,
  kvHeads: 2,
  headDim: 4,
  maxPositions: 64,
  normEps: 1e-5,
  ropeTheta: 10_000,
  ropeScaling: null,
  tied: true,
  ...routing,
};

/** The step; those of its routing decisions that rounding could flip are inputs. */
export function stepCase(): Case {
  const random = randomNumbers(5), interpreter = openInterpreter();
  const parameters: Node[] = [], values: Float64Array[] = [];
  const input = (leaf: Node, drawn: Float64Array): Node => {
    const variable = node("variable", [], { shape: leaf.shape, dtype: leaf.dtype, name: `input ${parameters.length}` });
    parameters.push(variable);
    values.push(drawn);
    return variable;
  };
  const { model: drawn } = initModel(config, 3, interpreter, 1);
  const model = mapLeaves((leaf) => input(leaf, Float64Array.from(evaluate([leaf])[0].data)), drawn) as typeof drawn;
  const sizes = { batch: 3, seq: 11 };
  const ids = (low: number): Node => {
    const leaf = nodeOf(tensor(sizes, new Int32Array(33), "i32"));
    return input(leaf, drawValues({ shape: sizes, dtype: "i32", range: [low, 36] }, random));
  };
  const batch = { tokens: tensorOf<"batch" | "seq", "int">(ids(0)), labels: tensorOf<"batch" | "seq", "int">(ids(-1)) };
  const { value, grad } = valueAndGradWith(lossFor(config))(model, batch, null);
  const chosen = optimizer({ optimizer: "adafactor" }, layout(config)), state = chosen.init(model);
  const updated = chosen.step(model, grad, state, tensor({}, [0.01]));
  const results = [
    ...leavesOf(value, undefined),
    ...leavesOf(grad, undefined),
    ...leavesOf(updated.parameters, undefined),
  ];
  return withDecisionsFedIn({ parameters, results, values });
}
