/** @file Gathers the shaders that the compiler writes, for several kinds of adapters, without any adapter. */
import { openInterpreter } from "../../backend/interpreter.ts";
import { compile } from "../../backend/compile.ts";
import { pipeline } from "../../backend/compiler/pipeline.ts";
import type { Capabilities } from "../../backend/device.ts";
import type { BuildOptions, Device, Program } from "../../backend/runtime.ts";
import { constant, mul, sum } from "../../dsl/build.ts";
import { tensor, valueAndGradWith } from "../../dsl/mod.ts";
import { isReal } from "../../dsl/primitive.ts";
import { axesOf } from "../../dsl/shape.ts";
import { backward } from "../../dsl/transforms/reverse.ts";
import { generate } from "../../recipes/generate/mod.ts";
import { layout } from "../../recipes/model/layout.ts";
import { lossFor } from "../../recipes/model/loss.ts";
import { optimizer } from "../../recipes/optim/mod.ts";
import { programOf } from "../random/generate.ts";
import { randomNumbers } from "../agreement.ts";
import { allPrimitives, caseOf } from "../primitives/samples.ts";
import { examples } from "./epilogues.ts";
import { tinyDense, tinyMixture, tinyModel } from "../fixtures/tiny.ts";

const common = { kind: "wgpu", maxBindingBytes: 2 ** 27, maxBufferBytes: 2 ** 30, memoryBytes: 2 ** 33 } as const;

/** Adapters as they are: a GPU, drivers in software, and the least that WebGPU promises. */
export const adapters: readonly Capabilities[] = [
  { ...common, name: "GPU", software: false, maxBindings: 64, maxWorkgroupSize: 1024, workgroupMemoryBytes: 49152 },
  { ...common, name: "lavapipe", software: true, maxBindings: 64, maxWorkgroupSize: 1024, workgroupMemoryBytes: 32768 },
  {
    ...common,
    name: "SwiftShader",
    software: true,
    maxBindings: 10,
    maxWorkgroupSize: 256,
    workgroupMemoryBytes: 32768,
  },
  { ...common, name: "WebGPU", software: false, maxBindings: 8, maxWorkgroupSize: 256, workgroupMemoryBytes: 16384 },
];

/** The interpreter, which also compiles every program for `capabilities` and keeps the shaders' text. */
function recorder(capabilities: Capabilities, shaders: Set<string>): Device {
  const interpreter = openInterpreter();
  const build = (program: Program, options: BuildOptions) => {
    for (const kernel of pipeline(program, { ...options, capabilities }).plan.kernels) {
      if (kernel.kind === "wgsl") shaders.add(kernel.code);
    }
    return interpreter.build(program, options);
  };
  return { ...interpreter, build, [Symbol.dispose]: () => interpreter[Symbol.dispose]() };
}

/** Shaders of every primitive on its samples, and of its gradient, stored in f32 and in 16 bits. */
function primitiveShaders(device: Device): void {
  for (const { op, samples } of allPrimitives) {
    for (const [i, sample] of samples.entries()) {
      for (const dtype of ["f32", "bf16", "f16"] as const) {
        const inputs = sample.inputs.map((input) => input.dtype === undefined ? { ...input, dtype } : input);
        const { parameters, results } = caseOf(op, { ...sample, inputs }, i);
        const [result] = results, real = parameters.filter(isReal);
        const slope = sample.valuesOnly || !isReal(result) || real.length === 0
          ? []
          : backward([sum(mul(result, result), axesOf(result.shape))], [constant(1, result.dtype)], real);
        for (const fuse of ["on", "off"] as const) {
          const flags = parameters.map(() => false);
          device.build({ parameters, results: [...results, ...slope] }, {
            donated: flags,
            hosted: flags,
            fuse,
            poison: false,
          });
        }
      }
    }
  }
}

const tokenizer = { vocabSize: 10, decode: (ids: Iterable<number>) => [...ids].join(" ") };

/** Shaders of random programs, the same ones each time. */
function randomShaders(device: Device): void {
  const random = randomNumbers(20261123);
  for (let count = 0; count < 40; count++) {
    const list = Array.from({ length: 8 + Math.floor(random() * 50) }, () => Math.floor(random() * 10_000));
    const { parameters, results } = programOf(list), flags = parameters.map(() => false);
    for (const fuse of ["on", "off"] as const) {
      device.build({ parameters, results }, { donated: flags, hosted: flags, fuse, poison: false });
    }
  }
}

/** Shaders of products with loops behind them. */
function epilogueShaders(device: Device): void {
  for (const { parameters, results } of examples) {
    const flags = parameters.map(() => false);
    device.build({ parameters, results }, { donated: flags, hosted: flags, fuse: "on", poison: false });
  }
}

/** Shaders of a training step of a dense model and of a mixture, and of generation with both. */
async function modelShaders(device: Device): Promise<void> {
  for (const config of [tinyDense(), tinyMixture()]) {
    const loaded = tinyModel(config, device), { model } = loaded;
    const ids = tensor({ batch: 2, seq: 7 }, new Int32Array(14).fill(3), "i32");
    const batch = { tokens: ids, labels: ids };
    for (const name of ["adafactor", "adamw"] as const) {
      const chosen = optimizer({ optimizer: name }, layout(config)), state = chosen.init(model);
      compile((given: typeof model, kept: typeof state) => {
        const { grad } = valueAndGradWith(lossFor(config))(given, batch, null);
        return chosen.step(given, grad, kept, tensor({}, [0.01]));
      }, device).executable(model, state);
    }
    await generate(loaded, tokenizer, device, [[3, 4, 5, 6], [7]], { maxTokens: 3, ignoreEnd: true });
  }
}

/** The text of every distinct shader for an adapter. */
export async function shadersFor(capabilities: Capabilities): Promise<Set<string>> {
  const shaders = new Set<string>();
  using device = recorder(capabilities, shaders);
  primitiveShaders(device);
  randomShaders(device);
  epilogueShaders(device);
  await modelShaders(device);
  return shaders;
}
