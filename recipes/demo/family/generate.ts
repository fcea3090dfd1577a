/**
 * @file Draws programs and tasks of the family from a seed, in three splits that share no shape of a program.
 *
 * The split is decided by a program's structure: the multiset of its lines' shapes (names and constants erased), hashed.
 * So no held-out solution's syntax tree, names erased, occurs in training or pretraining, with any arguments, any
 * order of the steps, and any step of the same shape (`s.upper()` for `s.lower()`). Nothing has to be banned by list.
 */
import { hashText, type Random, seeded } from "../../random.ts";
import { type Arguments, type Domain, type DomainName, drawArguments, fill, type Step, type Value } from "./domain.ts";
import { lists } from "./lists.ts";
import { numbers } from "./numbers.ts";
import { openings, sentences } from "./phrasing.ts";
import { shape } from "./syntax.ts";
import { texts } from "./texts.ts";

/** Training (tuning and pretraining), validation (choices), test (the table). */
export type Split = "train" | "validation" | "test";

/** The family's domains. */
export const domains: readonly Domain[] = [lists, texts, numbers];

/** Of 100 structures, how many go to the test and validation splits; the rest trains. */
const shares = { test: 15, validation: 15 } as const;
const domainWeights = [4, 4, 3];
const lengthWeights = [1, 2, 1];

/** Names of a program's steps, without arguments. */
export interface Composition {
  /** The domain that the steps belong to. */
  readonly domain: DomainName;
  /** One to three names of transforms. */
  readonly transforms: readonly string[];
  /** The name of the last line's step. */
  readonly reducer: string;
}

/** A program of the family: a composition with arguments. */
export interface Program {
  /** The domain that the steps belong to. */
  readonly domain: Domain;
  /** The transforms in the order in which they run, then the reducer. */
  readonly steps: readonly { readonly step: Step<Value, Value>; readonly use: Arguments }[];
}

/** A task: an instruction, its reference solution, and inputs with what the solution returns on them. */
export interface Task {
  /** Unique within its split and seed. */
  readonly id: string;
  /** The only split in which its structure occurs. */
  readonly split: Split;
  /** What kind of value its function takes. */
  readonly domain: DomainName;
  /** The composition without arguments and order: domain, sorted transforms, reducer. */
  readonly key: string;
  /** One to three transforms. */
  readonly length: number;
  /** What is asked for, in words. */
  readonly instruction: string;
  /** Python source that defines `entry`. */
  readonly solution: string;
  /** The function to call. */
  readonly entry: "f";
  /** One list of arguments per call. */
  readonly inputs: readonly (readonly Value[])[];
  /** What the solution returns on each input. Never sent into the sandbox. */
  readonly expected: readonly Value[];
}

const lineShapes = new Map<Step<Value, Value>, string>();

/** The shape of a step's line; the same for every argument. */
function lineShape(step: Step<Value, Value>): string {
  const known = lineShapes.get(step);
  if (known !== undefined) return known;
  const made = shape(fill(step.code, { small: 1, factor: 2, divisor: 2, letter: "a", other: "e" }));
  lineShapes.set(step, made);
  return made;
}

/**
 * The split of a program, a pure function of its structure.
 *
 * @param steps its transforms in any order, then its reducer
 * @returns the only split in which programs of this structure occur
 */
export function splitOf(steps: readonly Step<Value, Value>[]): Split {
  const shapes = steps.map(lineShape);
  const bucket = hashText(`xft family 1: ${shapes.slice(0, -1).sort().join(" | ")} => ${shapes.at(-1)}`) % 100;
  return bucket < shares.test ? "test" : bucket < shares.test + shares.validation ? "validation" : "train";
}

/**
 * Every composition of the family: each set of one to three different transforms with each reducer of its domain.
 *
 * @param split only those of this split; all of them where absent
 * @returns the compositions, transforms in the order of the domain's table
 */
export function* compositions(split?: Split): Generator<Composition> {
  for (const { name, transforms, reducers } of domains) {
    for (const chosen of subsets(transforms, 3)) {
      for (const reducer of reducers) {
        if (split !== undefined && splitOf([...chosen, reducer]) !== split) continue;
        yield { domain: name, transforms: chosen.map((step) => step.name), reducer: reducer.name };
      }
    }
  }
}

function* subsets<Item>(items: readonly Item[], most: number): Generator<Item[]> {
  for (const [index, item] of items.entries()) {
    yield [item];
    if (most > 1) { for (const rest of subsets(items.slice(index + 1), most - 1)) yield [item, ...rest]; }
  }
}

/**
 * Draws a program of a split.
 *
 * @param random the stream to draw from
 * @param split the split it must belong to
 * @returns a program of one to three transforms (as 1 : 2 : 1) and a reducer
 */
