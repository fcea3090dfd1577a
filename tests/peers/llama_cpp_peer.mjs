/**
 * @file What llama.cpp makes of GGUF files: `node llama_cpp_peer.mjs FOLDER REQUESTS.json`, FOLDER where npm installed
 * node-llama-cpp, a list of {model, text, count}; prints a list of {tokens, greedy}.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [folder, requests] = process.argv.slice(2);
const { getLlama } = await import(pathToFileURL(join(folder, "node_modules/node-llama-cpp/dist/index.js")).href);
const llama = await getLlama({ gpu: false, build: "never", logLevel: "error" });
const answers = [];
for (const { model: modelPath, text, count } of JSON.parse(readFileSync(requests, "utf8"))) {
  const model = await llama.loadModel({ modelPath });
  const tokens = [...model.tokenize(text)];
  if (model.tokens.shouldPrependBosToken) tokens.unshift(model.tokens.bos);
  // Its own choice of threads is a hundred times slower where they are few.
  const size = { contextSize: tokens.length + count + 1, sequences: 1 };
  const context = await model.createContext({ ...size, threads: llama.cpuMathCores });
  const greedy = [];
  for await (const token of context.getSequence().evaluate(tokens, { temperature: 0, yieldEogToken: true })) {
    if (greedy.push(token) === count) break;
  }
  answers.push({ tokens, greedy });
  await model.dispose();
}
process.stdout.write(JSON.stringify(answers));
process.exit(0);
