/** @file `xft run`: the whole method on a user's model and data, one resumable command made of the others. */
import { join } from "node:path";
import { UserError } from "../../../../dsl/errors.ts";
import { contentOf } from "../../../convert/content.ts";
import { checkTarget, kindOf } from "../../../convert/files.ts";
import { readJson } from "../../../convert/huggingface.ts";
import { sha256Of } from "../../../data/read/mod.ts";
import { filesOf } from "../../../objectives/files.ts";
import { objectives } from "../../../objectives/mod.ts";
import { difference, isUnfinished } from "../../../snapshots/unfinished.ts";
import { type PlannedStage, planRecipe } from "../../../planning.ts";
import type { Recipe } from "../../../recipe.ts";
import { type CommandName, commands } from "../../commands.ts";
import type { Context, JsonResult } from "../../context.ts";
import { dataSettings } from "../../flags/shared.ts";
import { load } from "../../dispatch.ts";
import { columns, size } from "../../output/format.ts";
import { localPath } from "../../inputs/hub_paths.ts";
import { presets } from "../../flags/presets.ts";
import { addressesBeforehand, readRecipe, withPaths } from "../../inputs/recipe_file.ts";
import { type Arguments, type Command, COMMON_FLAGS, type Fields } from "../../flags/schema.ts";

type RunArguments = Arguments<typeof commands.run>;

/** A run's folder: what each stage leaves there. A stage is done when its result is there, for each appears whole. */
const PLACES = {
  dense: "models/dense",
  moe: "models/moe",
  tuned: "models/tuned",
  coefficients: "coefficients.json",
  uniform: "models/uniform",
  merged: "models/merged",
} as const;

/** What the recipe names on the hub; a dry run fetches nothing. */
export function addresses({ recipe, dryRun }: RunArguments): Promise<readonly string[]> {
  return dryRun ? Promise.resolve([]) : addressesBeforehand(recipe);
}

/** Runs the command. */
export async function run(args: RunArguments, context: Context): Promise<JsonResult> {
  const recipe = await readRecipe(args.recipe);
  const out = args.out ?? recipe.out;
  if (out === undefined) throw new UserError("--out DIR: say where the run's folder is to be (the recipe does not).");
  const seed = args.seed > 0 ? args.seed : recipe.seed ?? 0;
  const resolved = { ...recipe, ...dataSettings(args), out: undefined, seed };
  const local = withPaths(resolved, (path) => localPath(path, context));
  if (args.dryRun) {
    context.print(JSON.stringify({ ...resolved, out }, null, 2));
    const plan = planRecipe(local, args.recipe, (stage) => presets[resolved.preset ?? "tuned"][stage]);
    context.print(
      plan ? planText(plan) : "The stages are planned once the model's config.json, or `architecture`, is there.",
    );
    return { dry_run: true, out, recipe: resolved, ...(plan && { plan }) };
  }
  openFolder(out, resolved, contentsOf(local), args);
  const stages = new Stages(out, local, args, context);
  const results = await stages.all();
  Deno.writeTextFileSync(join(out, "report.json"), `${JSON.stringify(results, null, 2)}\n`);
  context.print(summary(results));
  return { out, ...results };
}

/** A plan for people. */
function planText(plan: readonly PlannedStage[]): string {
  const span = (seconds: number): string =>
    seconds >= 86400
      ? `${(seconds / 86400).toFixed(1)} d`
      : seconds >= 3600
      ? `${(seconds / 3600).toFixed(1)} h`
      : `${(seconds / 60).toFixed(1)} min`;
  const rows = plan.map(({ name, shape, steps, need, on }) => {
    const { batch, seq, accumulate = 1 } = shape;
    const times = on.map(({ fits, seconds }) => {
      if (!fits) return "does not fit";
      return steps === undefined
        ? `${seconds.toPrecision(2)} s a step`
        : `${span(steps * seconds)} of ${seconds.toPrecision(2)} s`;
    });
    const rows = accumulate > 1 ? `${accumulate} × ${batch} × ${seq}` : `${batch} × ${seq}`;
    return [name, `${steps ?? "?"} of ${rows}`, size(need.total), (need.flops / 1e12).toFixed(0), ...times];
  });
  const heads = [
    "stage",
    "steps of rows × tokens",
    "memory",
    "TFLOP a step",
    ...plan[0].on.map(({ device }) => device.name),
  ];
  return `${columns([heads, ...rows])}\nTimes are estimates: half of what a card's data sheet promises, in f32.`;
}

