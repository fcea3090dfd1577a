/** @file The authors' code on the authors' small model: same logits, losses, gradients, merged weights. */
import { assert, assertEquals } from "@std/assert";
import { compile, number, put, values } from "../../backend/compile.ts";
import { add, and, type Operand, rename, type Tensor, tensor, valueAndGradWith } from "../../dsl/mod.ts";
import { crossEntropy, less, not } from "../../dsl/mod.ts";
import { entriesOf } from "../../dsl/tree.ts";
import { tensorOf } from "../../dsl/tensor.ts";
import { authorsDense, authorsMixture, denseConfig, goldenLeaf, mixtureConfig } from "../../tests/fixtures/authors.ts";
import { allDevices, withDevice } from "../../tests/devices.ts";
import { type GoldenTensor, readSafetensors } from "../../tests/fixtures/safetensors.ts";
import { golden } from "../../tests/support.ts";
import { merged } from "../merge/formula.ts";
import type { Batch } from "./batch.ts";
import { layout } from "./layout.ts";
import { llama, type Memory, ownTokens, swiglu } from "./llama.ts";
import { mixtureLoss, type MixtureOptions, moe } from "./moe.ts";

type Golden = ReadonlyMap<string, GoldenTensor>;
const file = (name: string): Golden => readSafetensors(golden(`authors/${name}.safetensors`));
const sizes = { batch: 2, seq: 16 };

/** Tokens and labels of a golden file; theirs are not shifted yet, and −100 is masked. */
function batchOf(tensors: Golden): Batch {
  const ids = tensors.get("ids")!.values, labels = tensors.get("labels")?.values ?? ids;
  const shifted = labels.map((_, i) => i % 16 === 15 || labels[i + 1] === -100 ? -1 : labels[i + 1]);
  return { tokens: tensor(sizes, ids, "i32"), labels: tensor(sizes, shifted, "i32") };
}

/** The largest difference, and the largest value that was expected. */
function worst(got: ArrayLike<number>, want: Float64Array): { difference: number; scale: number } {
  assertEquals(got.length, want.length);
  let difference = 0, scale = 0;
  for (let i = 0; i < want.length; i++) {
    difference = Math.max(difference, Math.abs(got[i] - want[i]));
    scale = Math.max(scale, Math.abs(want[i]));
  }
  return { difference, scale };
}

const close = (got: ArrayLike<number>, want: Float64Array, tolerance: number, what: string): void => {
  const { difference } = worst(got, want);
  assert(difference <= tolerance, `${what}: largest difference ${difference}`);
};

/** Their mask: padded keys are seen by nobody. */
function paddedMemory(real: Float64Array): Memory {
  const keys = rename(tensor(sizes, real, "bool"), { seq: "key" });
  return (key, value) => {
    const own = ownTokens(key, value), { batch, seq } = key.shape;
    const grid = not(less(tensor({ batch, seq, key: seq }, new Float64Array(batch * seq * seq), "i32"), 0));
    const keep: Operand<"batch" | "seq" | "key", "bool"> = and(and(grid, own.keep), keys);
    return { ...own, keep };
  };
}

