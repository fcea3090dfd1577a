/**
 * @file Measuring a case: all its contestants are made ready, then they take turns. A round in which others used the
 * machine is repeated, up to a limit; what counts is the best quiet round, or, where there is none, the best of all.
 */
import type { Cost, Ready, Round } from "./case.ts";
import { type Running, watch } from "./processes.ts";

/** Somebody who does a case's work. */
export interface Contestant {
  /** As the table names it. */
  readonly name: string;
  /** A roof is what could be reached; a floor what even doing nothing takes. */
  readonly role: "ours" | "peer" | "roof" | "floor";
  /** Makes sure that what it needs is on this machine: it may fetch and build, and is not timed. */
  install?(): Promise<unknown>;
  /** Gets ready for rounds; what it has started ends when the signal says so. */
  start(signal?: AbortSignal): Promise<Running>;
}

/** How long and how often. */
export interface RoundOptions {
  /** Rounds that count. */
  readonly rounds: number;
  /** Seconds that a round fills, where the work itself is shorter. */
  readonly roundSeconds: number;
  /** Seconds after which a contestant gets no further round. */
  readonly limitSeconds: number;
  /** Seconds after which a contestant is ended that is not ready, or in the middle of a round (default: never). */
  readonly patienceSeconds?: number;
  /** Share of the processors that others may take in a round that counts. */
  readonly quiet: number;
}

/** A contestant's result: a line of the table, and an object of the JSON (hence its names). */
export interface Measured {
  readonly case: string;
  readonly by: string;
  readonly role: Contestant["role"];
  /** Best round; none where it failed. */
  readonly seconds?: number;
  /** Seconds that its threads computed, added up: the least of all rounds. Others' work lengthens it little. */
  readonly cpu_seconds?: number;
  /** Floating-point operations of the work's products. */
  readonly flops: number;
  /** Bytes that the work moves: counted by hand, or by the plan where nobody did. */
  readonly bytes: number;
  /** Seconds of the roof in the same rounds ÷ seconds. */
  readonly share_of_roof?: number;
  /** What the roof was. */
  readonly roof?: string;
  /** The most memory that its process held. */
  readonly peak_bytes?: number;
  /** What it held before the work. */
  readonly base_bytes?: number;
  /** Share of the processors that others took in the best round. */
  readonly others_share?: number;
  readonly rounds: number;
  /** Rounds that were repeated because of others. */
  readonly noisy_rounds: number;
  /** Losses of its first steps. */
  readonly losses?: readonly number[];
  /** Are they those of the case's first contestant, up to rounding: did both do the same work? */
  readonly same_losses?: boolean;
  readonly about?: string;
  /** Why there is no figure. */
  readonly error?: string;
  readonly curve?: { readonly name: string; readonly over: string; readonly at: number };
}

interface Entered {
  readonly contestant: Contestant;
  readonly running?: Running;
  /** Ends its processes. */
  readonly ending: AbortController;
  error?: string;
  readonly rounds: (Round & { readonly others?: number; readonly computed: number })[];
  spent: number;
}

/** Waits for a contestant as long as patience lasts; then its processes are ended. @throws Error that says so */
async function patiently<T>(
  promise: Promise<T>,
  ending: AbortController,
  { patienceSeconds }: RoundOptions,
): Promise<T> {
  if (patienceSeconds === undefined) return await promise;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const over = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new Error(`it took longer than ${patienceSeconds.toFixed()} s and was ended`));
      ending.abort();
    }, patienceSeconds * 1000);
  });
  try {
    return await Promise.race([promise, over]);
  } finally {
    clearTimeout(timer);
  }
}

async function enter(contestant: Contestant, options: RoundOptions): Promise<Entered> {
  const ending = new AbortController();
  try {
    await contestant.install?.();
    const began = performance.now(), running = await patiently(contestant.start(ending.signal), ending, options);
    return { contestant, running, ending, rounds: [], spent: (performance.now() - began) / 4000 };
  } catch (error) {
    return { contestant, ending, error: (error as Error).message, rounds: [], spent: 0 };
  }
}

