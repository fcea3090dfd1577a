/**
 * @file Derivatives of every primitive, from its samples: forward mode is the slope, forward and reverse are adjoint,
 * and the derivative of the gradient is the gradient's slope. Then whole models, whose Hessian is multiplied by a
 * vector both ways.
 */
import { assert } from "@std/assert";
import { constant, mul, node, sum } from "../../dsl/build.ts";
import {
  add,
  checkpoint,
  contract,
  customVjp,
  exp,
  floor,
  grad,
  item,
  jvp,
  type Scalar,
  sin,
  sum as total,
  tanh,
  type Tensor,
  tensor,
  vjp,
} from "../../dsl/mod.ts";
import { evaluate } from "../../dsl/interpret/interpret.ts";
import { type Node, type Op, topological } from "../../dsl/node.ts";
import { isReal, type Sample } from "../../dsl/primitive.ts";
import { axesOf } from "../../dsl/shape.ts";
import { nodeOf, tensorOf } from "../../dsl/tensor.ts";
import { forward } from "../../dsl/transforms/forward.ts";
import { backward } from "../../dsl/transforms/reverse.ts";
import { leavesOf, refill } from "../../dsl/tree.ts";
import { openInterpreter } from "../../backend/interpreter.ts";
import { makeBatch, toBatch } from "../../recipes/model/batch.ts";
import { llama, type Model, swiglu } from "../../recipes/model/llama.ts";
import { lossFor } from "../../recipes/model/loss.ts";
import { crossEntropy } from "../../dsl/nn/loss.ts";
import { assertThrows } from "../assert.ts";
import { assertAgree, type Case, drawValues, expected as bounded, onDevice, randomNumbers } from "../agreement.ts";
import { allDevices, withDevice } from "../devices.ts";
import { allPrimitives } from "./samples.ts";
import { tinyDense, tinyMixture, tinyModel, tinySamples } from "../fixtures/tiny.ts";

const inner = (a: readonly Float64Array[], b: readonly Float64Array[]): number =>
  a.reduce((all, each, i) => all + each.reduce((some, x, j) => some + x * b[i][j], 0), 0);

function assertNear(got: number, want: number, tolerance: number, what: string): void {
  const error = Math.abs(got - want) / Math.max(1e-3, Math.abs(want), Math.abs(got));
  if (!(error <= tolerance)) throw new Error(`${what}: ${got}, expected ${want}`);
}

/** Values of a program's results, in f64. */
const valuesOf = ({ parameters, results, values }: Case): Float64Array[] =>
  evaluate(results, new Map(parameters.map((x, i) => [x, { shape: x.shape, data: values[i] }]))).map(({ data }) =>
    data
  );

/** A node's value, given that of the one variable in it. */
function evaluateAt(result: Node, value: Float64Array): Float64Array {
  const parameters = topological([result]).filter(({ op }) => op === "variable");
  return valuesOf({ parameters, results: [result], values: [value] })[0];
}

/** A primitive applied to variables, with values and a direction for each real one. */
function drawn({ inputs, attributes }: Sample<Op>, op: Op, seed: number) {
  const random = randomNumbers(seed);
  const variable = ({ shape, dtype = "f32" }: Sample<Op>["inputs"][number]): Node =>
    node("variable", [], { shape, dtype, name: "input" });
  const parameters = inputs.map(variable), result = node(op, parameters, attributes);
  const real = parameters.filter(isReal), values = inputs.map((input) => drawValues(input, random));
  const tangents = real.map(({ shape }) => variable({ shape })), cotangent = variable({ shape: result.shape });
  const directions = real.map(({ shape }) => drawValues({ shape }, random));
  const weights = drawValues({ shape: result.shape }, random);
  return { parameters, result, real, values, tangents, directions, cotangent, weights };
}

const differentiable = allPrimitives.flatMap(({ op, samples }) => {
  const smooth = samples.map((sample, i) => drawn(sample, op, 31 + i))
    .filter(({ result, real }, i) => !samples[i].valuesOnly && isReal(result) && real.length > 0);
  return smooth.length > 0 ? [{ op, smooth }] : [];
});

