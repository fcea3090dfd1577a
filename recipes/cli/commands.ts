/** @file The command line as one table: every command, its positionals and its flags. `optique.ts` makes parsers of it. */
import { UserError } from "../../dsl/errors.ts";
import { checkEvaluation, evaluation } from "./flags/evaluation.ts";
import {
  checkLoading,
  checkStage,
  DATA_HELP,
  dataFlags,
  LAMBDA_RULE,
  loading,
  stage,
  tensorboard,
} from "./flags/shared.ts";
import {
  choice,
  command,
  factors,
  integer,
  number,
  numbers,
  objective,
  output,
  path,
  paths,
  text,
  texts,
  toggle,
  wholeFolder,
} from "./flags/schema.ts";

/** Of a mixture's experts, then of dense models. */
const MERGE_METHODS = [
  ...["xft", "uniform", "shared"] as const,
  ...["linear", "karcher", "task_arithmetic", "ties", "dare_linear", "dare_ties"] as const,
  ...["breadcrumbs", "breadcrumbs_ties", "model_stock", "slerp"] as const,
] as const;
const OPTIMIZERS = ["adafactor", "adamw", "sgd", "lion", "muon"] as const;
const PRECISIONS = ["f32", "bf16", "bf16-master"] as const;

/** Every command by its name, in the order of `--help`. */
export const commands = {
  demo: command({
    summary: "the whole method in miniature, from nothing, in minutes",
    description:
      "Makes a family of small programming tasks, pretrains a tiny Llama, tunes it, upcycles it, learns the " +
      "merge and runs what every stage generates in a sandbox. Reads nothing, opens no network.",
    examples: [
      "demo",
      "demo --seed 1 --out runs/demo-1",
      "demo --study few,noisy --base runs/demo-1/base --out runs/study",
    ],
    positionals: {},
    flags: {
      out: path("folder for metrics, samples and models (default: nothing is kept)", { metavar: "DIR" }),
      overwrite: toggle("replace what is at --out (kept until success)"),
      quick: toggle("a few steps and tasks only: shows that everything runs, says nothing about quality"),
      study: text(
        "instead: variants on the validation split, against controls of equal cost; all, or names with commas",
        {
          metavar: "NAMES",
        },
      ),
      base: path("with --study: the base model that an earlier run left", { metavar: "DIR" }),
      rates: numbers("with --study: learning rates that each row is tried with (default: 0.001,0.003)"),
      answers: integer("with --study: tasks whose answers are run for each row's best rate (default: 200)", { min: 0 }),
      test: toggle("with --study: then read the test split, once for each row's best rate"),
    },
    check({ study, base, rates, answers, test }) {
      if ((study === undefined) !== (base === undefined)) throw new UserError("--study and --base: give both or none.");
      const alone = rates ? "--rates" : answers !== undefined ? "--answers" : test ? "--test" : undefined;
      if (alone && study === undefined) throw new UserError(`${alone}: it belongs to --study.`);
    },
  }),
  run: command({
    summary: "the whole method on your model and data, one resumable command",
    examples: ["run recipes/examples/smollm2.ts --out runs/smollm2"],
    positionals: { recipe: path("a TypeScript module or JSON file", { metavar: "RECIPE", required: true }) },
    flags: {
      out: path("folder of the run (default: as the recipe says)", { metavar: "DIR" }),
      resume: toggle("go on with the run at --out: finished stages are not repeated"),
      overwrite: toggle("start again in a folder that is not empty"),
      dryRun: toggle("print the resolved recipe, run nothing"),
      tensorboard,
      ...dataFlags,
    },
  }),
  data: command({
    summary: "what is in instruction data, as a model would see it: samples, lengths, what would be left out",
    description: "What is learned stands in green; where there are no colours, between ⟦ and ⟧.",
    examples: [
      "data code.jsonl --show 3",
      "data code.parquet --model models/dense --template model --seq 1024",
      "data code.jsonl.zst --duplicates near --decontaminate HumanEval.jsonl.gz",
    ],
    positionals: { files: paths(DATA_HELP, { metavar: "FILE", required: true }) },
    flags: {
      model: path("folder of the model whose tokens are counted (default: bytes are counted)", { metavar: "DIR" }),
      show: integer("print the first N samples", { fallback: 0, min: 0 }),
      seq: integer("longest sequence in tokens, longer ones are cut", { fallback: 1024, min: 2 }),
      validation: integer("examples kept for validation", { fallback: 64, min: 0 }),
      drops: path("write what was left out, and why, here (JSON lines)", { metavar: "FILE" }),
      overwrite: toggle("replace what is at --drops"),
      ...dataFlags,
    },
  }),
  upcycle: command({
    summary: "dense model → mixture of experts, with the proof that step 0 computes the same",
    examples: ["upcycle models/dense --out models/moe --experts 8 --active 6"],
    positionals: { dense: path("Hugging Face folder of a Llama", { metavar: "DENSE", required: true }) },
    flags: {
      ...output("folder of the mixture"),
      experts: integer("experts in all, the shared one included", { fallback: 8, min: 2 }),
      active: integer("experts active per token, the shared one included", { fallback: 6, min: 1 }),
      router: choice("network of the router", ["linear", "mlp"], { fallback: "linear" }),
      init: choice("experts start as copies, or with a share of channels drawn afresh", ["copy", "drop"], {
        fallback: "copy",
      }),
      share: number("with --init drop: that share", { fallback: 0.5, min: 0, max: 1 }),
      noise: toggle("noise in the routers while training, as in the paper"),
      data: paths("text or instruction data for the proof (default: a built-in text)", { metavar: "FILE" }),
      fields: dataFlags.fields,
      skipMalformed: dataFlags.skipMalformed,
    },
    check({ experts, active }) {
      if (active > experts) {
        throw new UserError(`--active ${active}: there are only ${experts} experts (--experts ${experts}).`);
      }
      if (active < 2) throw new UserError(`--active ${active}: the shared expert and at least one routed: 2 or more.`);
    },
  }),
  train: command({
    summary: "instruction tuning of a dense model or a mixture",
    examples: ["train models/moe --out models/tuned --stage moe --data code.jsonl --steps 200"],
    positionals: { model: path("Hugging Face folder", { metavar: "MODEL", required: true }) },
    flags: {
      ...output("folder of the tuned model"),
      data: paths(DATA_HELP, { metavar: "FILE", required: true }),
      stage: choice("what is tuned: a dense model (SFT), or a mixture", ["sft", "moe"], { required: true }),
      ...stage,
      accumulate: integer("batches whose gradients are added up for one step", { fallback: 1, min: 1 }),
      clip: number("largest global norm of the gradient (default: no limit)", { min: 0 }),
      stopNorm: number("end after a step whose gradient has a larger global norm than this", { min: 0 }),
      optimizer: choice("optimiser (default: the preset's)", OPTIMIZERS),
      weightDecay: number("share of the weights taken off in each step, times the rate", { fallback: 0, min: 0 }),
      rates: factors("multiples of the rate for parts of the model, 0 freezes: router=10,embedding=0"),
      ema: number("write the running mean of the weights, of which this share stays in each step", { min: 0, max: 1 }),
      precision: choice("how weights are kept: 4 bytes; 2, rounded by chance; 2 and f32 masters", PRECISIONS, {
        fallback: "f32",
      }),
      checkpoint: toggle("compute each layer again in the backward pass: less memory, more time"),
      resume: toggle("go on with an unfinished training of the same settings, bit for bit as if it had not stopped"),
      saveEvery: integer("steps between two snapshots of the training, in OUT.unfinished", { fallback: 100, min: 1 }),
      keepSnapshots: integer("how many of them stay", { fallback: 2, min: 1 }),
      healthEvery: integer("steps between two looks at how far a mixture's experts are apart (64 rows a matrix)", {
        fallback: 1,
        min: 1,
      }),
    },
    check: checkStage,
  }),
  learn: command({
    summary: "learns the merge's coefficients, all weights frozen",
    examples: ["learn models/moe --out coefficients.json --data code.jsonl --lambda 0.75"],
    positionals: { moe: path("folder of a mixture", { metavar: "MOE", required: true }) },
    flags: {
      ...output("coefficients file (JSON)"),
      data: paths(DATA_HELP, { metavar: "FILE", required: true }),
      objective: objective("built-in objective, or a TypeScript file with one"),
      lambda: number("share of the shared expert (default: the preset's)", { min: 0, max: 1, rule: LAMBDA_RULE }),
      noVertices: toggle("do not measure the loss with each routed expert alone afterwards"),
      lambdas: numbers("also measure the loss of the uniform merge at each of these λ: 0,0.25,0.5,0.75,1"),
      resume: toggle("go on with an unfinished learning of the same settings, bit for bit as if it had not stopped"),
      saveEvery: integer("steps between two snapshots of the coefficients, in OUT.unfinished", {
        fallback: 10,
        min: 1,
      }),
      ...stage,
    },
    check({ lambdas = [], ...rest }) {
      const wrong = lambdas.find((lambda) => lambda < 0 || lambda > 1);
      if (wrong !== undefined) throw new UserError(`--lambdas ${wrong}: ${LAMBDA_RULE}`);
      checkStage(rest);
    },
  }),
  merge: command({
    summary: "mixture → dense Hugging Face folder; several dense models → one",
    description: "One folder is a mixture, whose experts are merged: one of ours, Mixtral's or Qwen2-MoE's kind. " +
      "Several are dense models of one architecture; one of mergekit's files describes such a merge, too.",
    examples: [
      "merge models/moe --out models/merged --coefficients coefficients.json",
      "merge models/moe --out models/uniform --method uniform --lambda 0.75",
      "merge models/a models/b --out models/soup --method linear --weights 0.7,0.3",
      "merge models/a models/b --out models/ties --method ties --base models/base",
      "merge --mergekit merge.yml --out models/merged",
    ],
    positionals: { models: paths("folder of a mixture, or of dense models", { metavar: "MODEL" }) },
    flags: {
      ...output("folder of the dense model"),
      coefficients: path("of a mixture: file from `learn` or `convert`", { metavar: "FILE" }),
      method: choice("how (default: xft with coefficients, else uniform; linear for dense models)", MERGE_METHODS),
      lambda: number("share of the shared expert (default: the file's, else 0.75)", {
        min: 0,
        max: 1,
        rule: LAMBDA_RULE,
      }),
      overrideLambda: toggle("let --lambda win over the file's"),
      weights: numbers("of dense models: what each weighs (default: 1)"),
      density: numbers(
        "ties, dare, breadcrumbs: share of each model's changes that is kept (one, or one for each; default: 0.5)",
      ),
      gamma: numbers(
        "breadcrumbs: share of each model's changes that is dropped as too large (one, or one for each; default: 0.01)",
      ),
      base: path("all but linear and karcher: the model that the others came from", { metavar: "DIR" }),
      scale: number("ties, dare, breadcrumbs, task_arithmetic: what the merged change is multiplied with", {
        fallback: 1,
      }),
      t: number("slerp: place on the way from the base, 0, to the model, 1", { fallback: 0.5, min: 0, max: 1 }),
      mergekit: path("mergekit's description of a merge (paths in it: from the current folder)", { metavar: "FILE" }),
      dtype: choice("type of the weights written (default: F32, or as mergekit's file says)", ["F32", "BF16", "F16"]),
    },
    check({ models, mergekit, method, coefficients }) {
      if (mergekit !== undefined && models.length > 0) {
        throw new UserError("--mergekit FILE: the file names the models; leave the others out.");
      }
      if (mergekit === undefined && models.length === 0) {
        throw new UserError("MODEL is missing: folder of a mixture, or of dense models.");
      }
      if (method === "xft" && !coefficients) throw new UserError("--method xft: it needs --coefficients FILE.");
      if (coefficients && method && method !== "xft") {
        throw new UserError(`--method ${method}: it takes no --coefficients.`);
      }
    },
  }),
  generate: command({
    summary: "text from a model",
    description:
      "Prompts run together, and the next takes a finished one's place. A single text on a terminal appears " +
      "as it is written. A mixture can be merged while it is loaded.",
    examples: [
      'generate models/merged --prompt "def fib(n):" --max-tokens 64',
      'generate models/moe --merge uniform --prompt "def f" --temperature 0.8 --n 5',
    ],
    positionals: { model: path("Hugging Face folder", { metavar: "MODEL", required: true }) },
    flags: {
      prompt: texts("a prompt (several: one result each)"),
      promptFile: paths("a file that is one prompt (several: one result each)", { metavar: "FILE" }),
      maxTokens: integer("most new tokens", { fallback: 256, min: 0 }),
      n: integer("samples of each prompt", { fallback: 1, min: 1 }),
      temperature: number("of sampling (0: always the likeliest token)", { fallback: 0, min: 0 }),
      topK: integer("only so many of the likeliest tokens (default: all)", { min: 1 }),
      topP: number("only the likeliest tokens that together have this probability", { fallback: 1, min: 0, max: 1 }),
      minP: number("only tokens at least this many times as likely as the likeliest", { fallback: 0, min: 0, max: 1 }),
      repetitionPenalty: number("what the logits of tokens that occurred are divided by", { fallback: 1, min: 0.01 }),
      stop: texts("text that ends a generation (several: any of them)"),
      stopTokens: numbers("ids that end a generation (default: the model's end tokens)"),
      top: integer("also the N best logits of the first step", { min: 1 }),
      batch: integer("texts that run together", { fallback: 16, min: 1 }),
      noSpecial: toggle("add no beginning or end token"),
      ignoreEnd: toggle("go on past the end token"),
      ...loading,
      out: path("also write the results here (JSON lines)", { metavar: "FILE" }),
      overwrite: toggle("replace what is at --out"),
    },
    check({ prompt, promptFile, ...flags }) {
      if (prompt.length + promptFile.length === 0) throw new UserError("give --prompt TEXT or --prompt-file FILE.");
      checkLoading(flags);
    },
  }),
  serve: command({
    summary: "a local server with OpenAI's API",
    description: "GET /v1/models, POST /v1/completions and /v1/chat/completions, whole or streamed. Requests that " +
      "overlap are computed together. Only this machine can reach it, unless --host says otherwise.",
    examples: ["serve models/merged", "serve models/moe --merge uniform --port 8080 --batch 32"],
    positionals: { model: path("Hugging Face folder", { metavar: "MODEL", required: true }) },
    flags: {
      host: text("address to listen at", { fallback: "127.0.0.1", metavar: "ADDRESS" }),
      port: integer("port to listen at (0: any that is free)", { fallback: 8000, min: 0, max: 65535 }),
      name: text("the model's name for clients (default: its folder's, or the hub's)", { metavar: "NAME" }),
      batch: integer("texts that run together", { fallback: 16, min: 1 }),
      ...loading,
    },
    check: checkLoading,
  }),
  evaluate: command({
    summary: "pass@k of a model or of a file of samples, perplexity, or choices by likelihood",
    description:
      "Generated code runs in a sandbox without files, network or processes. Of a file of samples --prompt, " +
      "--max-tokens, --temperature, --top-p and --sanitizer say how they were made, where no report.json beside it does.",
    examples: [
      "evaluate models/merged --benchmark humaneval --data HumanEval.jsonl.gz",
      "evaluate samples.jsonl --benchmark mbpp --data MbppPlus.jsonl.gz",
      "evaluate samples.jsonl --benchmark mbpp --data MbppPlus.jsonl.gz --prompt chat",
      "evaluate samples.jsonl --benchmark mbpp-google --data mbpp.jsonl",
      "evaluate models/merged --benchmark multipl-e:js --data humaneval-js.jsonl --greedy",
      "evaluate models/merged --benchmark perplexity --data text.txt",
      "evaluate models/merged --benchmark choices --data questions.jsonl",
    ],
    positionals: { target: path("a model's folder, or samples (JSONL)", { metavar: "MODEL|SAMPLES", required: true }) },
    flags: evaluation,
    check: (values) => checkEvaluation(values),
  }),
  compare: command({
    summary: "two results on the same tasks: what each solves alone, and whether that is more than chance",
    description:
      "Takes folders that `evaluate --out` wrote; refuses results that were measured differently, or nobody knows how.",
    examples: ["compare results/dense results/merged", "compare results/dense results/merged --brief"],
    positionals: {
      a: path("folder of a result", { metavar: "A", required: true }),
      b: path("folder of the result that is compared with it", { metavar: "B", required: true }),
    },
    flags: {
      brief: toggle("name the tasks without the programs"),
      allowUnknown: toggle("compare although it is not known how a file's samples were made"),
    },
  }),
  verify: command({
    summary: "grades a published folder's samples again and, given the mixture, repeats its merge",
    description: "Fails if a verdict or a bit of the weights differs from what the folder says.",
    examples: [
      "verify results/merged --data HumanEvalPlus.jsonl.gz",
      "verify models/merged --moe models/tuned",
    ],
    positionals: {
      folder: wholeFolder("a result's folder, or a model's with results in it", { required: true }),
    },
    flags: {
      data: paths("benchmark files; the one of the right SHA-256 is taken", { metavar: "FILE" }),
      moe: path("the mixture that the model was merged from", { metavar: "DIR" }),
      jobs: integer("sandboxes at a time (default: 2)", { min: 1 }),
    },
  }),
  publish: command({
    summary: "uploads a model to the hub with its card, recipe, coefficients, samples and hashes",
    description: "FOLDER is a model's, or one of `run`. The card says what it was made of, its scores with intervals " +
      "and their protocol, the licence of the base, and how to load and verify it. HF_TOKEN (or hf auth login) says who uploads; what " +
      "has arrived is not sent again.",
    examples: [
      "publish runs/mine --repo me/my-model --base hf:org/base --dry-run",
      "publish models/merged --repo me/my-model --results scores --license mit",
    ],
    positionals: { folder: path("a model's folder, or a run's", { metavar: "FOLDER", required: true }) },
    flags: {
      repo: text("where to: org/name on the hub, made if there is none", { metavar: "ORG/NAME", required: true }),
      branch: text("branch that is committed to", { fallback: "main", metavar: "NAME" }),
      private: toggle("a repository that is made is private"),
      results: paths("folder of a result (`evaluate --out`); those in FOLDER are taken anyway", { metavar: "DIR" }),
      recipe: path("the recipe (default: the run's, or the training's)", { metavar: "FILE" }),
      coefficients: path("the merge's coefficients (default: the run's)", { metavar: "FILE" }),
      base: text("what it was made from: hf:org/name, a folder, or a name (default: as the recipe has it)", {
        metavar: "MODEL",
      }),
      license: text("licence, such as apache-2.0 (default: as the base's card has it)", { metavar: "NAME" }),
      dataset: texts("what it was trained on: hf:datasets/org/name, or a name (several: all of them)", {
        metavar: "NAME",
      }),
      message: text("the commit's subject"),
      dryRun: toggle("print the card and the list of files, upload nothing"),
    },
    check({ repo }) {
      if (!/^[\w.-]+\/[\w.-]+$/.test(repo)) throw new UserError(`--repo ${repo}: it is written org/name.`);
    },
  }),
  tokenize: command({
    summary: "text → token ids, and back",
    examples: ['tokenize models/dense --text "def f():"', "tokenize models/dense --ids 1,403,281"],
    positionals: { model: path("Hugging Face folder or tokenizer.json", { metavar: "MODEL", required: true }) },
    flags: {
      text: text("the text"),
      file: path("a file that is the text", { metavar: "FILE" }),
      ids: text("ids to turn back into text", { metavar: "N,N,…" }),
      noSpecial: toggle("add no beginning or end token"),
    },
    check({ text, file, ids }) {
      const given = [text, file, ids].filter((value) => value !== undefined).length;
      if (given !== 1) throw new UserError("give exactly one of --text TEXT, --file FILE and --ids N,N,….");
    },
  }),
  convert: command({
    summary: "GGUF, llama2.c, the authors' checkpoints → Hugging Face folder, and back",
    examples: [
      "convert SmolLM2-135M-Instruct.Q4_1.gguf --out models/smollm2",
      "convert stories260K.bin --tokenizer tok512.bin --out models/stories",
      "convert models/merged --to gguf --dtype Q8_0 --out merged.gguf",
    ],
    positionals: { input: path("file or folder to read", { metavar: "IN", required: true }) },
    flags: {
      ...output("folder to write (for GGUF, and for the authors' coefficients: a file)"),
      tokenizer: path("llama2.c: the tokenizer's .bin", { metavar: "FILE" }),
      dtype: choice("type of the weights written (default: F32, for GGUF F16; Q8_0 is GGUF's alone)", [
        "F32",
        "BF16",
        "F16",
        "Q8_0",
      ]),
      to: choice("whose names and files are written; all but huggingface take a Hugging Face folder", [
        "huggingface",
        "authors",
        "authors-ffn",
        "gguf",
        "llama2c",
      ], { fallback: "huggingface" }),
      coefficients: path("with --to authors: write their weighted model with these", { metavar: "FILE" }),
      ffn: path("of the authors' weighted model: its FFNs (--to authors-ffn); writes the dense model of both", {
        metavar: "FOLDER",
      }),
    },
  }),
  inspect: command({
    summary: "what a model, a checkpoint or a coefficients file holds",
    examples: ["inspect models/moe", "inspect models/moe --plan --batch 4 --seq 1024", "inspect coefficients.json"],
    positionals: { path: path("folder or file", { metavar: "PATH", required: true }) },
    flags: {
      tensors: toggle("list every tensor"),
      plan: toggle("what each stage takes in memory and time, and where it fits; nothing is loaded"),
      batch: integer("with --plan: rows of a step", { fallback: 1, min: 1 }),
      seq: integer("with --plan: tokens of each", { fallback: 1024, min: 2 }),
    },
  }),
  explain: command({
    summary: "the kernels that a step of a model compiles to, and what each costs",
    description:
      "Plans the step for a device, without loading weights; runs it only with --profile. Text goes to stdout, " +
      "the same as data with --json, as a page with the graph of the kernels to --out.",
    examples: [
      "explain models/moe --step train --batch 4 --seq 512 --out explain.html",
      "explain models/moe --step decode --profile",
    ],
    positionals: { model: path("folder of a model (its config.json suffices)", { metavar: "MODEL", required: true }) },
    flags: {
      out: path("HTML page, complete in itself", { metavar: "FILE" }),
      overwrite: toggle("replace what is at --out"),
      step: choice("which step", ["loss", "train", "learn", "decode"], { fallback: "train" }),
      batch: integer("sequences", { fallback: 1, min: 1 }),
      seq: integer("tokens of each", { fallback: 512, min: 2 }),
      optimizer: choice("of --step train", OPTIMIZERS, { fallback: "adafactor" }),
      precision: choice("how weights are kept", PRECISIONS, { fallback: "f32" }),
      checkpoint: toggle("with --step train: compute each layer again in the backward pass"),
      objective: objective("of --step learn"),
      profile: toggle("run it with random weights and measure each kernel, beside what the device reaches at best"),
      remeasure: toggle("with --profile: measure again what the device reaches, instead of taking it from the cache"),
    },
  }),
  doctor: command({
    summary: "what this machine offers: library, devices, limits, a self-test and timings",
    examples: ["doctor", "doctor --device wgpu:llvmpipe", "doctor --bench --json"],
    positionals: {},
    flags: { bench: toggle("also measure each device's roofs, and what a training step reaches of them") },
  }),
} as const;

/** A command's name. */
export type CommandName = keyof typeof commands;
