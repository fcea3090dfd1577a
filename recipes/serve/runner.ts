/** @file Runs an engine for requests that come at any time: one round after another while there is work. */
import type { Engine } from "../generate/engine.ts";
import type { Sequence } from "../generate/sequence.ts";

/** Takes sequences and runs them together. */
export interface Runner {
  /** Runs sequences. They say themselves when they are finished; a fault of the engine ends them all. */
  add(sequences: readonly Sequence[]): void;
  /** Ends what runs, and waits for the last round. */
  stop(): Promise<void>;
}

/**
 * Makes a runner.
 *
 * @param onFault called once when the engine fails; nothing is run afterwards
 */
export function openRunner(engine: Engine, onFault: (error: unknown) => void): Runner {
  let running: Promise<void> | undefined, live: Sequence[] = [];
  const cancelAll = (): void => live.forEach((sequence) => sequence.finish("cancelled"));
  async function run(): Promise<void> {
    try {
      while (await engine.round()) {
        live = live.filter(({ finished }) => !finished);
        // Requests and cancellations are heard between two rounds.
        await new Promise((resolve) => setTimeout(resolve));
      }
    } catch (error) {
      cancelAll();
      onFault(error);
    } finally {
      running = undefined;
    }
  }
  return {
    add(sequences) {
      live.push(...sequences);
      engine.add(...sequences);
      running ??= run();
    },
    async stop() {
      cancelAll();
      await running;
    },
  };
}
