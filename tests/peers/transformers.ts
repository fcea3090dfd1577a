/**
 * @file `deno task test:peers`: folders that we write, loaded by transformers in the peers' Python environment: the same
 * logits, losses and greedy tokens. Not among the ordinary tests, since that environment takes 6 GB.
 */
import { join } from "node:path";
import { assert, assertEquals } from "@std/assert";
import { compile, number, values } from "../../backend/compile.ts";
import { openInterpreter } from "../../backend/interpreter.ts";
import { open } from "../../backend/open.ts";
import type { Device } from "../../backend/runtime.ts";
import { loadTokenizer } from "../../backend/tokenizer.ts";
import { add, crossEntropy, div, type Scalar, tensor } from "../../dsl/mod.ts";
import { convert, openModel, readConfig } from "../../recipes/convert/mod.ts";
import { generate } from "../../recipes/generate/mod.ts";
import type { Batch } from "../../recipes/model/batch.ts";
import { llama, type Model, swiglu } from "../../recipes/model/llama.ts";
import { mixtureLoss, type Moe, moe } from "../../recipes/model/moe.ts";
import { isMixture, type Loaded, loadModel, saveModel } from "../../recipes/model/parameters.ts";
import { upcycle } from "../../recipes/upcycle.ts";
import { golden, smollm2Gguf, withTempDir } from "../support.ts";
import { tinyDense, tinyMixture, tinyModel } from "../fixtures/tiny.ts";
import { ask, python } from "./python.ts";

/** What transformers is asked. */
interface Request {
  readonly folder: string;
  readonly ids: readonly (readonly number[])[];
  /** 0: padding. */
  readonly mask: readonly (readonly number[])[];
  readonly prompt: readonly number[];
  readonly count: number;
  readonly train: boolean;
}
/** What it answers. */
interface Answer {
  readonly class: string;
  readonly logits: readonly number[];
  readonly greedy: readonly number[];
  readonly loss?: number;
}

const askTransformers = (requests: readonly Request[], folder: string): Promise<Answer[]> =>
  ask("transformers_peer.py", requests, folder);

/** Two rows, the second one shorter. */
function request(folder: string, train: boolean): Request {
  const ids = [[2, 5, 9, 3, 4, 4, 7, 10, 6, 8, 2, 3], [7, 7, 3, 2, 9, 5, 4, 0, 0, 0, 0, 0]];
  const mask = ids.map((row) => row.map((id) => Number(id > 0)));
  return { folder, ids, mask, prompt: [5], count: 20, train };
}

/** Logits of the tokens that are no padding, greedy tokens, and the loss, as we compute them. */
async function ours(loaded: Loaded, { ids, mask, prompt, count }: Request, device: Device): Promise<Answer> {
  const { config, model } = loaded, sizes = { batch: ids.length, seq: ids[0].length };
  const flat = ids.flatMap((row, i) => row.map((id, j) => mask[i][j] ? id : -1));
  const next = ids.flatMap((row, i) => row.map((_, j) => mask[i][j + 1] ? row[j + 1] : -1));
  const batch: Batch = { tokens: tensor(sizes, flat, "i32"), labels: tensor(sizes, next, "i32") };
  const run = compile(({ tokens, labels }: Batch) => {
    if (config.kind === "llama") {
      const { logits } = llama(config, model as Model, tokens, swiglu);
      return { logits, loss: crossEntropy(logits, labels) };
    }
    const { total, count, balance } = mixtureLoss(config, model as Model<Moe>, { tokens, labels });
    const loss: Scalar = add(div(total, count), balance);
    return { logits: llama(config, model as Model<Moe>, tokens, moe(config)).logits, loss };
  }, device);
  const out = await run(batch);
  const tokenizer = { vocabSize: config.vocabSize, decode: () => "" };
  const options = { maxTokens: count, ignoreEnd: true };
  const [{ ids: greedy }] = await generate(loaded, tokenizer, device, [[...prompt]], options);
  const logits = [...await values(out.logits, device, "batch", "seq", "vocab")];
  return { class: isMixture(loaded) ? "XftMoeForCausalLM" : "", logits, greedy, loss: await number(out.loss, device) };
}