/** What a recipe's stages read, by its contents, and where it lies. */
function contentsOf({ model, data, tokenizer, decontaminate, learn, evaluate }: Recipe): JsonResult {
  const { objective } = learn ?? {};
  const files: Readonly<Record<string, readonly string[] | undefined>> = {
    data,
    tokenizer: tokenizer === undefined ? undefined : [tokenizer],
    decontaminate,
    objective: objective === undefined || Object.hasOwn(objectives, objective) ? undefined : filesOf(objective),
    benchmark: evaluate && [evaluate.data],
  };
  const hashed = Object.entries(files).flatMap(([name, paths]) => paths ? [[name, sha256Of(paths)]] : []);
  return {
    sha256: { model: kindOf(model) === "folder" ? contentOf(model) : sha256Of([model]), ...Object.fromEntries(hashed) },
    given: { model, ...files },
  };
}

/** Makes the run's folder, or goes on in one of the same recipe, with the same files. */
function openFolder(out: string, recipe: Recipe, contents: JsonResult, { resume, overwrite }: RunArguments): void {
  const file = join(out, "recipe.json"), read = join(out, "contents.json");
  const text = `${JSON.stringify(recipe, null, 2)}\n`;
  if (resume && kindOf(out) !== "nothing") {
    if (kindOf(file) !== "file") throw new UserError(`--resume: ${out} holds no run.`);
    if (Deno.readTextFileSync(file) !== text) {
      throw new UserError(`--resume: ${out} is a run of another recipe (see its recipe.json); give another --out.`);
    }
    const differs = kindOf(read) === "file" ? difference(readJson(read), contents) : undefined;
    if (differs === undefined) return;
    throw new UserError(`--resume: ${out} was begun with another ${differs}: give the same, or another --out.`);
  }
  checkTarget(out, "folder", { overwrite, marks: ["recipe.json"] });
  if (kindOf(out) === "folder") Deno.removeSync(out, { recursive: true });
  Deno.mkdirSync(out, { recursive: true });
  Deno.writeTextFileSync(read, `${JSON.stringify(contents, null, 2)}\n`);
  Deno.writeTextFileSync(file, text);
}

/** The stages, in order; each is one of the other commands. */
class Stages {
  readonly #started = performance.now();
  readonly #results: Record<string, JsonResult>;

  constructor(
    private readonly out: string,
    private readonly recipe: Recipe,
    private readonly args: RunArguments,
    private readonly context: Context,
  ) {
    const before = this.#place("stages.json");
    this.#results = kindOf(before) === "file" ? readJson(before) as Record<string, JsonResult> : {};
  }

