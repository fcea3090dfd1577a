/**
 * @file Runs Python that nobody has read: one interpreter per sample, in processes without any permission.
 *
 * What a sample can reach: a CPython compiled to WebAssembly with files in memory. Around it stand (1) an interpreter
 * from which the bridges to JavaScript are taken out, (2) a JavaScript realm of its own for each sample, without
 * `Deno`, `fetch` or `eval`, (3) a Deno process without permissions, (4) limits on time, memory, files and output that
 * are watched from outside the sample's thread. Expected values never enter: an {@link Outcome} says what the code
 * returned, and the caller judges. A sample that forges messages can do no more than return those values would do.
 */
import { UserError } from "../../../dsl/errors.ts";
import {
  type AnswerHeader,
  childProgram,
  type JobHeader,
  type MessageHeader,
  type Welcome,
  withoutPermissions,
} from "./child.ts";
import { preparePython, startPython, withheldModules } from "./harness.ts";
import { cachedImage, type Image, packImage, type Parts, pyodideVersion, readParts } from "./image.ts";
import { decode, encode } from "../python/marshal.ts";
import { Opaque, PyBytes, type PythonValue, Tuple } from "../python/values.ts";

/** One sample to run. */
export interface Job {
  /** The program that defines `entry`. */
  readonly code: string;
  /** Name of the function that is called. */
  readonly entry: string;
  /** The arguments of each call; every call gets a copy of its own. */
  readonly inputs: readonly (readonly PythonValue[])[];
  /** Wall-clock limit for everything: loading the code and all calls. Default 10. */
  readonly seconds?: number;
  /** Wall-clock limit of each call (one number for all, or one per input). Default: none but `seconds`. */
  readonly callSeconds?: number | readonly number[];
  /** Stop at the first call that raises. Default false. */
  readonly stopAtError?: boolean;
  /**
   * Values whose encoding is longer than so many bytes come back as an {@link Opaque} of type `digestType` with the
   * SHA-256 of the encoding as its text. Default: never.
   */
  readonly digestAbove?: number;
}

/** Type of the {@link Opaque} that stands for a long value; see `digestAbove`. */
const digestType = "SHA-256 of a value";

/** What an exception said. */
export interface PythonError {
  /** Name of its class. */
  readonly type: string;
  /** Its text, cut to 500 characters. */
  readonly message: string;
}

/** One call: the value and how long it took inside, or the exception. */
export type CallResult =
  | { readonly value: PythonValue; readonly seconds: number }
  | { readonly error: PythonError };

/**
 * How a sample ended.
 * - `values`: the code loaded and every call was made (or all up to the first error); errors of calls are in `results`.
 * - `error`: the code did not load (a syntax error, an exception or `sys.exit` at its top, no such function).
 * - `timeout`, `memory`, `output`, `exit` (`os._exit`), `crash`: the sample was ended; `results` has the calls before.
 */
export type Outcome =
  & {
    readonly results: readonly CallResult[];
    /** The first 4,096 bytes that the sample printed, both streams together. */
    readonly printed: string;
    /** Wall-clock seconds of the whole sample. */
    readonly seconds: number;
  }
  & (
    | { readonly kind: "values" }
    | { readonly kind: "error"; readonly error: PythonError }
    | { readonly kind: "timeout" | "memory" | "output" | "exit" | "crash"; readonly detail: string }
  );

/** Settings of a sandbox. */
export interface SandboxOptions {
  /** Processes that run samples at the same time. Default 2. */
  readonly concurrency?: number;
  /** Memory of one interpreter, in bytes. Default 512 MiB. A sample that wants more gets a `MemoryError`. */
  readonly memoryBytes?: number;
  /** Samples that one process runs (each in a fresh worker) before it is replaced. Default 200; 1 = a process each. */
  readonly samplesPerProcess?: number;
  /** Called with the id of each process that is started; tests look at its memory. */
  readonly onStart?: (processId: number) => void;
}

/** A pool of processes that run samples. Dispose it (`await using`) to end them. */
export interface Sandbox extends AsyncDisposable {
  /** Runs one sample; waits for a free process. Never rejects for anything the sample does. */
  run(job: Job): Promise<Outcome>;
  /** What runs the samples, for reports. */
  readonly description: string;
  /** Which interpreter, with its version: what is computed in one does not stand for another. */
  readonly interpreter: string;
}

