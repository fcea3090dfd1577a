/**
 * @file A whole training step of a mixture (forward, backward, Adafactor, balance loss) on every device against the f64
 * interpreter, with those of the interpreter's decisions fed in that rounding could flip.
 */
import { node } from "../dsl/build.ts";
import { evaluate } from "../dsl/interpret.ts";
import { tensor, valueAndGradWith } from "../dsl/mod.ts";
import { type Node, topological } from "../dsl/node.ts";
import { nodeOf, tensorOf } from "../dsl/tensor.ts";
import { leavesOf, mapLeaves } from "../dsl/tree.ts";
import { openInterpreter } from "../backend/interpreter.ts";
import type { ModelConfig } from "../recipes/convert/config.ts";
import { lossFor } from "../recipes/model/loss.ts";
import { initModel } from "../recipes/model/parameters.ts";
import { optimizer } from "../recipes/optim/mod.ts";
import { layout } from "../recipes/model/layout.ts";
import {
  assertAgree,
  assertSameBits,
  type Case,
  drawValues,
  expected,
  onDevice,
  randomNumbers,
  withDecisionsFedIn,
} from "./agreement.ts";
import { allDevices, withDevice } from "./devices.ts";

const config: ModelConfig = {
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
  experts: 8,
  active: 6,
  router: "linear",
  normalised: true,
  noise: false,
  noiseEpsilon: 0.01,
  balanceWeight: 0.01,
};

/** The step as a program whose routing decisions are inputs. */
function stepCase(): Case {
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
  const chosen = optimizer("adafactor", layout(config)), state = chosen.init(model);
  const updated = chosen.step(model, grad, state, tensor({}, [0.01]));
  const results = [
    ...leavesOf(value, undefined),
    ...leavesOf(grad, undefined),
    ...leavesOf(updated.parameters, undefined),
  ];
  return withDecisionsFedIn({ parameters, results, values });
}

Deno.test("a mixture's training step routes twice or more, so the test below means something", () => {
  const { parameters, results } = stepCase();
  const routed = [...parameters, ...topological(results).filter(({ op }) => op === "topk")]
    .filter(({ shape, dtype }) => "slot" in shape && dtype === "i32");
  if (routed.length !== config.layers) throw new Error(`${routed.length} routing decisions`);
});

for (const name of allDevices().filter((each) => each !== "interpreter")) {
  Deno.test(`a mixture's training step on ${name}: as the interpreter, fused and not, and the same bits again`, () =>
    withDevice(name, async (device) => {
      const step = stepCase(), want = expected(step);
      const fused = await onDevice(step, device), again = await onDevice(step, device);
      assertAgree(fused, want, "fused");
      assertAgree(await onDevice(step, device, { fuse: "off" }), want, "unfused");
      assertAgree(await onDevice(step, device, { donate: true }), want, "donated");
      assertSameBits(again, fused, "another run");
    }));
}