const isQuiet = ({ others }: { readonly others?: number }, { quiet }: RoundOptions): boolean =>
  others === undefined || others <= quiet;

/** Has it rounds enough? Twice as many are tried where some were noisy. */
function isDone({ running, rounds, spent, error }: Entered, options: RoundOptions): boolean {
  if (!running || error !== undefined || rounds.length >= 2 * options.rounds) return true;
  if (rounds.length > 0 && spent > options.limitSeconds) return true;
  return rounds.filter((round) => isQuiet(round, options)).length >= options.rounds;
}

/** Rounding, to 16 bits too, stays below it; another model does not. */
const LOSS_TOLERANCE = 1e-3;

/** Do two contestants see the same losses? Unknown where one of them tells none. */
function agree(own: readonly number[] | undefined, first: readonly number[] | undefined): boolean | undefined {
  if (!own || !first) return undefined;
  return own.every((loss, i) => Math.abs(loss - first[i]) <= LOSS_TOLERANCE * Math.abs(first[i]));
}

/** Times a case's contestants against each other. A contestant that fails has a line that says why. */
export async function measure(
  named: { readonly name: string; readonly curve?: Measured["curve"] },
  cost: Cost,
  contestants: readonly Contestant[],
  options: RoundOptions,
): Promise<Measured[]> {
  const entered: Entered[] = [];
  try {
    // One after the other: making ready takes all processors, too.
    for (const contestant of contestants) entered.push(await enter(contestant, options));
    const pids = entered.flatMap(({ running }) => running?.pid ?? []);
    while (entered.some((each) => !isDone(each, options))) {
      for (const each of entered) {
        if (isDone(each, options)) continue;
        const watched = watch(pids), began = performance.now();
        const working = patiently(each.running!.round(options.roundSeconds), each.ending, options);
        const round = await working.catch(({ message }: Error) => {
          each.error = message;
        });
        if (!round) continue;
        each.spent += (performance.now() - began) / 1000;
        const { own, others } = watched();
        each.rounds.push({ ...round, others, computed: round.computed ?? own / (round.times ?? 1) });
      }
    }
  } finally {
    for (const { running } of entered) await running?.[Symbol.asyncDispose]();
  }
  const best = ({ rounds }: Entered): Entered["rounds"][number] | undefined => {
    const quiet = rounds.filter((round) => isQuiet(round, options));
    return (quiet.length > 0 ? quiet : rounds).toSorted((a, b) => a.seconds - b.seconds).at(0);
  };
  const roof = entered.find(({ contestant, running }) => contestant.role === "roof" && running);
  const roofSeconds = roof && best(roof)?.seconds;
  return entered.map((each): Measured => {
    const { contestant, running, rounds, error } = each, found = best(each), ready: Ready = running?.ready ?? {};
    return {
      case: named.name,
      by: contestant.name,
      role: contestant.role,
      seconds: found?.seconds,
      cpu_seconds: rounds.length > 0 ? Math.min(...rounds.map(({ computed }) => computed)) : undefined,
      flops: cost.flops,
      bytes: cost.bytes || (ready.bytes ?? 0),
      ...(roofSeconds && found && { share_of_roof: roofSeconds / found.seconds, roof: roof.contestant.name }),
      peak_bytes: Math.max(0, ...rounds.map(({ peakBytes }) => peakBytes ?? 0)) || undefined,
      base_bytes: ready.baseBytes,
      others_share: found?.others,
      rounds: rounds.length,
      noisy_rounds: rounds.filter((round) => !isQuiet(round, options)).length,
      losses: ready.losses,
      same_losses: agree(ready.losses, entered[0].running?.ready.losses),
      about: ready.about,
      error,
      curve: named.curve,
    };
  });
}
