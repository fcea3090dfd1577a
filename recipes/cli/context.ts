/** @file What a command gets besides its arguments: where to print, and the interrupt. */
import { Progress } from "./output/progress.ts";

/** What a command returns: the fields of its `--json` object. */
export type JsonResult = Readonly<Record<string, unknown>>;

/** A command's surroundings. */
export interface Context {
  /** Aborts on Ctrl-C; a command that sees it stops and cleans up, one that does not is ended after a few seconds. */
  readonly signal: AbortSignal;
  /** Prints a result for people (stdout; nothing under `--json`, where the returned object says it). */
  print(text: string): void;
  /** Prints a piece of a result as it comes, without a line's end. */
  stream(piece: string): void;
  /** Prints a remark (stderr). */
  note(text: string): void;
  /** Starts a line of progress (stderr). */
  progress(label: string, total?: number, unit?: string): Progress;
  /**
   * While it is held: after the first Ctrl-C the command is not ended after a few seconds; it ends itself, and this
   * sentence says what it is doing.
   */
  onInterrupt(sentence: string): Disposable;
  /** Says how a stage goes, as one line of a run's metrics.jsonl (nothing outside of `run`). */
  metric(line: JsonResult): void;
  /** Where on this machine that lies which the command's files (a recipe, mergekit's) name on the hub, by address. */
  readonly fetched: ReadonlyMap<string, string>;
}

/** A context and the levers that the main program keeps for itself. */
export interface ContextControl {
  readonly context: Context;
  /** What a command that must not be ended after a few seconds says at an interrupt. */
  patience(): string | undefined;
  /** Aborts the signal; true the first time. */
  interrupt(): boolean;
}

/** Makes the context of one command. */
export function createContext(options: { readonly json: boolean }): ContextControl {
  const controller = new AbortController(), sentences: string[] = [];
  const context: Context = {
    signal: controller.signal,
    print: (text) => options.json ? undefined : writeAll(Deno.stdout, `${text}\n`),
    stream: (piece) => options.json ? undefined : writeAll(Deno.stdout, piece),
    note: (text) => writeAll(Deno.stderr, `${text}\n`),
    progress: (label, total, unit) => new Progress(label, total, unit),
    onInterrupt(sentence) {
      sentences.push(sentence);
      return { [Symbol.dispose]: () => void sentences.pop() };
    },
    metric: () => {},
    fetched: new Map(),
  };
  return {
    context,
    patience: () => sentences.at(-1),
    interrupt() {
      const first = !controller.signal.aborted;
      controller.abort(new Interrupted());
      return first;
    },
  };
}

/** The reason of a signal aborted by Ctrl-C. */
export class Interrupted extends Error {
  override readonly name: string = "Interrupted";
  /** Makes the reason. */
  constructor() {
    super("interrupted");
  }
}

/** Writes a whole text; a reader that has gone away (`| head`) is no error. */
export function writeAll(stream: { writeSync(data: Uint8Array): number }, text: string): void {
  let data = new TextEncoder().encode(text);
  try {
    while (data.length > 0) data = data.subarray(stream.writeSync(data));
  } catch (error) {
    if (!(error instanceof Deno.errors.BrokenPipe)) throw error;
  }
}