const mebibyte = 2 ** 20;
/** What a child holds beside one interpreter's memory: Deno, compiled code, Pyodide's files (measured: 250–330 MiB). */
const overheadBytes = 450 * mebibyte;

/**
 * Opens a sandbox. The first one on a machine takes a few seconds longer: it prepares the interpreter's memory image and
 * keeps it in the user's cache.
 *
 * @throws UserError without permission to run Deno or to read the npm package
 *
 * @example
 * ```ts
 * import { openSandbox } from "./pyodide.ts";
 * await using sandbox = await openSandbox();
 * const outcome = await sandbox.run({ code: "def f(x): return x + 1", entry: "f", inputs: [[1n], [2.5]] });
 * console.log(outcome.kind, outcome.results); // "values", 2n and 3.5
 * ```
 */
export async function openSandbox(options: SandboxOptions = {}): Promise<Sandbox> {
  const parts = readParts();
  const settings = {
    memoryBytes: options.memoryBytes ?? 512 * mebibyte,
    samplesPerProcess: options.samplesPerProcess ?? 200,
    onStart: options.onStart,
  };
  const image = await cachedImage(parts, () => makeImage(parts));
  const lanes = Array.from({ length: options.concurrency ?? 2 }, () => new Lane(parts, image, settings));
  const idle = [...lanes];
  const waiting: ((lane: Lane) => void)[] = [];
  let closed = false;
  return {
    interpreter: `pyodide ${pyodideVersion}`,
    description:
      `pyodide ${pyodideVersion} (CPython 3.${pyodideVersion.slice(1, 3)} in WebAssembly), one interpreter per ` +
      `sample, Deno process without permissions, ${settings.memoryBytes / mebibyte} MiB`,
    async run(job) {
      if (closed) throw new Error("the sandbox is closed");
      const lane = idle.pop() ?? await new Promise<Lane>((resolve) => waiting.push(resolve));
      try {
        return await lane.run(job);
      } finally {
        const next = waiting.shift();
        if (next) next(lane);
        else idle.push(lane);
      }
    },
    async [Symbol.asyncDispose]() {
      closed = true;
      await Promise.all(lanes.map((lane) => lane.close()));
    },
  };
}

/** A job as the harness reads it: marshal of (code, entry, marshal of each call's arguments, stop, digest above). */
export function jobBytes(job: Job): Uint8Array<ArrayBuffer> {
  const inputs = job.inputs.map((input) => new PyBytes(encode(new Tuple([...input]))));
  const longest = BigInt(job.digestAbove ?? 2 ** 40);
  return encode(new Tuple([job.code, job.entry, inputs, job.stopAtError ?? false, longest]));
}

/** Has a child prepare an interpreter and returns its memory. */
async function makeImage(parts: Parts): Promise<Image> {
  await using child = new Child(parts, undefined, { memoryBytes: 512 * mebibyte });
  const answer = await child.answer(120);
  if (!answer || answer.head.how !== "done" || answer.messages.length !== 1) {
    throw new Error(`the sandbox's interpreter could not be prepared: ${answer?.head.detail ?? "no answer"}`);
  }
  return packImage(answer.messages[0], JSON.parse(answer.head.detail));
}

/** One place for a process; the process is replaced when a sample has broken it or it is worn. */
class Lane {
  #child: Child | undefined;
  #samples = 0;
  constructor(
    private readonly parts: Parts,
    private readonly image: Image,
    private readonly settings: { memoryBytes: number; samplesPerProcess: number; onStart?: (id: number) => void },
  ) {}

