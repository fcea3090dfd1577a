/** @file What the study varies: the amount of data, wrong answers, unequal domains, how different the experts become. */
import { UserError } from "../../../dsl/errors.ts";
import { seeded } from "../../random.ts";
import type { DomainName } from "../family/mod.ts";
import { type Task, tasks } from "../family/mod.ts";
import { type DemoSettings, settings } from "../settings.ts";

/** A variant of the miniature run, from its base model on. */
export interface Regime {
  /** What it asks. */
  readonly question: string;
  /** Training examples. */
  readonly examples: number;
  /** Times that each is seen; the same for the mixture and for plain SFT. */
  readonly epochs: number;
  /** Share of examples whose answer is another example's. */
  readonly wrong?: number;
  /** How many of 10 examples of a domain are kept (default: all). */
  readonly kept?: Readonly<Record<DomainName, number>>;
  /** How the mixture differs from the miniature run's. */
  readonly moe?: Partial<Pick<DemoSettings["moe"], "routerDeviation" | "noise" | "active" | "balanceWeight">>;
}

/** The regimes by name. All make the same number of steps, so that the rates mean the same. */
export const regimes = {
  many: { question: "many examples, each seen once", examples: 1280, epochs: 1 },
  few: { question: "few examples, seen often: plain SFT can overfit", examples: 160, epochs: 8 },
  noisy: { question: "few examples, three in ten with a wrong answer", examples: 160, epochs: 8, wrong: 0.3 },
  "many-noisy": { question: "many examples, three in ten with a wrong answer", examples: 1280, epochs: 1, wrong: 0.3 },
  unequal: {
    question: "few examples, nearly all of one domain",
    examples: 160,
    epochs: 8,
    kept: { list: 10, text: 1, number: 1 },
  },
  alike: {
    question: "as `many`, with a router that starts near zero and has no noise: experts stay alike",
    examples: 1280,
    epochs: 1,
    moe: { routerDeviation: 0.02, noise: false },
  },
  apart: {
    question: "as `many`, with a router that starts five times as strong: experts part early",
    examples: 1280,
    epochs: 1,
    moe: { routerDeviation: 1 },
  },
} as const satisfies Readonly<Record<string, Regime>>;

/** A regime's name. */
export type RegimeName = keyof typeof regimes;

/** The named regimes, or all of them. @throws {UserError} if there is none of a name */
export function namedRegimes(list: string): RegimeName[] {
  const known = Object.keys(regimes) as RegimeName[];
  if (list === "all") return known;
  return list.split(",").map((name) => {
    const found = known.find((one) => one === name.trim());
    if (!found) throw new UserError(`--study ${name}: expected all, or some of ${known.join(",")}.`, { usage: true });
    return found;
  });
}

/** The regime's training examples; a wrong answer solves another of them. */
export function trainingTasks({ examples, wrong = 0, kept }: Regime, seed: number): Task[] {
  const random = seeded(seed).child("study");
  const drawn = tasks(seed, "train", kept ? 4 * examples : examples);
  const chosen = (kept ? drawn.filter(({ domain }) => random.integer(1, 10) <= kept[domain]) : drawn)
    .slice(0, examples);
  const spoiled = new Set(random.sample([...chosen.keys()], Math.round(wrong * chosen.length)));
  return chosen.map((task, index) => {
    if (!spoiled.has(index)) return task;
    const others = chosen.filter(({ domain, solution }) => domain === task.domain && solution !== task.solution);
    return { ...task, solution: random.pick(others).solution };
  });
}

/** The miniature run's settings in a regime, at a rate. */
export function settingsOf(regime: Regime, rate: number, seed: number): DemoSettings {
  const stage = { rate, epochs: regime.epochs };
  return {
    ...settings,
    seed,
    tasks: { ...settings.tasks, train: regime.examples },
    sft: { ...settings.sft, ...stage },
    moe: { ...settings.moe, ...stage, ...regime.moe },
  };
}