for (const { op, smooth } of differentiable) {
  Deno.test(`${op}: forward mode is the slope, and the adjoint of reverse mode`, () => {
    for (const each of smooth) {
      const { parameters, result, real, values, tangents, directions, cotangent, weights } = each;
      const [moved] = forward([result], new Map(real.map((x, i) => [x, tangents[i]])));
      const pulled = backward([result], [cotangent], real);
      const all = [...parameters, ...tangents, cotangent], given = [...values, ...directions, weights];
      const [slope, ...gradients] = valuesOf({
        parameters: all,
        results: [moved ?? mul(result, tangents[0]), ...pulled],
        values: given,
      });
      if (op !== "stop") assert(moved, "no tangent reaches the result");
      // ⟨c, J·t⟩ = ⟨Jᵀ·c, t⟩
      assertNear(inner([slope], [weights]), inner(gradients, directions), 1e-9, `${op}: the adjoint law`);
      const at = (step: number): Float64Array[] => {
        let next = 0;
        const stepped = parameters.map((x, i) => {
          if (!isReal(x)) return values[i];
          const direction = directions[next++];
          return values[i].map((value, j) => value + step * direction[j]);
        });
        return valuesOf({ parameters, results: [result], values: stepped });
      };
      const [before] = at(-1e-5), [after] = at(1e-5);
      slope.forEach((value, i) =>
        assertNear(value, (after[i] - before[i]) / 2e-5, 1e-5, `${op}: the slope of element ${i}`)
      );
    }
  });

  Deno.test(`${op}: the gradient's derivative is its slope, forwards and backwards`, () => {
    for (const { parameters, result, real, values, tangents, directions, cotangent, weights } of smooth) {
      const gradients = backward([result], [cotangent], real);
      const probe = gradients.map((gradient, i) => sum(mul(gradient, tangents[i]), axesOf(gradient.shape)))
        .reduce((a, b) => node("add", [a, b], {}));
      const along = new Map(real.map((x, i) => [x, tangents[i]]));
      const reversed = backward([probe], [constant(1)], real).map((second, i) =>
        sum(mul(second, tangents[i]), axesOf(second.shape))
      );
      const [forwards] = forward([probe], along);
      const all = [...parameters, ...tangents, cotangent], given = [...values, ...directions, weights];
      const [two, ...parts] = valuesOf({
        parameters: all,
        results: [forwards ?? constant(0), ...reversed],
        values: given,
      });
      const backwards = parts.reduce((all, [part]) => all + part, 0);
      const at = (step: number): number => {
        let next = 0;
        const stepped = given.map((value, i) => {
          if (i >= parameters.length || !isReal(parameters[i])) return value;
          const direction = directions[next++];
          return value.map((x, j) => x + step * direction[j]);
        });
        return valuesOf({ parameters: all, results: [probe], values: stepped })[0][0];
      };
      const slope = (at(1e-5) - at(-1e-5)) / 2e-5;
      assertNear(two[0], slope, 1e-4, `${op}: forward over reverse`);
      assertNear(backwards, slope, 1e-4, `${op}: reverse over reverse`);
    }
  });
}

for (const name of allDevices().filter((each) => each !== "interpreter")) {
  Deno.test(`forward mode on ${name}: every primitive's tangent is the interpreter's, fused and not`, () =>
    withDevice(name, async (device) => {
      for (const { op, smooth } of differentiable) {
        for (const { parameters, result, real, values, tangents, directions } of smooth) {
          const [moved] = forward([result], new Map(real.map((x, i) => [x, tangents[i]])));
          if (!moved) continue;
          const each = {
            parameters: [...parameters, ...tangents],
            results: [moved],
            values: [...values, ...directions],
          };
          for (const fuse of ["on", "off"] as const) {
            assertAgree(await onDevice(each, device, { fuse }), bounded(each), `${op}, fusion ${fuse}`);
          }
        }
      }
    }));
}