  async run(job: Job): Promise<Outcome> {
    const seconds = job.seconds ?? 10;
    // A process that cannot make an interpreter says nothing about the sample: another one tries.
    for (let attempt = 1;; attempt++) {
      const child = this.#open();
      const answer = await child.run(job, seconds);
      const broken = answer === undefined || answer.head.how !== "done";
      if (broken || ++this.#samples >= this.settings.samplesPerProcess) await this.close();
      if (answer?.head.how !== "unready") return readOutcome(answer, seconds, job.inputs.length);
      if (attempt === 3) throw new Error(`the sandbox cannot make an interpreter: ${answer.head.detail}`);
    }
  }

  #open(): Child {
    if (!this.#child) {
      this.#child = new Child(this.parts, this.image, this.settings);
      this.#samples = 0;
      this.settings.onStart?.(this.#child.processId);
    }
    return this.#child;
  }

  async close(): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    await child?.[Symbol.asyncDispose]();
  }
}

/** What came back from one sample: how it ended, and its messages. */
export interface Answer {
  /** How it ended. */
  readonly head: Pick<AnswerHeader, "id" | "how" | "detail" | "printed" | "seconds">;
  /** What the harness in it wrote, one after the other. */
  readonly messages: readonly Uint8Array[];
}

/** One child process and the frames between us. */
class Child implements AsyncDisposable {
  readonly #process: Deno.ChildProcess;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  readonly #nonce = crypto.randomUUID();
  #rest = new Uint8Array(0);
  #jobs = 0;
  #writing: Promise<unknown>;
  readonly #largest: number;

  constructor(parts: Parts, image: Image | undefined, settings: { memoryBytes: number }) {
    const flags = [
      `--wasm-max-mem-pages=${Math.floor(settings.memoryBytes / 65536)}`,
      "--max-old-space-size=256",
      "--disallow-code-generation-from-strings",
    ];
    try {
      this.#process = new Deno.Command(Deno.execPath(), {
        ...withoutPermissions(childProgram(), flags),
        stdin: "piped",
        stdout: "piped",
        stderr: "null",
      }).spawn();
    } catch (error) {
      if (!(error instanceof Deno.errors.NotCapable)) throw error;
      throw new UserError("the sandbox needs permission to run Deno: --allow-run=" + Deno.execPath(), { cause: error });
    }
    const welcome: Welcome = {
      nonce: this.#nonce,
      assets: [parts.wasm.length, parts.stdlib.length, parts.glue.length, image?.module.length ?? 0],
      imageBytes: image?.memoryBytes ?? 0,
      addresses: image?.addresses,
      prepare: preparePython,
      start: startPython,
      withheld: withheldModules,
      residentBytes: settings.memoryBytes + overheadBytes,
      fileBytes: 64 * mebibyte,
      printBytes: 8 * mebibyte,
      resultBytes: 64 * mebibyte,
    };
    this.#largest = welcome.resultBytes;
    this.#writer = this.#process.stdin.getWriter();
    this.#reader = this.#process.stdout.getReader();
    const assets = [parts.wasm, parts.stdlib, parts.glue, ...(image ? [image.module] : [])];
    this.#writing = this.#send(frame(welcome), ...assets);
  }

  get processId(): number {
    return this.#process.pid;
  }

  /** Sends a job and waits for its answer; undefined where the child died, hung or spoke out of turn. */
  async run(job: Job, seconds: number): Promise<Answer | undefined> {
    const bytes = jobBytes(job);
    const limits = job.callSeconds ?? [];
    const callSeconds = typeof limits === "number" ? job.inputs.map(() => limits) : limits;
    const header: JobHeader = { id: ++this.#jobs, seconds, callSeconds, bytes: bytes.length };
    this.#writing = this.#writing.then(() => this.#send(frame(header), bytes));
    // The child ends a sample on its own; this is for a child that does not (15 s also cover its slowest start).
    const answer = await this.answer(seconds + 15);
    return answer?.head.id === header.id ? answer : undefined;
  }

  /** The child's next answer; undefined where it does not come in time. */
  async answer(seconds: number): Promise<Answer | undefined> {
    let ticks = 0, timer: ReturnType<typeof setInterval> | undefined;
    // Counted in ticks: while our own thread is busy with something else, no answer is late.
    const late = new Promise<undefined>((resolve) => {
      timer = setInterval(() => ++ticks > seconds && resolve(undefined), 1000);
    });
    try {
      return await Promise.race([late, this.#read()]);
    } catch {
      return undefined;
    } finally {
      clearInterval(timer);
    }
  }

  async #send(...chunks: Uint8Array[]): Promise<void> {
    // A child that died says so through its answers.
    for (const chunk of chunks) await this.#writer.write(chunk).catch(() => {});
  }

  async #take(length: number): Promise<Uint8Array | undefined> {
    const out = new Uint8Array(length);
    for (let filled = 0; filled < length;) {
      if (this.#rest.length === 0) {
        const { value, done } = await this.#reader.read();
        if (done) return undefined;
        this.#rest = value as Uint8Array<ArrayBuffer>;
      }
      const part = this.#rest.subarray(0, length - filled);
      out.set(part, filled);
      filled += part.length;
      this.#rest = this.#rest.subarray(part.length);
    }
    return out;
  }

  /** Reads the messages of one job and its last frame. */
  async #read(): Promise<Answer | undefined> {
    const messages: Uint8Array[] = [];
    for (let total = 0;;) {
      const size = await this.#take(4);
      const length = size ? new DataView(size.buffer).getUint32(0, true) : 0;
      const text = length > 0 && length < mebibyte ? await this.#take(length) : undefined;
      if (!text) return undefined;
      const head: MessageHeader | AnswerHeader = JSON.parse(new TextDecoder().decode(text));
      if (head.nonce !== this.#nonce) return undefined;
      if ("how" in head) return { head, messages };
      const message = (total += head.bytes) <= this.#largest ? await this.#take(head.bytes) : undefined;
      if (!message) return undefined;
      messages.push(message);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.#process.kill("SIGKILL");
    } catch {
      // It has ended already.
    }
    await this.#process.status;
    await this.#writer.abort().catch(() => {});
    await this.#reader.cancel().catch(() => {});
  }
}

