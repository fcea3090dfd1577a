/**
 * @file What the method's steps compile to, as snapshots: how many kernels, how many bytes, how much memory, and the
 * kernels of attention and of the loss over a vocabulary. `XFT_UPDATE_GOLDEN=1` writes them anew.
 */
import { assertEquals, assertLess } from "@std/assert";
import { routing } from "../../bench/families/sizes.ts";
import { graphics, processor } from "../../bench/plan.ts";
import { foresee, planned, traced } from "../../backend/compile.ts";
import type { KernelReport, ProgramReport } from "../../backend/compiler/explain/explain.ts";
import type { Capabilities } from "../../backend/device.ts";
import {
  add,
  causal,
  contract,
  crossEntropy,
  maskedSoftmax,
  mul,
  rename,
  sum,
  type Tensor,
  valueAndGrad,
} from "../../dsl/mod.ts";
import type { ModelConfig } from "../../recipes/convert/config.ts";
import { explainStep, planStep } from "../../recipes/explain.ts";
import { xft } from "../../recipes/objectives/xft.ts";

const golden = new URL("../golden/plans/", import.meta.url);

/** Machines planned for: a processor, and a GPU with the fewest bindings that WebGPU promises. */
const machines: readonly Capabilities[] = [{ ...processor, name: "cpu" }, { ...graphics, name: "gpu" }];

const shared = {
  vocabSize: 4096,
  hiddenSize: 256,
  ffnSize: 688,
  layers: 2,
  heads: 4,
  kvHeads: 2,
  headDim: 64,
  maxPositions: 1024,
  normEps: 1e-6,
  ropeTheta: 10_000,
  ropeScaling: null,
  tied: true,
} as const;
const dense = { kind: "llama", ...shared } as const satisfies ModelConfig;
const mixture = { kind: "moe", ...shared, ...routing } as const satisfies ModelConfig;

const steps = {
  "dense step": [dense, "train", false],
  "dense step, checkpointed": [dense, "train", true],
  "mixture step": [mixture, "train", false],
  "mixture step, checkpointed": [mixture, "train", true],
  "coefficient step": [mixture, "learn", false],
  "loss": [dense, "loss", false],
  "decode step": [dense, "decode", false],
  "decode step of a mixture": [mixture, "decode", false],
} as const;

const mebibytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`;

function summary(name: string, { kernels, steps, distinct, moved, arena, overwriting }: ProgramReport): string {
  const kinds = new Map<string, number>();
  for (const { kind, runs } of kernels) kinds.set(kind, (kinds.get(kind) ?? 0) + runs);
  const counts = [...kinds].sort(([a], [b]) => a < b ? -1 : 1).map(([kind, count]) => `${kind} ${count}`).join(", ");
  return `${name}: ${steps} kernels, ${distinct} distinct (${counts}); moves ${mebibytes(moved)}, arena ${
    mebibytes(arena)
  }, ${overwriting} results in place`;
}

const line = ({ kind, runs, axes, extent, operations }: KernelReport): string =>
  `${runs} × ${kind} [${axes}] ${extent}: ${operations}`;

/** Compares with the file, or writes it. */
function assertGolden(name: string, text: string): void {
  const file = new URL(`${name}.txt`, golden);
  if (Deno.env.get("XFT_UPDATE_GOLDEN")) {
    Deno.mkdirSync(golden, { recursive: true });
    Deno.writeTextFileSync(file, text);
  }
  assertEquals(text, Deno.readTextFileSync(file));
}

for (const machine of machines) {
  Deno.test(`plans on ${machine.name}: kernels, bytes and memory of every step are as they were`, () => {
    const lines = Object.entries(steps).map(([name, [config, step, checkpoint]]) =>
      summary(
        name,
        explainStep(config, machine, { step, checkpoint, batch: 1, seq: 1024, optimizer: "adafactor", objective: xft }),
      )
    );
    assertGolden(`steps_${machine.name}`, `${lines.join("\n")}\n`);
  });

  Deno.test(`plans on ${machine.name}: attention's kernels, forward and backward`, () => {
    type Queries = Tensor<"seq" | "head" | "dim">;
    type Heads = { query: Queries; key: Queries; value: Queries };
    const attention = ({ query, key, value }: Heads) => {
      const weights = maskedSoftmax(contract(query, rename(key, { seq: "key" }), "dim"), "key", causal(1024));
      const out = contract(weights, rename(value, { seq: "key" }), "key");
      return sum(mul(out, out));
    };
    const shape = { seq: 1024, head: 8, dim: 64 };
    const heads = { query: planned(shape), key: planned(shape), value: planned(shape) } as Heads;
    const { kernels } = foresee((given: Heads) => valueAndGrad(attention)(given), [heads], machine);
    assertGolden(`attention_${machine.name}`, `${kernels.map(line).join("\n")}\n`);
  });

  Deno.test(`plans on ${machine.name}: the kernels of the loss over a vocabulary, with both gradients`, () => {
    type Given = { hidden: Tensor<"seq" | "embed">; weights: Tensor<"vocab" | "embed"> };
    const labels = planned({ seq: 1024 }, "i32") as Tensor<"seq", "int">;
    const loss = ({ hidden, weights }: Given, labels: Tensor<"seq", "int">) =>
      crossEntropy(contract(add(hidden, 1), weights, "embed"), labels);
    const given = {
      hidden: planned({ seq: 1024, embed: 128 }),
      weights: planned({ vocab: 32768, embed: 128 }),
    } as Given;
    const { kernels } = foresee((x: Given, y: typeof labels) => valueAndGrad(loss)(x, y), [given, labels], machine);
    assertGolden(`vocabulary_loss_${machine.name}`, `${kernels.map(line).join("\n")}\n`);
  });
}

Deno.test("plans on gpu: weights of 16 bits take about the intermediate memory of 32 bits, however few bindings", () => {
  for (const [maxBindings, config] of [[8, dense], [16, dense], [8, mixture], [32, mixture]] as const) {
    const arena = (precision: "f32" | "bf16"): number =>
      explainStep(config, { ...machines[1], maxBindings }, {
        step: "train",
        checkpoint: true,
        precision,
        batch: 1,
        seq: 1024,
        optimizer: "adafactor",
        objective: xft,
      }).arena;
    assertLess(arena("bf16"), 1.25 * arena("f32"));
  }
});

Deno.test("a step's plan is the same whatever the process made before, and whether that is still there or not", () => {
  const options = { batch: 2, seq: 32, optimizer: "adafactor", objective: xft, step: "train" } as const;
  const others = [{ ...options, seq: 16 }, { ...options, step: "learn" }, { ...options, checkpoint: true }] as const;
  const kept: unknown[] = [];
  for (const machine of machines) {
    const plan = (): string => JSON.stringify(explainStep(mixture, machine, options).kernels);
    const first = plan();
    for (const other of [...others, options]) {
      // Equal expressions are one node while they live: those of a kept program are older than what uses them next.
      const { f, args, donate } = planStep(mixture, other);
      kept.push(traced(f, args, donate));
      explainStep(mixture, machine, other);
      assertEquals(plan(), first, `after ${JSON.stringify({ step: other.step, seq: other.seq })}`);
    }
    kept.length = 0;
  }
});