export function program(random: Random, split: Split): Program {
  while (true) {
    const domain = domains[random.weighted(domainWeights)];
    const length = 1 + random.weighted(lengthWeights);
    const steps = [...random.sample(domain.transforms, length), random.pick(domain.reducers)];
    const used = steps.map((step) => ({ step, use: drawArguments(random) }));
    if (splitOf(steps) === split) return { domain, steps: used };
  }
}

/**
 * A program's Python source.
 *
 * @param program the program
 * @returns source that defines `f`, lines separated by line feeds, none at the end
 */
export function source({ domain, steps }: Program): string {
  return [`def f(${domain.variable}):`, ...steps.map(({ step, use }) => `    ${fill(step.code, use)}`)].join("\n");
}

/**
 * How far the wording may vary: a share of each step's phrasings, the usual ones first. 0 means the first one only.
 */
export type Variety = number;

/**
 * A step in words.
 *
 * @param random the stream to draw from
 * @param step the step
 * @param use its arguments
 * @param variety the share of its phrasings to draw from
 * @returns an imperative phrase in small letters
 */
export function phrase(random: Random, step: Step<Value, Value>, use: Arguments, variety: Variety = 1): string {
  const count = Math.max(1, Math.ceil(step.phrases.length * variety));
  return fill(random.pick(step.phrases.slice(0, count)), use);
}

/**
 * Words an instruction for a program.
 *
 * @param random the stream to draw from
 * @param program the program
 * @param variety the share of each step's phrasings to draw from
 * @returns one or two sentences
 */
export function instruction(random: Random, { domain, steps }: Program, variety: Variety = 1): string {
  const phrases = steps.map(({ step, use }) => phrase(random, step, use, variety));
  const sentence = random.pick(sentences[steps.length - 2])
    .replace("{end}", phrases[phrases.length - 1])
    .replace(/\{([0-2])\}/g, (_, index: string) => phrases[Number(index)]);
  return random.pick(openings).replace("{}", random.pick(domain.introductions)) + sentence;
}

/**
 * Runs a program on one input, with Python's meaning.
 *
 * @param program the program
 * @param input the value of its variable
 * @param without the index of a transform to leave out, if any
 * @returns what `f` returns
 */
export function evaluate({ steps }: Program, input: Value, without?: number): Value {
  let value = input;
  for (const [index, { step, use }] of steps.entries()) if (index !== without) value = step.apply(value, use);
  return value;
}

/**
 * Draws a task whose tests tell something: the output differs between inputs, and leaving out any one step changes it.
 *
 * @param random the stream to draw from
 * @param split the split it must belong to
 * @param id the task's name
 * @param variety the share of each step's phrasings that the instruction draws from
 * @returns the task
 */
function task(random: Random, split: Split, id = `${split}-0`, variety: Variety = 1): Task {
  while (true) {
    const drawn = program(random, split);
    const inputs = drawn.domain.inputs(random);
    const expected = inputs.map((input) => evaluate(drawn, input));
    const outputs = JSON.stringify(expected);
    if (new Set(expected.map((output) => JSON.stringify(output))).size < 2) continue;
    const transforms = drawn.steps.slice(0, -1);
    const idle = transforms.some((_, index) =>
      JSON.stringify(inputs.map((input) => evaluate(drawn, input, index))) === outputs
    );
    if (idle) continue;
    const names = transforms.map(({ step }) => step.name).sort();
    const reducer = drawn.steps[drawn.steps.length - 1].step.name;
    return {
      id,
      split,
      domain: drawn.domain.name,
      key: `${drawn.domain.name}: ${names.join(" + ")} > ${reducer}`,
      length: transforms.length,
      instruction: instruction(random, drawn, variety),
      solution: source(drawn),
      entry: "f",
      inputs: inputs.map((input) => [input]),
      expected,
    };
  }
}

/**
 * Draws tasks with different solutions. The first `n` of a longer draw are the draw of `n`.
 *
 * @param seed the seed; each split has its own stream of it
 * @param split the split
 * @param count how many
 * @param variety the share of each step's phrasings that instructions draw from
 * @returns the tasks, named `split-0`, `split-1`, …
 */
export function tasks(seed: number | string, split: Split, count: number, variety: Variety = 1): Task[] {
  const random = seeded(seed).child(`tasks ${split}`);
  const seen = new Set<string>();
  const drawn: Task[] = [];
  while (drawn.length < count) {
    const made = task(random, split, `${split}-${drawn.length}`, variety);
    if (seen.has(made.solution)) continue;
    seen.add(made.solution);
    drawn.push(made);
  }
  return drawn;
}