Deno.test("every primitive that gradients flow through is among those tested", () => {
  const tested = new Set<Op>(differentiable.map(({ op }) => op));
  for (const op of ["exp", "mul", "where", "write", "max", "logSumExp", "contractAt", "scatter"] as const) {
    assert(tested.has(op), `${op} has no differentiable sample`);
  }
});

Deno.test("cast: derivatives pass between reals, in the storage of where they arrive, and stop at integers", () => {
  const through = (dtype: "bf16" | "i32"): [Node | null, Node] => {
    const x = node("variable", [], { shape: { a: 3 }, dtype: "f32", name: "x" });
    const half = node("cast", [x], { dtype }), back = node("cast", [half], { dtype: "f32" });
    return [forward([back], new Map([[x, x]]))[0], backward([back], [x], [x])[0]];
  };
  for (const derivative of through("bf16")) {
    assert(derivative!.dtype === "f32" && evaluateAt(derivative!, Float64Array.of(1, 2, 3)).join() === "1,2,3");
  }
  const [tangent, cotangent] = through("i32");
  assert(tangent === null && evaluateAt(cotangent, Float64Array.of(1, 2, 3)).every((each) => each === 0));
});

const device = openInterpreter(), batch = toBatch(makeBatch(tinySamples(2, 5, 5), 5));

/** A tree of random directions like the parameters. */
function directionLike<P>(parameters: P, seed: number): P {
  const random = randomNumbers(seed);
  return refill(
    parameters,
    leavesOf(parameters, undefined).map(({ shape }) => nodeOf(tensor(shape, drawValues({ shape }, random)))),
  );
}

const dot = <P>(a: P, b: P): Scalar => {
  const others = leavesOf(b, undefined);
  return leavesOf(a, undefined).map((x, i) => tensorOf<never, "real">(sum(mul(x, others[i]), axesOf(x.shape))))
    .reduce((x, y) => add(x, y));
};

/** ⟨t, H·t⟩ forward over reverse, reverse over reverse, and by differences of the gradient. */
function checkHessian<P>(loss: (parameters: P) => Scalar, parameters: P, tolerance: number): void {
  const direction = directionLike(parameters, 17);
  const moved = (step: number): P => {
    const along = leavesOf(direction, undefined);
    const values = valuesOf({ parameters: [], results: [...leavesOf(parameters, undefined), ...along], values: [] });
    return refill(
      parameters,
      along.map(({ shape }, i) =>
        nodeOf(tensor(shape, values[i].map((x, j) => x + step * values[along.length + i][j])))
      ),
    );
  };
  const slope = (at: P): number => item(dot(grad(loss)(at), direction));
  const wanted = (slope(moved(1e-4)) - slope(moved(-1e-4))) / 2e-4;
  const forwards = item(dot(jvp(grad(loss))(parameters, direction).tangent, direction));
  const backwards = item(dot(grad((p: P) => dot(grad(loss)(p), direction))(parameters), direction));
  assert(Math.abs(wanted) > 1e-6, "the loss has no curvature along the direction: nothing would be checked");
  assertNear(forwards, wanted, tolerance, "forward over reverse");
  assertNear(backwards, wanted, tolerance, "reverse over reverse");
}

Deno.test("Hessian times vector: Llama with cross-entropy, plain and with checkpointed layers", () => {
  const config = tinyDense(), { model } = tinyModel(config, device, 1, 10);
  const run = (ffn: typeof swiglu) => (parameters: Model): Scalar =>
    crossEntropy(llama(config, parameters, batch.tokens, ffn).logits, batch.labels);
  checkHessian(run(swiglu), model, 1e-4);
  checkHessian(run(checkpoint(swiglu)), model, 1e-4);
});

Deno.test("Hessian times vector: mixture with balance loss", () => {
  const config = tinyMixture(), { model } = tinyModel(config, device, 1, 10);
  checkHessian((parameters: typeof model) => lossFor(config)(parameters, batch, null).loss, model, 1e-4);
});

