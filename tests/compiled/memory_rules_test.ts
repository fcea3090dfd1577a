/**
 * @file Rules about memory: every element is written even where an expert has no token, poison shows what is not,
 * donated memory is overwritten after its last reader, and routing is never computed twice. Where a rule can be broken
 * from here, the broken plan is run too: the check must notice.
 */
import { assert, assertEquals } from "@std/assert";
import { inline } from "../../backend/compiler/inline.ts";
import type { CompiledProgram } from "../../backend/compiler/emit.ts";
import { pipeline } from "../../backend/compiler/pipeline.ts";
import { phasesOf } from "../../backend/compiler/validate/walk.ts";
import type { Plan } from "../../backend/compiler/kernel.ts";
import { type NativeDevice, openNative } from "../../backend/device.ts";
import { add, constant, contract, expand, mul, node, scale, sum } from "../../dsl/build.ts";
import { evaluate } from "../../dsl/interpret/interpret.ts";
import {
  checkpoint,
  contract as product,
  customVjp,
  exp,
  grad,
  mul as times,
  rename,
  type Scalar,
  sum as total,
  take,
  type Tensor,
  tensor,
  topk,
  valueAndGrad,
} from "../../dsl/mod.ts";
import { type Node, topological } from "../../dsl/node.ts";
import { type Shape, sizeOf } from "../../dsl/shape.ts";
import { nodeOf } from "../../dsl/tensor.ts";
import { backward } from "../../dsl/transforms/reverse.ts";
import { assertAgree, assertSameBits, type Case, drawValues, expected, onDevice, randomNumbers } from "../agreement.ts";
import { allDevices, withDevice } from "../devices.ts";

const devices = allDevices().filter((name) => name !== "interpreter");
const variable = (shape: Shape, dtype: Node["dtype"] = "f32"): Node =>
  node("variable", [], { shape, dtype, name: "x" });
const random = randomNumbers(4);
const drawn = (parameters: readonly Node[]): Float64Array[] =>
  parameters.map(({ shape }) => drawValues({ shape }, random));

/** Tokens through chosen experts, and a step of gradient descent with momentum on the experts' weights. */
function expertStep(): Case {
  const x = variable({ t: 6, e: 5 }), w = variable({ x: 4, e: 5, h: 3 }), momentum = variable(w.shape);
  const index = variable({ t: 6, s: 2 }, "i32");
  const out = node("contractAt", [x, w, index], { axis: "x", over: ["e"] });
  const loss = sum(mul(out, out), ["t", "s", "h"]), [gradient] = backward([loss], [constant(1)], [w]);
  const kept = add(scale(momentum, 0.9), gradient), parameters = [x, w, momentum];
  return {
    parameters: [...parameters, index],
    results: [loss, gradient, kept, add(w, scale(kept, -0.01))],
    values: [...drawn(parameters), new Float64Array(12)],
  };
}

for (const name of devices) {
  Deno.test(`${name}: an expert without tokens has a zero gradient and its momentum decays, in a reused arena`, () =>
    withDevice(name, async (device) => {
      const { parameters, results, values } = expertStep();
      const step = device.build({ parameters, results }, {
        donated: parameters.map(() => false),
        hosted: parameters.map(() => false),
        fuse: "on",
        poison: true,
      });
      // All experts, then fewer and fewer, then none: what an earlier run left must not show.
      const routings = [[0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3], [3, 0, 3, 0, 3, 3, 3, 3, 0, 0, 3, 3], Array(12).fill(-1)];
      for (const routing of routings) {
        const given = [...values.slice(0, 3), Float64Array.from(routing)];
        const args = parameters.map(({ shape, dtype }, i) =>
          device.put(node("data", [], { shape, dtype, values: given[i] }))
        );
        const got: Float64Array[] = [];
        for (const result of await step.run(args)) got.push(Float64Array.from(await device.read(result)));
        assertAgree(got, expected({ parameters, results, values: given }), `routing ${routing}`);
        const silent = [0, 1, 2, 3].filter((expert) => !routing.includes(expert));
        for (const expert of silent) {
          assertEquals([...got[1].subarray(expert * 15, expert * 15 + 15)], Array(15).fill(0));
        }
      }
    }));

  Deno.test(`${name}: donated weights are overwritten after their last reader, with many readers`, () =>
    withDevice(name, async (device) => {
      for (const each of [updates(), expertStep()]) {
        const kept = await onDevice(each, device);
        assertAgree(kept, expected(each), "kept");
        assertSameBits(await onDevice(each, device, { donate: true }), kept, "donated");
      }
    }));
}

