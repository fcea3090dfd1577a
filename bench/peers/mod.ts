/** @file The peers: who of them does which work, what each needs, and the command that starts it. */
import { join } from "node:path";
import type { StepWork, Work } from "../case.ts";
import { root, startWorker } from "../processes.ts";
import { smollm2Place } from "../../tests/support.ts";
import { startMerge } from "../families/merges.ts";
import type { Contestant } from "../rounds.ts";
import { burnProgram, halfGguf, llamaFolder, peersPython } from "./environment.ts";

/** Peers that can do a piece of work. */
export function peersFor(work: Work): Contestant[] {
  switch (work.kind) {
    case "step":
      return stepPeers(work);
    case "generation":
      return ["f16", "Q4_1"].map((storage) => {
        const model = storage === "f16" ? halfGguf : () => Promise.resolve(smollm2Place());
        return {
          name: `llama.cpp, ${storage}`,
          role: "peer",
          install: async () => void await Promise.all([llamaFolder(), model()]),
          start: async (signal) => {
            const words = ["node", join(root, "bench/peers/llama.mjs"), await llamaFolder(), await model()] as const;
            return await startWorker({ words }, work, signal);
          },
        };
      });
    case "merge":
      return work.method === "xft" ? [] : [{
        name: "mergekit",
        role: "peer",
        install: peersPython,
        start: async (signal) => {
          const python = await peersPython();
          return await startMerge(work, ({ file, out }) => ({
            words: [python, "-m", "mergekit.scripts.run_yaml", file, out, "--no-copy-tokenizer"],
          }), signal);
        },
      }];
    default:
      return [];
  }
}

function stepPeers(work: StepWork): Contestant[] {
  const { step, config, device, update } = work;
  if (update === false) return [];
  if (device !== undefined) return device === "wgpu" && step === "dense" ? [burn(work)] : [];
  const script = (name: string, file: string, ...flags: string[]): Contestant => ({
    name,
    role: "peer",
    install: peersPython,
    start: async (signal) =>
      await startWorker({ words: [await peersPython(), join(root, "bench/peers", file), ...flags] }, work, signal),
  });
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

/** burn on the same graphics adapter. */
const burn = (work: StepWork): Contestant => ({
  name: "burn",
  role: "peer",
  install: burnProgram,
  start: async (signal) => await startWorker({ words: [await burnProgram()] }, work, signal),
});
