/** @file The peers: who of them does which work, and the command that starts each. */
import { join } from "node:path";
import type { Work } from "../case.ts";
import { root, startWorker } from "../processes.ts";
import type { Contestant } from "../rounds.ts";

/** Peers that can do a piece of work. */
export function peersFor(work: Work, python: string): Contestant[] {
  const script = (name: string, file: string, ...flags: string[]): Contestant => ({
    name,
    role: "peer",
    start: () => startWorker({ words: [python, join(root, "bench/peers", file), ...flags] }, work),
  });
  switch (work.kind) {
    case "step":
      return [script("PyTorch", "xft_torch.py")];
    default:
      return [];
  }
}