Deno.test("a plan that skips experts without tokens is caught: their momentum takes what the arena held before", async () => {
  using device = openNative("cpu");
  const { values, results: [loss, , momentum, weights], parameters } = expertStep();
  // Expert 3 gets no token, and its gradient lies in the arena.
  const index = Float64Array.from([0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2]);
  const each = { parameters, results: [loss, momentum, weights], values: [...values.slice(0, 3), index] };
  const compiled = planOf(each, device), want = expected(each), { kernels } = compiled.plan;
  assertAgree(await run(compiled.plan, compiled, each, device), want, "as planned");
  const skipping = kernels.map((kernel) => kernel.kind === "groupedInto" ? { ...kernel, groups: 3 } : kernel);
  assert(skipping.some((kernel, i) => kernel !== kernels[i]), "no kernel makes gradients by expert");
  const [, broken] = await run({ ...compiled.plan, kernels: skipping }, compiled, each, device);
  assert(broken.subarray(0, 45).every(Number.isFinite), "experts with tokens");
  assert(broken.subarray(45).every(Number.isNaN), "the expert without");
});

/** A weight that a forward product, a backward product and a norm read, and that is updated. */
function updates(): Case {
  const x = variable({ a: 7, b: 6 }), w = variable({ b: 6, c: 5 }), y = contract(x, w, ["b"]);
  const shown = node("tanh", [y], {}), back = contract(shown, w, ["c"]), gradient = contract(x, shown, ["a"]);
  const norm = sum(mul(w, w), ["b", "c"]), parameters = [x, w];
  const updated = add(w, mul(gradient, expand(scale(norm, -0.01), gradient.shape)));
  return { parameters, results: [updated, shown, back, norm], values: drawn(parameters) };
}

/** A plan of the CPU for a case whose parameters are all donated. */
function planOf({ parameters, results }: Case, device: NativeDevice): CompiledProgram {
  return pipeline({ parameters, results }, {
    capabilities: device.capabilities,
    fuse: "on",
    poison: true,
    donated: parameters.map(() => true),
    hosted: parameters.map(() => false),
  });
}

/** Runs a plan on fresh buffers and reads every result. */
async function run(
  plan: Plan,
  compiled: CompiledProgram,
  { parameters, values, results }: Case,
  device: NativeDevice,
): Promise<Float64Array[]> {
  const handles = new BigUint64Array(compiled.arguments.length);
  compiled.arguments.forEach((source, i) => {
    if (source.kind !== "parameter") return;
    const integer = parameters[source.position].dtype === "i32", given = values[source.position];
    const data = integer ? Int32Array.from(given) : Float32Array.from(given);
    const buffer = device.allocate(data.byteLength);
    device.write(buffer, new Uint8Array(data.buffer));
    handles[i] = BigInt(buffer);
  });
  await device.run(device.load(plan), handles, new Uint8Array(plan.upload));
  return results.map(({ shape }, i) => {
    const data = new Float32Array(Object.values(shape).reduce((a, b) => a * b, 1));
    device.read(Number(handles[compiled.results[i]]), new Uint8Array(data.buffer));
    return Float64Array.from(data);
  });
}

/** The steps of a plan that read or write an argument. */
const stepsThat = ({ steps, kernels, buffers }: Plan, writes: boolean, argument: number): number[] =>
  steps.flatMap(({ kernel, buffers: bound }, step) => {
    const what = kernels[kernel];
    if (what.kind === "wgsl") return [];
    const touches = phasesOf(what).flat().some((walk) => {
      const buffer = buffers[bound[walk.slot]];
      return walk.writes === writes && buffer.at === "argument" && buffer.index === argument;
    });
    return touches ? [step] : [];
  });

Deno.test("the donated weight's plan run with the update first gives other results: its order matters", async () => {
  using device = openNative("cpu");
  const each = updates(), compiled = planOf(each, device), want = expected(each);
  const weights = compiled.arguments.findIndex((source) => source.kind === "parameter" && source.position === 1);
  assertEquals(compiled.results[0], weights);
  const [writer] = stepsThat(compiled.plan, true, weights), readers = stepsThat(compiled.plan, false, weights);
  assert(readers.length > 2 && readers.every((step) => step <= writer), `readers ${readers}, writer ${writer}`);
  assertAgree(await run(compiled.plan, compiled, each, device), want, "as planned");
  // The backward product, which does not feed the update, after it: it reads the new weights.
  const late = readers.findLast((step) => step !== writer)!;
  const order = compiled.plan.steps.filter((_, step) => step !== late);
  const broken = { ...compiled.plan, steps: [...order, compiled.plan.steps[late]] };
  const got = await run(broken, compiled, each, device);
  assert(got.some((result, i) => result.some((value, j) => Math.abs(value - want[i].data[j]) > 1e-4)));
});

Deno.test("poison shows what nothing wrote: a plan that leaves out a step gives NaN", async () => {
  using device = openNative("cpu");
  const each = updates(), compiled = planOf(each, device), { steps, buffers: all } = compiled.plan;
  const first = steps.findIndex(({ buffers }) => buffers.some((buffer) => all[buffer].at === "arena"));
  assert(first >= 0, "no step writes the arena");
  const got = await run({ ...compiled.plan, steps: steps.toSpliced(first, 1) }, compiled, each, device);
  assert(got.some((result) => result.some(Number.isNaN)));
});