/** Asserts that both computed the same, to 1e-4 of the largest logit. */
function assertSame(got: Answer, want: Answer, { ids, mask, train }: Request): void {
  const vocab = want.logits.length / ids.flat().length, real = mask.flat();
  const scale = want.logits.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
  assertEquals(got.logits.length, want.logits.length);
  const worst = got.logits.reduce(
    (most, x, i) => real[Math.floor(i / vocab)] ? Math.max(most, Math.abs(x - want.logits[i])) : most,
    0,
  );
  assert(worst <= 1e-4 * scale, `logits differ by ${worst}, the largest is ${scale}`);
  assertEquals(got.greedy, want.greedy);
  if (train) assert(Math.abs(got.loss! - want.loss!) <= 1e-4, `loss ${got.loss}, transformers' is ${want.loss}`);
}

const scaled = (rope_scaling: object) => ({ rope_scaling, rope_theta: 100 });
const dense = {
  "grouped queries": tinyDense(),
  "tied": tinyDense({ tie_word_embeddings: true, head_dim: 6 }),
  "linear": tinyDense(scaled({ type: "linear", factor: 4 })),
  "dynamic": tinyDense({ ...scaled({ type: "dynamic", factor: 4 }), max_position_embeddings: 32 }),
  "llama3": tinyDense(scaled({
    rope_type: "llama3",
    factor: 8,
    low_freq_factor: 1,
    high_freq_factor: 4,
    original_max_position_embeddings: 16,
  })),
  "yarn": tinyDense(scaled({ type: "yarn", factor: 4, original_max_position_embeddings: 16 })),
};
const mixtures = {
  "a matrix": tinyMixture(),
  "two matrices": tinyMixture({ router: "mlp", tie_word_embeddings: true }),
  "gates that do not sum to 1": tinyMixture({ normalised_gates: false }),
  "all experts": tinyMixture({ num_selects: 4, balance_loss_weight: 0.5 }),
  "YaRN": tinyMixture(scaled({ type: "yarn", factor: 4, original_max_position_embeddings: 16 })),
};

Deno.test("models that we write are transformers' models", { ignore: !python }, (t) =>
  withTempDir(async (folder) => {
    using device = openInterpreter();
    const cases: { name: string; request: Request; ours: Answer }[] = [];
    const write = async (name: string, path: string, train: boolean): Promise<void> => {
      const asked = request(path, train);
      cases.push({ name, request: asked, ours: await ours(loadModel(path, device), asked, device) });
    };
    for (const [name, config] of Object.entries({ ...dense, ...mixtures })) {
      const path = join(folder, name),
        dtype = name === "tied" ? "BF16" : "F32",
        shardBytes = name === "linear" ? 3000 : undefined;
      await saveModel(path, tinyModel(config, device), device, { dtype, shardBytes });
      await write(`${config.kind}: ${name}`, path, true);
    }
    for (const name of ["qwen2", "biased"]) {
      const path = join(folder, `upcycled ${name}`);
      await upcycle(golden(`transformers/${name}`), path, { experts: 4, active: 3, init: "drop", routerDeviation: 1 });
      await write(`moe: of a dense model with biases (${name})`, path, true);
    }
    const authors = join(folder, "authors");
    await convert(golden("authors/moe"), authors);
    await write("moe: the authors', whose router has weights for noise", authors, false);
    const answers = await askTransformers(cases.map(({ request }) => request), folder);
    for (const [i, { name, request, ours }] of cases.entries()) {
      await t.step(name, () => {
        assertSame(ours, answers[i], request);
        if (name.startsWith("moe")) assertEquals(answers[i].class, "XftMoeForCausalLM");
        // What transformers saves again is read again.
        if (request.train) assertEquals(readConfig(join(request.folder, "again")), readConfig(request.folder));
        if (request.train) openModel(join(request.folder, "again"))[Symbol.dispose]();
      });
    }
  }));

const gguf = smollm2Gguf();
if (!gguf) console.error("SKIPPED, there is no SmolLM2 (`deno task test` fetches it)");

Deno.test(
  "SmolLM2, converted from GGUF, is transformers' model",
  { ignore: !python || !gguf },
  () =>
    withTempDir(async (folder) => {
      const smollm2 = join(folder, "smollm2");
      await convert(gguf!, smollm2);
      using device = await open("cpu");
      using tokenizer = loadTokenizer(smollm2);
      const ids = [tokenizer.encode("def fibonacci(n):\n    if n < 2:\n        return n\n")];
      const asked = {
        folder: smollm2,
        ids,
        mask: ids.map((row) => row.map(() => 1)),
        prompt: ids[0],
        count: 32,
        train: false,
      };
      const [theirs] = await askTransformers([asked], folder);
      assertSame(await ours(loadModel(smollm2, device), asked, device), theirs, asked);
    }),
);