function frame(header: Welcome | JobHeader): Uint8Array {
  const text = new TextEncoder().encode(JSON.stringify(header));
  const out = new Uint8Array(4 + text.length);
  new DataView(out.buffer).setUint32(0, text.length, true);
  out.set(text, 4);
  return out;
}

/** Reads the interpreter's messages, which a sample may have forged: whatever makes no sense is a crash. */
export function readOutcome(answer: Answer | undefined, limit: number, calls: number): Outcome {
  if (!answer) {
    return { kind: "crash", detail: "the sandbox's process ended", results: [], printed: "", seconds: limit };
  }
  const { head, messages } = answer;
  const results: CallResult[] = [];
  const common = { results, printed: head.printed, seconds: head.seconds };
  const memory = { kind: "memory", detail: "MemoryError", ...common } as const;
  let finished = false;
  try {
    for (const message of messages) {
      const body = message.subarray(1);
      const kind = String.fromCharCode(message[0]);
      if (kind === "v") {
        const seconds = new DataView(body.buffer, body.byteOffset).getFloat64(0, true);
        const value = decode(body.subarray(8));
        // Only the harness speaks of digests; a value that looks like one is no value.
        results.push({ value: value instanceof Opaque && value.type === digestType ? null : value, seconds });
      } else if (kind === "h") {
        const seconds = new DataView(body.buffer, body.byteOffset).getFloat64(0, true);
        results.push({ value: new Opaque(digestType, body.subarray(8).toHex()), seconds });
      } else if (kind === "e") results.push({ error: readError(body) });
      else if (kind === "x") {
        const error = readError(body);
        return error.type === "MemoryError" ? memory : { kind: "error", error, ...common };
      } else if (kind === "d") finished = true;
      else throw new RangeError(`message ${kind}`);
    }
  } catch (error) {
    return { kind: "crash", detail: `unreadable result: ${(error as Error).message}`, ...common };
  }
  if (results.length > calls) return { kind: "crash", detail: "more results than calls", ...common };
  if (head.how === "done" && finished) {
    const last = results.at(-1);
    return last && "error" in last && last.error.type === "MemoryError" ? memory : { kind: "values", ...common };
  }
  if (head.how === "done" || head.how === "unready") {
    return { kind: "crash", detail: head.detail || "it ended before its end", ...common };
  }
  return { kind: head.how, detail: head.detail, ...common };
}

function readError(bytes: Uint8Array): PythonError {
  const value = decode(bytes);
  const [type, message] = value instanceof Tuple ? value.items : [];
  return { type: String(type), message: String(message) };
}
