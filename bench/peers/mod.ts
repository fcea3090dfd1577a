/** @file The peers: who of them does which work, and the command that starts each. */
import { join } from "node:path";
import type { StepWork, Work } from "../case.ts";
import { root, startWorker } from "../processes.ts";
import { smollm2Place } from "../../tests/support.ts";
import { startMerge } from "../families/merges.ts";
import type { Contestant } from "../rounds.ts";
import { halfGguf, llamaFolder } from "./environment.ts";

/** Peers that can do a piece of work. */
export function peersFor(work: Work, python: string): Contestant[] {
  const script = (name: string, file: string, ...flags: string[]): Contestant => ({
    name,
    role: "peer",
    start: () => startWorker({ words: [python, join(root, "bench/peers", file), ...flags] }, work),
  });
  switch (work.kind) {
    case "step":
      return work.device || work.update === false ? [] : stepPeers(work, script);
    case "generation":
      return ["f16", "Q4_1"].map((storage) => ({
        name: `llama.cpp, ${storage}`,
        role: "peer",
        start: async () => {
          const model = storage === "f16" ? await halfGguf(python) : smollm2Place();
          return await startWorker({
            words: ["node", join(root, "bench/peers/llama.mjs"), await llamaFolder(), model],
          }, work);
        },
      }));
    case "merge":
      return work.method === "xft" ? [] : [{
        name: "mergekit",
        role: "peer",
        start: () =>
          startMerge(work, ({ file, out }) => ({
            words: [python, "-m", "mergekit.scripts.run_yaml", file, out, "--no-copy-tokenizer"],
          })),
      }];
    default:
      return [];
  }
}

type Script = (name: string, file: string, ...flags: string[]) => Contestant;

function stepPeers({ step, config }: StepWork, script: Script): Contestant[] {
  // Without instructions for bf16 PyTorch needs minutes for what takes seconds in f32: once is enough to say so.
  const small = config.hiddenSize <= 256 && step === "dense";
  return [
    script("PyTorch", "xft_torch.py"),
    script("PyTorch, torch.compile", "xft_torch.py", "--compile"),
    ...small ? [script("PyTorch, bf16", "xft_torch.py", "--bf16")] : [],
    ...step === "moe"
      ? [
        script("PyTorch, checkpointed layers", "xft_torch.py", "--checkpoint"),
        script("transformers' Mixtral, eager", "mixtral.py", "eager"),
        script("transformers' Mixtral, grouped_mm", "mixtral.py", "grouped_mm"),
        ...config.hiddenSize <= 256 ? [script("JAX, ragged_dot", "xft_jax.py", "--ragged")] : [],
      ]
      : [],
    script("JAX", "xft_jax.py"),
  ];
}
