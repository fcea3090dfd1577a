/**
 * @file Processes that are measured: workers, which are asked for rounds line by line, and whole commands. Linux tells
 * what they took of the processors and the most memory they held; elsewhere that is unknown.
 */
import { fileURLToPath } from "node:url";
import { UserError } from "../dsl/errors.ts";
import type { Ready, RoofWork, Round, Work } from "./case.ts";

/** The checkout. */
export const root: string = fileURLToPath(new URL("../", import.meta.url));

/** A contestant that is ready for rounds. */
export interface Running extends AsyncDisposable {
  readonly ready: Ready;
  /** Its process, where it stays the same for all rounds. */
  readonly pid?: number;
  /** Works until so many seconds are over, at least once; tells its best time. */
  round(seconds: number): Promise<Round>;
}

/** A command with its environment. */
export interface Command {
  readonly words: readonly [string, ...string[]];
  readonly environment?: Readonly<Record<string, string>>;
}

const read = (path: string): string | undefined => {
  try {
    return Deno.readTextFileSync(path);
  } catch {
    return undefined;
  }
};

/** The most memory that a process ever held, in bytes. */
function peakOf(pid: number): number | undefined {
  const found = /^VmHWM:\s+(\d+) kB$/m.exec(read(`/proc/${pid}/status`) ?? "");
  return found ? Number(found[1]) * 1024 : undefined;
}

/** Time that a process, its threads and the children it waited for have computed, in hundredths of a second. */
function computedBy(pid: number | "self"): number {
  // The second field is the program's name in brackets, which may hold blanks.
  const fields = read(`/proc/${pid}/stat`)?.replace(/^.*\) /, "").split(" ") ?? [];
  return fields.slice(11, 15).reduce((sum, field) => sum + Number(field), 0);
}

/** Time that all processors have computed, in hundredths of a second. */
function computedByAll(): number | undefined {
  const fields = read("/proc/stat")?.split("\n")[0].trim().split(/\s+/).slice(1).map(Number);
  if (!fields) return undefined;
  const [user, nice, system, _idle, _wait, irq, softirq, steal] = fields;
  return user + nice + system + irq + softirq + (steal ?? 0);
}

/** What the processors did during a round. */
export interface Watched {
  /** Seconds that the contestants' processes and this one computed, all threads together. */
  readonly own: number;
  /** Share of the processors that others took; unknown where the system does not tell. */
  readonly others?: number;
}

/** Starts to watch the processors; the result says what they did since. */
export function watch(pids: readonly number[]): () => Watched {
  const sum = (): number => [computedBy("self"), ...pids.map(computedBy)].reduce((a, b) => a + b, 0);
  const before = computedByAll(), ours = sum(), began = performance.now();
  return () => {
    const after = computedByAll(), own = sum() - ours;
    if (before === undefined || after === undefined) return { own: own / 100 };
    const hundredths = (performance.now() - began) / 10 * navigator.hardwareConcurrency;
    return { own: own / 100, others: Math.min(1, Math.max(0, (after - before - own) / hundredths)) };
  };
}

/** Lines of a process' stdout. */
async function* linesOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  let rest = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>)) {
    const lines = (rest + text).split("\n");
    rest = lines.pop()!;
    yield* lines;
  }
}

/**
 * Starts a worker: it is told the work in one line of JSON, answers with one line when it is ready, and then answers
 * each line `{"seconds": s}` with a round. Lines that are not JSON objects are somebody else's noise.
 *
 * @throws {UserError} when it cannot do the work: with what it said, or the end of what it wrote on stderr
 */
export async function startWorker(
  { words, environment }: Command,
  work: Work | RoofWork,
  signal?: AbortSignal,
): Promise<Running> {
  const [program, ...args] = words;
  const child = new Deno.Command(program, {
    args,
    env: { ...environment },
    signal,
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  let said = "";
  const listening = (async () => {
    for await (const line of linesOf(child.stderr)) said = `${said}\n${line}`.slice(-2000);
  })();
  const lines = linesOf(child.stdout), writer = child.stdin.getWriter();
  const answer = async <T>(request: unknown): Promise<T> => {
    await writer.write(new TextEncoder().encode(`${JSON.stringify(request)}\n`)).catch(() => {});
    for (;;) {
      const { value, done } = await lines.next();
      if (done) {
        await listening;
        throw new UserError(said.trim().split("\n").slice(-3).join(" | ") || "it ended without an answer");
      }
      if (!value.startsWith("{")) continue;
      const reply = JSON.parse(value);
      if (reply.error) throw new UserError(reply.error);
      return reply;
    }
  };
  const close = async (): Promise<void> => {
    await writer.close().catch(() => {});
    const timer = setTimeout(() => child.kill("SIGKILL"), 5000);
    await child.status;
    clearTimeout(timer);
  };
  try {
    const ready = await answer<Ready>(work);
    return {
      ready,
      pid: child.pid,
      round: async (seconds) => {
        const round = await answer<Round>({ seconds });
        return { ...round, peakBytes: Math.max(round.peakBytes ?? 0, peakOf(child.pid) ?? 0) || undefined };
      },
      [Symbol.asyncDispose]: close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/**
 * Runs a command to its end. Where its last line of stdout is an object with `seconds`, those count: it timed itself.
 *
 * @throws {UserError} with the end of what it wrote on stderr, when it fails
 */
export async function runCommand({ words, environment }: Command, signal?: AbortSignal): Promise<Round> {
  const [program, ...args] = words, began = performance.now();
  const child = new Deno.Command(program, {
    args,
    env: { ...environment },
    signal,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  let peakBytes: number | undefined;
  const watching = setInterval(() => peakBytes = peakOf(child.pid) ?? peakBytes, 20);
  let said = "", last = "";
  const printing = (async () => {
    for await (const line of linesOf(child.stdout)) last = line;
  })();
  for await (const line of linesOf(child.stderr)) said = `${said}\n${line}`.slice(-2000);
  await printing;
  const { code } = await child.status, whole = (performance.now() - began) / 1000;
  clearInterval(watching);
  if (code !== 0) throw new UserError(said.trim().split("\n").slice(-3).join(" | ") || `it ended with code ${code}`);
  const own = last.startsWith("{") ? JSON.parse(last).seconds : undefined;
  return { seconds: typeof own === "number" ? own : whole, peakBytes };
}

/** A command that is run once a round. */
export const repeated = (
  command: Command,
  signal?: AbortSignal,
  before: () => Promise<void> = async () => {},
): Running => ({
  ready: {},
  round: async () => {
    await before();
    return await runCommand(command, signal);
  },
  [Symbol.asyncDispose]: before,
});

/** The words that start our command line as `deno task xft` does. */
export function xftCommand(words: readonly string[]): Command {
  const task: string = JSON.parse(Deno.readTextFileSync(`${root}deno.json`)).tasks.xft.command;
  const flags = task.split(" ").filter((word) => word.startsWith("--"));
  return { words: [Deno.execPath(), "run", ...flags, `${root}recipes/cli/main.ts`, ...words] };
}

/** Runs our command line. */
export const xft = async (words: readonly string[]): Promise<void> => void await runCommand(xftCommand(words));
