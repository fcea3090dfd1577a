/**
 * @file llama.cpp, through node-llama-cpp, in a process of its own: `node llama.mjs FOLDER MODEL`. FOLDER is where npm
 * installed it, MODEL a GGUF file. One line of JSON in, one out (see `bench/processes.ts`).
 */
import { join } from "node:path";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const [folder, modelPath] = process.argv.slice(2);
const say = (answer) => process.stdout.write(`${JSON.stringify(answer)}\n`);

/** Ids as `bench/weights.ts` makes them. */
function idsOf(count, vocabulary) {
  let seed = 0x811c9dc5;
  for (const letter of "tokens") seed = Math.imul(seed ^ letter.charCodeAt(0), 0x01000193);
  return Array.from({ length: count }, (_, i) => {
    let x = (Math.imul(i, 0x9e3779b1) + seed) | 0;
    x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
    x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
    return ((x ^ (x >>> 16)) >>> 0) % vocabulary;
  });
}

/** Greedy tokens of all prompts together, end tokens passed over. */
async function prepare({ batch, prompt, tokens }) {
  const { getLlama } = await import(pathToFileURL(join(folder, "node_modules/node-llama-cpp/dist/index.js")).href);
  const llama = await getLlama({ gpu: false, build: "never", logLevel: "error" });
  const model = await llama.loadModel({ modelPath });
  const context = await model.createContext({
    contextSize: prompt + tokens + 1,
    sequences: batch,
    batchSize: Math.max(512, batch * prompt),
    threads: llama.cpuMathCores,
  });
  const ids = idsOf(batch * prompt, 49152), sequences = Array.from({ length: batch }, () => context.getSequence());
  const generate = async (sequence, i) => {
    await sequence.clearHistory();
    let count = 0;
    const own = ids.slice(i * prompt, (i + 1) * prompt);
    for await (const _ of sequence.evaluate(own, { temperature: 0, yieldEogToken: true })) {
      if (++count === tokens) return;
    }
    throw new Error(`${count} tokens instead of ${tokens}`);
  };
  const run = () => Promise.all(sequences.map(generate));
  await run();
  return { run, about: `llama.cpp ${llama.llamaCppRelease?.release ?? ""}, ${llama.cpuMathCores} threads` };
}

let prepared;
try {
  for await (const line of createInterface({ input: process.stdin })) {
    if (!prepared) {
      const baseBytes = process.memoryUsage().rss;
      prepared = await prepare(JSON.parse(line));
      say({ about: prepared.about, baseBytes });
      continue;
    }
    const { seconds } = JSON.parse(line), began = performance.now();
    let best = Infinity, times = 0;
    do {
      const from = performance.now();
      await prepared.run();
      best = Math.min(best, (performance.now() - from) / 1000);
      times++;
    } while (performance.now() - began < 1000 * seconds);
    say({ seconds: best, times });
  }
} catch (error) {
  say({ error: String(error?.message ?? error) });
}
process.exit(0);
