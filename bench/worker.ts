/**
 * @file Ours, in a process of its own: reads a piece of work, makes it ready, and does rounds of it. One line of JSON
 * in, one line out (see `processes.ts`).
 */
import { cpuUsage } from "node:process";
import { UserError } from "../dsl/errors.ts";
import type { Prepared, Round, Work } from "./case.ts";
import { prepareGeneration } from "./families/generation.ts";
import { prepareKernel } from "./families/kernels.ts";
import { prepareLong } from "./families/long.ts";
import { prepareGrouped, prepareProduct } from "./families/products.ts";
import { prepareStep } from "./families/steps.ts";

async function prepare(work: Work): Promise<Prepared> {
  switch (work.kind) {
    case "step":
      return await prepareStep(work);
    case "product":
      return await prepareProduct(work);
    case "grouped":
      return await prepareGrouped(work);
    case "kernel":
      return await prepareKernel(work);
    case "long":
      return await prepareLong(work);
    case "generation":
      return await prepareGeneration(work);
    case "merge":
    case "start":
    case "compile":
      throw new UserError(`${work.kind}: this is a command, no worker does it.`);
  }
}

/** Does it until so many seconds are over, at least once. */
async function round({ run }: Prepared, seconds: number): Promise<Round> {
  const began = performance.now();
  let best = Infinity, computed = Infinity, times = 0;
  do {
    const from = performance.now(), before = cpuUsage();
    await run();
    best = Math.min(best, (performance.now() - from) / 1000);
    const { user, system } = cpuUsage(before);
    computed = Math.min(computed, (user + system) / 1e6);
    times++;
  } while (performance.now() - began < 1000 * seconds);
  return { seconds: best, computed, times };
}

if (import.meta.main) {
  const say = (answer: unknown): void => console.log(JSON.stringify(answer));
  let prepared: Prepared | undefined, rest = "";
  const decoder = new TextDecoder();
  try {
    for await (const chunk of Deno.stdin.readable) {
      const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
      rest = lines.pop()!;
      for (const line of lines) {
        if (prepared) say(await round(prepared, JSON.parse(line).seconds));
        else {
          const baseBytes = Deno.memoryUsage().rss;
          prepared = await prepare(JSON.parse(line));
          if (!(prepared.losses ?? []).every(Number.isFinite)) throw new UserError(`losses ${prepared.losses}`);
          const { run: _, ...ready } = prepared;
          say({ ...ready, baseBytes });
        }
      }
    }
  } catch (error) {
    say({ error: error instanceof Error ? error.message : String(error) });
  }
  // Devices have threads of their own.
  Deno.exit(0);
}