Deno.test("vjp and jvp agree on trees, also through checkpoint, and leave integers alone", () => {
  type Weights = { w: Tensor<"embed" | "hidden">; choice: Tensor<"hidden", "int">; bias: Tensor<"hidden"> };
  const random = randomNumbers(3),
    draw = <const S extends Readonly<Record<string, number>>>(shape: S) => tensor(shape, drawValues({ shape }, random));
  const weights: Weights = {
    w: draw({ embed: 3, hidden: 4 }),
    choice: tensor({ hidden: 4 }, [0, 1, 2, 3], "i32"),
    bias: draw({ hidden: 4 }),
  };
  const tangent: Weights = { ...weights, w: draw({ embed: 3, hidden: 4 }), bias: draw({ hidden: 4 }) };
  const x = draw({ batch: 2, embed: 3 });
  const layer = (p: Weights) => {
    const hidden = tanh(add(contract(x, p.w, "embed"), p.bias));
    return { hidden, energy: total(sin(exp(hidden))), choice: p.choice };
  };
  for (const f of [layer, checkpoint(layer)]) {
    const { value, tangent: moved } = jvp(f)(weights, tangent), { pull } = vjp(f)(weights);
    const cotangent = { hidden: draw({ batch: 2, hidden: 4 }), energy: draw({}), choice: value.choice };
    const pulled = pull(cotangent);
    const left = item(total(contract(moved.hidden, cotangent.hidden, "batch", "hidden"))) +
      item(moved.energy) * item(cotangent.energy);
    const right = item(dot({ w: pulled.w, bias: pulled.bias }, { w: tangent.w, bias: tangent.bias }));
    assertNear(left, right, 1e-12, "the adjoint law");
    assert(nodeOf(pulled.choice).dtype === "i32" && nodeOf(moved.choice).dtype === "i32");
  }
  assertThrows(
    () => jvp(layer)(weights, { ...tangent, bias: draw({ hidden: 5 }) }),
    TypeError,
    "jvp: tensor 2 is f32[hidden:4], but its change is f32[hidden:5]",
  );
});

Deno.test("a checkpoint's second derivative is that of its function, whichever mode comes first", () => {
  const f = (x: Scalar): Scalar => exp(sin(x)), kept = checkpoint(f), x = tensor({}, [0.7]), one = tensor({}, [1]);
  const want = item(grad(grad(f))(x));
  for (const g of [f, kept]) {
    assertNear(item(grad(grad(g))(x)), want, 1e-14, "reverse over reverse");
    assertNear(item(jvp(grad(g))(x, one).tangent), want, 1e-14, "forward over reverse");
    assertNear(item(grad((y: Scalar) => jvp(g)(y, one).tangent)(x)), want, 1e-14, "reverse over forward");
    assertNear(item(jvp((y: Scalar) => jvp(g)(y, one).tangent)(x, one).tangent), want, 1e-14, "forward over forward");
  }
});

Deno.test("customVjp: its rule counts in every reverse derivative, and jvp refuses it", () => {
  const round = customVjp((x: Scalar) => floor(x), (cotangent) => [cotangent]);
  const cube = customVjp((x: Scalar) => exp(x), (cotangent, result, x) => [contract3(cotangent, result, x)]);
  const contract3 = (a: Scalar, b: Scalar, c: Scalar): Scalar => tensorOf(mul(mul(nodeOf(a), nodeOf(b)), nodeOf(c)));
  assert(item(grad(round)(tensor({}, [2.5]))) === 1);
  // Its stated gradient is x·eˣ; that rule's own derivative by x is eˣ (outer) + x·(x·eˣ) (through the result).
  assertNear(item(grad(cube)(tensor({}, [2]))), 2 * Math.exp(2), 1e-14, "the stated gradient");
  assertNear(item(grad(grad(cube))(tensor({}, [2]))), 5 * Math.exp(2), 1e-14, "its derivative");
  assertThrows(() => jvp(round)(tensor({}, [1]), tensor({}, [1])), TypeError, "customVjp");
});