type Routing = { readonly router: Tensor<"embed" | "expert">; readonly gain: Tensor<"expert"> };

/** What one chosen expert's gain adds to each token, summed. The router's products are added in the order of `embed`. */
const routed = (x: Tensor<"token" | "embed">, { router, gain }: Routing): Scalar => {
  const scores = product(x, router, "embed"), choice = topk(scores, "expert", { slot: 1 });
  return total(times(exp(take(scores, "expert", choice)), take(gain, "expert", choice)));
};

/** Gradients, as nodes, in the order of `router`, `gain`; and how often loss and gradients choose experts. */
function decided(loss: (parameters: Routing) => Scalar, parameters: Routing): { gradients: Node[]; choices: number } {
  const made = valueAndGrad(loss)(parameters), gradients = Object.values(made.grad).map(nodeOf);
  const whole = topological(inline([nodeOf(made.value), ...gradients]));
  return { gradients, choices: whole.filter(({ op }) => op === "topk").length };
}

const numbers = (nodes: readonly Node[]): number[][] => evaluate(nodes).map(({ data }) => [...data]);

Deno.test("routing under checkpoint is decided once; decided again in another order of sums, it would flip", () => {
  const x = tensor({ token: 1, embed: 3 }, [1, 1, 1]);
  // (0.1 + 0.2) + 0.3 is a little more than 0.6, and 0.1 + (0.2 + 0.3) is not.
  const parameters: Routing = {
    router: tensor({ embed: 3, expert: 2 }, [0.6, 0.1, 0, 0.2, 0, 0.3]),
    gain: tensor({ expert: 2 }, [5, 7]),
  };
  const plain = decided((given) => routed(x, given), parameters);
  const kept = decided(checkpoint((given: Routing) => routed(x, given)), parameters);
  assertEquals(kept.choices, 1);
  // It does compute again what is cheap to get wrong: the scores, behind a barrier.
  assert(topological(kept.gradients).some(({ op }) => op === "barrier"));
  assertEquals(numbers(kept.gradients), numbers(plain.gradients));

  // The rule broken: the backward pass routes anew, by kernels that add up from the other end.
  const last = tensor({ flipped: 3 }, [2, 1, 0], "i32");
  const naive = customVjp(
    (tokens: typeof x, router: Routing["router"], gain: Routing["gain"]) => routed(tokens, { router, gain }),
    (cotangent, _loss, tokens, router, gain) => {
      const again = grad((given: Routing) =>
        routed(rename(take(tokens, "embed", last), { flipped: "embed" }), {
          ...given,
          router: rename(take(given.router, "embed", last), { flipped: "embed" }),
        })
      );
      const made = again({ router, gain });
      return [times(tokens, 0), times(made.router, cotangent), times(made.gain, cotangent)];
    },
  );
  const broken = decided(({ router, gain }) => naive(x, router, gain), parameters);
  assertEquals(broken.choices, 2);
  const [, gainPlain] = numbers(plain.gradients), [, gainBroken] = numbers(broken.gradients);
  assertEquals(gainPlain.map(Boolean), [false, true]);
  assertEquals(gainBroken.map(Boolean), [true, false]);
});

for (const name of devices) {
  Deno.test(`${name}: what a plan says it needs is what the device holds at most while it runs`, () =>
    withDevice(name, async (device) => {
      const a = variable({ m: 300, k: 200 }), b = variable({ k: 200, n: 400 });
      const hidden = node("tanh", [contract(a, b, ["k"])], {});
      const loss = sum(mul(hidden, hidden), ["m", "n"]);
      const parameters = [a, b], results = [loss, ...backward([loss], [constant(1)], parameters)];
      const idle = device.memory().used;
      const program = device.build({ parameters, results }, {
        donated: [false, false],
        hosted: [false, false],
        fuse: "on",
        poison: false,
      });
      const given = parameters.map(({ shape, dtype }) =>
        device.put(node("data", [], { shape, dtype, values: new Float32Array(sizeOf(shape)) }))
      );
      const held = device.memory().used, made = await program.run(given);
      const own = [...parameters, ...results].reduce((bytes, { shape }) => bytes + 4 * sizeOf(shape), 0);
      const most = device.memory().peak - idle, planned = program.arenaBytes + own;
      assert(program.arenaBytes > 4 * 300 * 400, "the program needs no intermediate memory: this shows nothing");
      assert(Math.abs(most - planned) <= 0.01 * planned, `${most} bytes at most, ${planned} planned (${held} before)`);
      for (const x of [...made, ...given]) device.free(x);
    }));
}