for (const name of allDevices()) {
  for (const which of ["moe_eval", "moe_eval_padded", "moe_train"]) {
    Deno.test(`authors, ${name}: ${which} has their logits and losses`, () =>
      withDevice(name, async (device) => {
        const tensors = file(which), mask = tensors.get("attention_mask")?.values;
        const noise = [0, 1].flatMap((layer) => [...tensors.get(`gate.${layer}.noise`)?.values ?? []]);
        const options: MixtureOptions = {
          authorsQuirks: true,
          ...(mask && { memory: paddedMemory(mask) }),
        };
        const run = compile(
          (
            model: ReturnType<typeof authorsMixture>,
            batch: Batch,
            epsilon: Tensor<"layer" | "batch" | "seq" | "expert">[],
          ) => {
            const all = { ...options, ...(epsilon.length > 0 && { noise: epsilon[0] }) };
            const { total, count, balance } = mixtureLoss(mixtureConfig, model, batch, all);
            const { logits } = llama(mixtureConfig, model, batch.tokens, moe(mixtureConfig, all.noise), all);
            return { logits, total, count, balance };
          },
          device,
        );
        const epsilon = noise.length > 0 ? [tensor({ layer: 2, ...sizes, expert: 7 }, Float64Array.from(noise))] : [];
        const out = await run(put(authorsMixture(), device), batchOf(tensors), epsilon);
        close(await values(out.logits, device), tensors.get("logits")!.values, 1e-4, "logits");
        const crossEntropy = await number(out.total, device) / await number(out.count, device);
        close([crossEntropy], tensors.get("loss_ce")!.values, 1e-5, "cross-entropy");
        close([await number(out.balance, device)], tensors.get("loss_balance")!.values, 1e-5, "balance loss");
      }));
  }

  for (const which of ["moe_eval", "moe_train"]) {
    Deno.test(`authors, ${name}: ${which} has their gradients`, () =>
      withDevice(name, async (device) => {
        const tensors = file(which), gradients = file(`${which}_grads`);
        const noise = [0, 1].flatMap((layer) => [...tensors.get(`gate.${layer}.noise`)?.values ?? []]);
        const run = compile(
          (
            model: ReturnType<typeof authorsMixture>,
            batch: Batch,
            epsilon: Tensor<"layer" | "batch" | "seq" | "expert">[],
          ) =>
            valueAndGradWith((parameters: typeof model) => {
              const options = { authorsQuirks: true, ...(epsilon.length > 0 && { noise: epsilon[0] }) };
              const { balance } = mixtureLoss(mixtureConfig, parameters, batch, options);
              const { logits } = llama(mixtureConfig, parameters, batch.tokens, moe(mixtureConfig, options.noise));
              return { loss: add(crossEntropy(logits, batch.labels), balance) };
            })(model),
          device,
        );
        const epsilon = noise.length > 0 ? [tensor({ layer: 2, ...sizes, expert: 7 }, Float64Array.from(noise))] : [];
        const { grad } = await run(put(authorsMixture(), device), batchOf(tensors), epsilon);
        const got = new Map(entriesOf(grad));
        for (const leaf of layout(mixtureConfig)) {
          const { difference, scale } = worst(
            await values(tensorOf(got.get(leaf.path)!), device),
            goldenLeaf(gradients, leaf),
          );
          assert(difference <= 1e-3 * scale, `${leaf.path}: ${difference} of ${scale}`);
        }
      }));
  }

  Deno.test(`authors, ${name}: merging gives their dense model, its logits and their coefficients' gradients`, () =>
    withDevice(name, async (device) => {
      const tensors = file("weighted_eval"), lambda = [0, 1].map(() => tensor({}, [0.75]));
      const alpha = [0, 1].map((layer) =>
        tensor({ expert: 7 }, tensors.get(`model.layers.${layer}.mlp.average_weights`)!.values)
      );
      const run = compile((model: ReturnType<typeof authorsMixture>, a: typeof alpha, batch: Batch) => {
        const dense = (parameters: typeof alpha) => merged(model, { alpha: parameters, lambda });
        const loss = (parameters: typeof alpha) => {
          const { logits } = llama(mixtureConfig, dense(parameters), batch.tokens, swiglu);
          return { loss: crossEntropy(logits, batch.labels), logits };
        };
        return { ...valueAndGradWith(loss)(a), dense: dense(a) };
      }, device);
      const { value, grad, dense } = await run(put(authorsMixture(), device), put(alpha, device), batchOf(tensors));
      close(await values(value.logits, device), tensors.get("logits")!.values, 1e-4, "logits");
      close([await number(value.loss, device)], tensors.get("loss_ce")!.values, 1e-5, "cross-entropy");
      for (const [layer, each] of grad.entries()) {
        const { difference, scale } = worst(
          await values(each, device),
          tensors.get(`grad.model.layers.${layer}.mlp.average_weights`)!.values,
        );
        assert(difference <= 1e-3 * scale, `layer ${layer}: ${difference} of ${scale}`);
      }
      const want = new Map(entriesOf(authorsDense("dense_merged")));
      for (const [path, leaf] of entriesOf(dense)) {
        const stored = want.get(path)!.attributes as { values: Float64Array };
        close(await values(tensorOf(leaf), device), stored.values, 1e-6, path);
      }
    }));

  Deno.test(`authors, ${name}: dense models have their logits`, () =>
    withDevice(name, async (device) => {
      const run = compile((model: ReturnType<typeof authorsDense>, tokens: Batch["tokens"]) =>
        llama(denseConfig, model, tokens, swiglu).logits, device);
      for (
        const [folder, which, logits] of [["dense0", "dense0_eval", "logits_dense"], [
          "dense_merged",
          "dense_merged_eval",
          "logits",
        ]] as const
      ) {
        const tensors = file(which);
        const got = await run(put(authorsDense(folder), device), batchOf(tensors).tokens);
        close(await values(got, device), tensors.get(logits)!.values, 1e-4, folder);
      }
    }));
}
