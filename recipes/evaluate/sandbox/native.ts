/**
 * @file The sandbox of native CPython: a process in bubblewrap for each sample, started ahead of it.
 *
 * It keeps the promises of the other one: one interpreter runs one sample, expected values never enter, values leave
 * serialised, and a sample that forges messages can do no more than return those values would do.
 */
import { UserError } from "../../../dsl/errors.ts";
import { join } from "../bytes.ts";
import { nativePython } from "./harness.ts";
import { type Answer, type Job, jobBytes, type Outcome, readOutcome, type Sandbox } from "./pyodide.ts";
import { type Confined, runConfined, whyNotConfined } from "./bwrap.ts";

/** Settings of {@link openNativeSandbox}. */
export interface NativeOptions {
  /** Samples that run at the same time. Default 2. */
  readonly concurrency?: number;
  /** Memory of one sample, in bytes. Default 1 GiB. */
  readonly memoryBytes?: number;
  /** Which Python. Default `/usr/bin/python3`. */
  readonly python?: string;
}

/**
 * Opens a sandbox of native CPython in bubblewrap: three times as fast as WebAssembly, on Linux alone.
 *
 * @throws UserError where bubblewrap cannot confine commands here, with the reason, or there is no such Python
 *
 * @example
 * ```ts ignore
 * import { openNativeSandbox } from "./native.ts";
 * await using sandbox = await openNativeSandbox();
 * const outcome = await sandbox.run({ code: "def f(x): return x + 1", entry: "f", inputs: [[1n], [2.5]] });
 * ```
 */
export async function openNativeSandbox(options: NativeOptions = {}): Promise<Sandbox> {
  const { concurrency = 2, memoryBytes = 2 ** 30, python = "/usr/bin/python3" } = options;
  const reason = await whyNotConfined();
  if (reason !== undefined) throw new UserError(`--sandbox bwrap: ${reason}. Leave it out to grade in WebAssembly.`);
  const asked = await runConfined([python, "-VV"], { seconds: 30 });
  if (asked.code !== 0) {
    throw new UserError(`--sandbox bwrap: ${python} does not run: ${text(asked.stderr).trim()}`);
  }
  const version = /\d+\.\d+\.\d+\S*/.exec(text(asked.stdout))?.[0] ?? "of unknown version";
  const idle: Waiting[] = [];
  const callers: (() => void)[] = [];
  let running = 0, closed = false;
  return {
    interpreter: `cpython ${version}`,
    description: `CPython ${version} in bubblewrap, one process per sample, no network, read-only system, ` +
      `seccomp filter, ${memoryBytes / 2 ** 20} MiB`,
    async run(job) {
      if (closed) throw new Error("the sandbox is closed");
      if (running >= concurrency) await new Promise<void>((resolve) => callers.push(resolve));
      else running++;
      try {
        const process = idle.pop() ?? prestart(python, memoryBytes);
        const outcome = process.run(job);
        // The next sample's interpreter starts while this one runs.
        if (!closed && idle.length < concurrency) idle.push(prestart(python, memoryBytes));
        return await outcome;
      } finally {
        const next = callers.shift();
        if (next) next();
        else running--;
      }
    },
    async [Symbol.asyncDispose]() {
      closed = true;
      await Promise.all(idle.map((process) => process.close()));
    },
  };
}

/** An interpreter that waits for its one job. */
interface Waiting {
  run(job: Job): Promise<Outcome>;
  close(): Promise<void>;
}

/** Longest text of all messages of a sample. */
const resultBytes = 64 * 2 ** 20;
/** A sample has no more time than a day; what its job allows is watched here. */
const daySeconds = 86_400;

function prestart(python: string, memoryBytes: number): Waiting {
  const input = Promise.withResolvers<Uint8Array>();
  const abort = new AbortController();
  let watch: (chunk: Uint8Array) => void = () => {};
  const ending = runConfined([python, "-I", "-S", "-B", "-c", nativePython], {
    stdin: input.promise,
    seconds: daySeconds,
    megabytes: memoryBytes / 2 ** 20,
    outputBytes: resultBytes,
    environment: { PYTHONHASHSEED: "0" },
    onStdout: (chunk) => watch(chunk),
    signal: abort.signal,
  });
  return {
    async run(job) {
      const seconds = job.seconds ?? 10;
      const frames = new Frames();
      let calls = 0, timer: ReturnType<typeof setTimeout> | undefined;
      watch = (chunk) => {
        for (const message of frames.add(chunk)) {
          clearTimeout(timer);
          const limit = typeof job.callSeconds === "number" ? job.callSeconds : job.callSeconds?.[calls];
          if (message[0] !== "b".charCodeAt(0)) continue;
          calls++;
          if (limit !== undefined) timer = setTimeout(() => abort.abort(), limit * 1000);
        }
      };
      const whole = setTimeout(() => abort.abort(), seconds * 1000);
      input.resolve(jobBytes(job));
      try {
        return readOutcome(answerOf(await ending, frames), seconds, job.inputs.length);
      } finally {
        clearTimeout(timer);
        clearTimeout(whole);
      }
    },
    async close() {
      abort.abort();
      await ending;
    },
  };
}

/** Takes messages apart: each has its length before it. */
class Frames {
  /** The messages that carry something, without those that say that a call begins. */
  readonly messages: Uint8Array[] = [];
  /** Pieces of a message that has not come whole, and how many bytes they are. */
  #pieces: Uint8Array[] = [];
  #length = 0;
  #wanted = 4;

  /** Adds bytes; returns the messages that are whole now. */
  add(chunk: Uint8Array): Uint8Array[] {
    this.#pieces.push(chunk);
    this.#length += chunk.length;
    if (this.#length < this.#wanted) return [];
    const bytes = join(this.#pieces);
    const out: Uint8Array[] = [];
    let at = 0;
    for (;;) {
      const length = bytes.length - at < 4 ? 0 : new DataView(bytes.buffer, at).getUint32(0, true);
      this.#wanted = 4 + length;
      if (bytes.length - at < this.#wanted) break;
      out.push(bytes.subarray(at + 4, at + 4 + length));
      at += 4 + length;
    }
    this.#pieces = [bytes.subarray(at)];
    this.#length = bytes.length - at;
    this.messages.push(...out.filter((message) => message.length > 0 && message[0] !== "b".charCodeAt(0)));
    return out;
  }
}

/** How the process ended, in the words of the sandbox. */
function answerOf(ended: Confined, { messages }: Frames): Answer {
  const common = { id: 0, printed: text(ended.stderr.subarray(0, 4096)), seconds: ended.seconds };
  const finished = ended.code === 0 && messages.some((message) => "dx".includes(String.fromCharCode(message[0])));
  const head = (how: Answer["head"]["how"], detail: string): Answer => ({ head: { ...common, how, detail }, messages });
  switch (ended.why) {
    case "time":
      return head("timeout", "it ran longer than it may");
    case "memory":
      return head("memory", "more memory than it may have");
    case "output":
      return head("output", "more output than it may write");
    case "ended":
      if (finished) return head("done", "");
      return ended.code > 128 ? head("crash", `signal ${ended.code - 128}`) : head("exit", `status ${ended.code}`);
  }
}

function text(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}