  async all(): Promise<Readonly<Record<string, JsonResult>>> {
    const { recipe } = this;
    const { mixture, moe, learn, evaluate, preset = "tuned", validation = 64 } = recipe;
    const [dense, mixed, tuned] = [PLACES.dense, PLACES.moe, PLACES.tuned].map((place) => this.#place(place));
    const [coefficients, merged] = [this.#place(PLACES.coefficients), this.#place(PLACES.merged)];
    const read = dataSettings({ ...recipe }), { tensorboard } = this.args;
    const data = { data: recipe.data, preset, validation, tensorboard, ...read };

    await this.#stage("convert", "convert", dense, { input: recipe.model, tokenizer: recipe.tokenizer });
    await this.#stage("upcycle", "upcycle", mixed, { dense, data: recipe.data, ...read, ...mixture });
    await this.#stage("moe", "train", tuned, { model: mixed, stage: "moe", ...data, ...moe });
    await this.#stage("learn", "learn", coefficients, { moe: tuned, ...data, ...learn });
    const lambda = learn?.lambda ?? presets[preset].learn.lambda;
    await this.#stage("merge uniform", "merge", this.#place(PLACES.uniform), {
      models: [tuned],
      method: "uniform",
      lambda,
    });
    await this.#stage("merge", "merge", merged, { models: [tuned], coefficients });
    if (evaluate) {
      const { models = ["dense", "merged"], ...settings } = evaluate;
      for (const name of models) {
        const target = this.#place(PLACES[name]);
        await this.#stage(`evaluate ${name}`, "evaluate", this.#place(`samples/${name}`), { target, ...settings });
      }
    }
    return this.#results;
  }

  #place(name: string): string {
    return join(this.out, name);
  }

  /** Runs a command, unless its result is there already. */
  async #stage(name: string, command: CommandName, out: string, values: Record<string, unknown>): Promise<void> {
    const { context } = this;
    if (kindOf(out) !== "nothing" && this.#results[name]) return context.note(`${name}: done before`);
    context.signal.throwIfAborted();
    context.note(`\n${name} → ${out}`);
    const started = performance.now();
    const { run } = await load[command]() as { run(values: unknown, context: Context): Promise<JsonResult> };
    const { device, resume } = this.args,
      goesOn = resume && (command === "train" || command === "learn" || command === "evaluate") && isUnfinished(out);
    const result = await run(
      { ...defaults(command), device, seed: this.recipe.seed, ...known(values), out, overwrite: true, resume: goesOn },
      { ...context, print: context.note, metric: (line) => this.#metric(line) },
    );
    const seconds = (performance.now() - started) / 1000;
    this.#results[name] = { ...result, seconds };
    this.#metric({ stage: name, ...result, seconds });
    Deno.writeTextFileSync(this.#place("stages.json"), JSON.stringify(this.#results));
    context.note(
      `${name}: ${seconds.toFixed(0)} s (${((performance.now() - this.#started) / 1000).toFixed(0)} s in all)`,
    );
  }

  #metric(line: JsonResult): void {
    Deno.writeTextFileSync(this.#place("metrics.jsonl"), `${JSON.stringify(line)}\n`, { append: true });
  }
}

/** What a command's fields are worth when absent. */
function defaults(name: CommandName): Record<string, unknown> {
  const { positionals, flags }: Command = commands[name];
  const fields: Fields = { ...positionals, ...flags, ...COMMON_FLAGS };
  return Object.fromEntries(Object.entries(fields).map(([key, { fallback }]) => [key, fallback]));
}

/** Without the fields that are there but undefined: they must not hide defaults. */
function known(values: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));
}

/** What came out, for people. */
function summary(results: Readonly<Record<string, JsonResult>>): string {
  const number = (value: unknown): string => typeof value === "number" ? value.toFixed(4) : "–";
  const { moe, learn, upcycle } = results;
  const rows: [string, string][] = [
    ["step 0", `logits differ by ${(upcycle.step_zero as { largest: number }).largest.toExponential(1)} at most`],
    ["mixture", `validation loss ${number(moe.before)} → ${number(moe.after)}`],
    ["merge", `validation loss ${number(learn.uniform_loss)} (uniform) → ${number(learn.learned_loss)} (learned)`],
    ["softmax(α)", `up to ${number(learn.distance_from_uniform)} from uniform`],
  ];
  for (const [name, result] of Object.entries(results)) {
    if (!name.startsWith("evaluate ")) continue;
    const { tasks, passed } = result as { tasks: number; passed: { base: number } };
    rows.push([name.slice("evaluate ".length), `${passed.base} of ${tasks} tasks passed`]);
  }
  return columns(rows);
}
