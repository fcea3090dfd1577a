/**
 * @file What runs inside the sandbox's child process: a supervisor and, one per sample, an interpreter.
 *
 * The child is started with no permission at all; everything it needs comes through its standard input. Both functions
 * are sent there as source text (`toString`), so they use nothing but their arguments and the platform's globals.
 *
 * Why this shape, in CPU time per sample, measured: loading Pyodide anew 3–4 s; a process per sample with a memory
 * image 0.57 s (start, decoding 9.6 MB of WebAssembly, code compiled anew); a worker per sample in a process that holds
 * the compiled module 0.14 s. A worker has a realm, a heap and a WebAssembly memory of its own, all gone with it, so no
 * state crosses from one sample to the next. Several interpreters in one realm would take half of that again, but would
 * let a sample that broke out leave something behind in JavaScript.
 */

/**
 * How a process of Deno is started that may do nothing: no files, network, other processes, environment, and no modules
 * but its program, either.
 *
 * @param program source of its module
 * @param engineFlags flags of V8
 */
export function withoutPermissions(program: string, engineFlags: readonly string[]): Deno.CommandOptions {
  const inherited = ["HOME", "DENO_DIR", "SystemRoot", "TEMP", "LOCALAPPDATA", "USERPROFILE"].flatMap((name) => {
    const value = Deno.env.get(name);
    return value === undefined ? [] : [[name, value] as const];
  });
  return {
    args: ["run", "--quiet", "--no-prompt", "--no-config", "--no-lock", "--no-npm", "--no-remote", "--cached-only"]
      .concat(`--v8-flags=${engineFlags.join()}`, `data:text/javascript,${encodeURIComponent(program)}`),
    clearEnv: true,
    env: { NO_COLOR: "1", DENO_NO_UPDATE_CHECK: "1", ...Object.fromEntries(inherited) },
  };
}

/** What the parent tells a child first; the assets follow as raw bytes in this order: wasm, stdlib, glue, image. */
export interface Welcome {
  /** Proves that a frame comes from the supervisor; workers never learn it. */
  readonly nonce: string;
  /** Byte lengths of the assets; no image (0) means: make one. */
  readonly assets: readonly [wasm: number, stdlib: number, glue: number, image: number];
  /** Bytes of the interpreter's memory that the image describes; the memory grows to it before the image is laid in. */
  readonly imageBytes: number;
  /** Addresses of functions in the interpreter's table, by name; the image holds some of them. */
  readonly addresses?: Readonly<Record<string, number>>;
  /** Python that prepares an interpreter, run once when the image is made. */
  readonly prepare: string;
  /** Python that runs one job. */
  readonly start: string;
  /** Names of C modules that an interpreter must not have. */
  readonly withheld: readonly string[];
  /** Resident bytes of the whole child at which a running sample is ended. */
  readonly residentBytes: number;
  /** Bytes of files that one sample may write. */
  readonly fileBytes: number;
  /** Bytes that one sample may print. */
  readonly printBytes: number;
  /** Bytes of results that one sample may return. */
  readonly resultBytes: number;
}

/** What precedes a job's bytes. */
export interface JobHeader {
  /** Number of the job; its answer carries it too. */
  readonly id: number;
  /** Wall-clock limit for everything after the interpreter stands. */
  readonly seconds: number;
  /** Limit of each call, one number per input. */
  readonly callSeconds: readonly number[];
  /** Length of the job. */
  readonly bytes: number;
}

/** What precedes each message of an interpreter, on its way out while the sample still runs. */
export interface MessageHeader {
  /** The supervisor's proof. */
  readonly nonce: string;
  /** Number of the job. */
  readonly id: number;
  /** Length of the message. */
  readonly bytes: number;
}

/** The last frame of a job. */
export interface AnswerHeader {
  /** The supervisor's proof. */
  readonly nonce: string;
  /** Number of the job. */
  readonly id: number;
  /** `unready`: no interpreter could be made, so nothing has run. */
  readonly how: "unready" | "done" | "timeout" | "memory" | "output" | "exit" | "crash";
  /** Why it ended so. */
  readonly detail: string;
  /** The first bytes that the sample printed. */
  readonly printed: string;
  /** Wall-clock seconds from the first instruction of the job to its end. */
  readonly seconds: number;
}

/** One message from an interpreter's worker to its supervisor. */
type Note =
  | { readonly is: "ready" }
  | { readonly is: "message"; readonly bytes: Uint8Array }
  | { readonly is: "end"; readonly how: AnswerHeader["how"]; readonly detail: string; readonly printed: string }
  | { readonly is: "image"; readonly bytes: Uint8Array; readonly addresses: Readonly<Record<string, number>> };

/** What a supervisor gives to a fresh worker. */
interface Start {
  readonly module: WebAssembly.Module;
  readonly markers: WebAssembly.Module;
  readonly image?: WebAssembly.Module;
  readonly stdlib: Uint8Array;
  readonly welcome: Welcome;
  readonly progress: SharedArrayBuffer;
}

/** The part of Emscripten's module object that the worker uses. */
interface PythonModule {
  FS: EmscriptenFiles;
  MEMFS: Record<"expandFileStorage" | "resizeFileStorage", (node: { contents: Uint8Array }, size: number) => void>;
  ENV: Record<string, string>;
  got: Record<string, WebAssembly.Global>;
  HEAPU8: Uint8Array;
  HEAPU32: Uint32Array;
  memory: WebAssembly.Memory;
  _PyImport_Inittab: number;
  growMemory(bytes: number): number | undefined;
  _malloc(bytes: number): number;
  _PyRun_SimpleString(text: number): number;
}
interface DeviceOperations {
  open?(stream: unknown): void;
  close?(stream: unknown): void;
  read(stream: unknown, buffer: Uint8Array, offset: number, length: number): number;
  write(stream: unknown, buffer: Uint8Array, offset: number, length: number): number;
}
interface EmscriptenFiles {
  ErrnoError: new (code: number) => Error;
  streams: ({ stream_ops: DeviceOperations } | null)[];
  devices: ({ stream_ops: DeviceOperations } | undefined)[];
  makedev(major: number, minor: number): number;
  registerDevice(device: number, operations: DeviceOperations): void;
  mkdev(path: string, device: number): void;
  mkdirTree(path: string): void;
  writeFile(path: string, data: Uint8Array, options?: { canOwn?: boolean }): void;
}

/**
 * Runs in a worker: makes an interpreter, waits for one job, runs it, posts what it wrote to `/dev/xft`.
 * Its realm is stripped of everything that reaches outside before any Python runs.
 */
function interpret(
  create: (settings: Record<string, unknown>) => Promise<PythonModule>,
  post: (note: Note, transfer?: Transferable[]) => void,
  receive: () => Promise<unknown>,
): Promise<void> {
  class End extends Error {
    constructor(readonly how: AnswerHeader["how"], message: string) {
      super(message);
    }
  }
  const printed: number[] = [];
  let printedBytes = 0, resultBytes = 0, fileBytes = 0;

  function guard(python: PythonModule, welcome: Welcome, progress: Int32Array): void {
    const { FS, MEMFS } = python;
    const sink: DeviceOperations = {
      open() {},
      close() {},
      read: () => 0,
      write(_stream, buffer, offset, length) {
        for (let i = 0; i < length && printed.length < 4096; i++) printed.push(buffer[offset + i] & 255);
        if ((printedBytes += length) > welcome.printBytes) {
          throw new End("output", `printed more than ${welcome.printBytes} bytes`);
        }
        return length;
      },
    };
    const results: DeviceOperations = {
      ...sink,
      write(_stream, buffer, offset, length) {
        if ((resultBytes += length) > welcome.resultBytes) {
          throw new End("output", `returned more than ${welcome.resultBytes} bytes`);
        }
        // (Emscripten hands over signed bytes.)
        const bytes = new Uint8Array(buffer.buffer, buffer.byteOffset + offset, length).slice();
        if (bytes[0] === 98 /* b: a call begins */) Atomics.add(progress, 0, 1);
        else post({ is: "message", bytes }, [bytes.buffer]);
        return length;
      },
    };
    // Terminals, standard streams: every device that exists by now but /dev/null and the random ones is a text sink.
    for (const path of [FS.makedev(5, 0), FS.makedev(6, 0)]) FS.devices[path]!.stream_ops = sink;
    for (const stream of FS.streams) if (stream) stream.stream_ops = sink;
    const device = FS.makedev(77, 0);
    FS.registerDevice(device, results);
    FS.mkdev("/dev/xft", device);
    // Files live in JavaScript's memory, which WebAssembly's limit does not see.
    for (const name of ["expandFileStorage", "resizeFileStorage"] as const) {
      const original = MEMFS[name];
      MEMFS[name] = (node, size) => {
        const before = node.contents?.length ?? 0;
        if (fileBytes + size - before > welcome.fileBytes) throw new FS.ErrnoError(51 /* no space left */);
        original.call(MEMFS, node, size);
        fileBytes += node.contents.length - before;
      };
    }
  }

  function python(module: PythonModule, code: string): number {
    const bytes = new TextEncoder().encode(code + "\0");
    const at = module._malloc(bytes.length);
    module.HEAPU8.set(bytes, at);
    return module._PyRun_SimpleString(at);
  }

  /** Renames withheld built-in modules in the interpreter's table, so that no import finds them. */
  function withhold(module: PythonModule, names: readonly string[]): void {
    const heap = module.HEAPU8, words = module.HEAPU32;
    for (let entry = words[module._PyImport_Inittab >> 2]; words[entry >> 2] !== 0; entry += 8) {
      const start = words[entry >> 2];
      let name = "";
      for (let i = start; heap[i] !== 0; i++) name += String.fromCharCode(heap[i]);
      if (names.includes(name)) heap[start] = 0;
    }
  }

  /** What Emscripten's glue is told; every way to a file or a page is closed. */
  function settings(start: Start, markers: Record<string, unknown>): Record<string, unknown> {
    const { welcome } = start;
    return {
      API: { config: { jsglobals: {}, env: {} }, runtimeEnv: {} },
      noInitialRun: start.image !== undefined,
      noImageDecoding: true,
      noAudioDecoding: true,
      addresses: welcome.addresses,
      thisProgram: "python",
      arguments: [],
      stdin: () => null,
      locateFile: (name: string) => {
        throw new Error(`no file ${name}`);
      },
      preRun: [(module: PythonModule) => {
        for (const folder of ["lib-dynload", "site-packages"]) module.FS.mkdirTree(`/lib/python3.14/${folder}`);
        module.FS.mkdirTree("/home/solution");
        module.FS.writeFile("/lib/python314.zip", start.stdlib, { canOwn: true });
        Object.assign(module.ENV, { HOME: "/home/solution", PYTHONHASHSEED: "0" });
      }],
      instantiateWasm(imports: { env: Record<string, unknown> }, done: (i: WebAssembly.Instance, m: unknown) => void) {
        Object.assign(imports.env, markers);
        WebAssembly.instantiate(start.module, imports as unknown as WebAssembly.Imports).then((instance) => {
          tableLength = (instance.exports.__indirect_function_table as WebAssembly.Table).length;
          done(instance, start.module);
        });
        return {};
      },
    };
  }

  let tableLength = 0;
  /** Prepares the interpreter, and posts its memory as the image that others start from. */
  function postImage(module: PythonModule, welcome: Welcome): void {
    withhold(module, welcome.withheld);
    if (python(module, welcome.prepare) !== 0) throw new Error("the interpreter could not be prepared");
    // Functions that stand in the table from the start; the few that the glue adds, it adds in the same order again.
    const addresses = Object.entries(module.got).map(([name, { value }]) => [name, Number(value)] as const)
      .filter(([, value]) => value > 0 && value < tableLength);
    post({ is: "image", bytes: module.HEAPU8.slice(), addresses: Object.fromEntries(addresses) });
  }

  /** Runs the job that lies at `/home/job`, and posts how it ended. */
  function runJob(module: PythonModule, { start }: Welcome): void {
    let how: AnswerHeader["how"] = "done", detail = "";
    try {
      if (python(module, start) !== 0) throw new End("crash", "the harness failed");
    } catch (error) {
      how = "crash";
      detail = String(error).slice(0, 500);
      if (error instanceof End) how = error.how;
      else if ((error as { name?: string })?.name === "ExitStatus") [how, detail] = ["exit", "the process was ended"];
    }
    post({ is: "end", how, detail, printed: new TextDecoder().decode(new Uint8Array(printed)) });
  }

  return (async () => {
    const start = await receive() as Start;
    const { welcome } = start;
    const markers = (await WebAssembly.instantiate(start.markers)).exports as Record<string, unknown>;
    const module = await create(settings(start, markers));
    if (!start.image) return postImage(module, welcome);
    if (welcome.imageBytes > module.HEAPU8.length) module.growMemory(welcome.imageBytes);
    await WebAssembly.instantiate(start.image, { xft: { memory: module.memory } });
    guard(module, welcome, new Int32Array(start.progress));
    post({ is: "ready" });
    module.FS.writeFile("/home/job", await receive() as Uint8Array, { canOwn: true });
    runJob(module, welcome);
  })();
}

/**
 * Runs in the child's main thread: reads jobs, gives each a fresh worker, watches time and memory, writes answers.
 * @param worker source of the worker's module, in which `GLUE` stands for the URL of Pyodide's glue code
 */
async function supervise(worker: string): Promise<void> {
  const input = Deno.stdin.readable.getReader();
  let rest = new Uint8Array(0);

  async function take(length: number): Promise<Uint8Array<ArrayBuffer>> {
    const out = new Uint8Array(length);
    let filled = 0;
    while (filled < length) {
      if (rest.length === 0) {
        const { value, done } = await input.read();
        // The parent is gone (or has finished with us): nothing may outlive it.
        if (done) Deno.exit(0);
        rest = value;
      }
      const part = rest.subarray(0, length - filled);
      out.set(part, filled);
      filled += part.length;
      rest = rest.subarray(part.length);
    }
    return out;
  }
  async function header<T>(): Promise<T> {
    const length = new DataView((await take(4)).buffer).getUint32(0, true);
    return JSON.parse(new TextDecoder().decode(await take(length)));
  }
  function writeAll(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length;) at += Deno.stdout.writeSync(bytes.subarray(at));
  }
  function send(head: MessageHeader | AnswerHeader, bytes?: Uint8Array): void {
    const text = new TextEncoder().encode(JSON.stringify(head));
    const length = new Uint8Array(4);
    new DataView(length.buffer).setUint32(0, text.length, true);
    writeAll(length);
    writeAll(text);
    if (bytes) writeAll(bytes);
  }

  const welcome = await header<Welcome>();
  const [wasm, stdlib, glue, imageBytes] = [
    await take(welcome.assets[0]),
    await take(welcome.assets[1]),
    await take(welcome.assets[2]),
    await take(welcome.assets[3]),
  ];
  // Pyodide's error markers (its glue calls them): two functions over a reference that JavaScript cannot forge.
  const markers = await WebAssembly.compile(
    Uint8Array.from(
      atob(
        "AGFzbQEAAAABDANfAGAAAW9gAW8BfwMDAgECBygCE0pzdl9HZXRFcnJvcl9pbXBvcnQAAA5Kc3ZFcnJvcl9DaGVjawABChMCBwD7AQD7GwsJACAA+xr7FAAL",
      ),
      (c) => c.charCodeAt(0),
    ),
  );
  const module = await WebAssembly.compile(wasm);
  const image = imageBytes.length > 0 ? await WebAssembly.compile(imageBytes) : undefined;
  const blob = (text: BlobPart): string => URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
  const workerUrl = blob(worker.replace("GLUE", blob(glue)));

  interface Interpreter {
    readonly worker: Worker;
    readonly progress: Int32Array;
    readonly ready: Promise<void>;
    listen: (note: Note) => void;
    /** Set where the worker died, perhaps before anybody listened. */
    failed?: Note & { is: "end" };
  }
  function spawn(): Interpreter {
    const progress = new SharedArrayBuffer(4);
    const ready = Promise.withResolvers<void>();
    const it: Interpreter = {
      worker: new Worker(workerUrl, { type: "module" }),
      progress: new Int32Array(progress),
      ready: ready.promise,
      listen: () => {},
    };
    it.worker.onmessage = (event) => {
      const note = event.data as Note;
      if (note.is === "ready") ready.resolve();
      else it.listen(note);
    };
    it.worker.onerror = (event) => {
      event.preventDefault();
      it.failed = { is: "end", how: "crash", detail: String(event.message).slice(0, 500), printed: "" };
      ready.resolve();
      it.listen(it.failed);
    };
    const start: Start = { module, markers, image, stdlib, welcome, progress };
    it.worker.postMessage(start);
    return it;
  }

  /** Makes the image that a later child starts from, and sends it. */
  function makeImage(): void {
    const it = spawn(), { nonce } = welcome;
    it.listen = (note) => {
      if (note.is === "image") send({ nonce, id: 0, bytes: note.bytes.length }, note.bytes);
      const detail = note.is === "image" ? JSON.stringify(note.addresses) : note.is === "end" ? note.detail : "";
      send({ nonce, id: 0, how: note.is === "image" ? "done" : "crash", detail, printed: "", seconds: 0 });
      Deno.exit(0);
    };
  }

  /** Waits until an interpreter stands, or has failed. */
  async function awaitReady(it: Interpreter): Promise<void> {
    const late = setTimeout(
      () => it.worker.onerror!(new ErrorEvent("error", { message: "not ready in time" })),
      60_000,
    );
    await it.ready;
    clearTimeout(late);
  }

  /** Runs a job, passes its messages on, and says how it ended. */
  function runJob(it: Interpreter, job: JobHeader, bytes: Uint8Array<ArrayBuffer>): Promise<Note & { is: "end" }> {
    const began = performance.now();
    let call = 0, callBegan = began;
    /** The limit that is passed, if one is: limits hold even when the worker's thread never comes back. */
    function passed(): readonly ["timeout" | "memory", string] | undefined {
      const now = performance.now(), begun = Atomics.load(it.progress, 0);
      if (begun !== call) [call, callBegan] = [begun, now];
      const limit = call === 0 ? Infinity : job.callSeconds[call - 1] ?? Infinity;
      if (now - began > job.seconds * 1000) return ["timeout", `ran longer than ${job.seconds} s`];
      if (now - callBegan > limit * 1000) return ["timeout", `call ${call} ran longer than ${limit} s`];
      if (Deno.memoryUsage().rss > welcome.residentBytes) return ["memory", "the sandbox ran out of memory"];
    }
    return new Promise((resolve) => {
      const end = (note: Note & { is: "end" }): void => {
        clearInterval(watch);
        resolve(note);
      };
      it.listen = (note) => {
        if (note.is === "message") send({ nonce: welcome.nonce, id: job.id, bytes: note.bytes.length }, note.bytes);
        else if (note.is === "end") end(note);
      };
      const watch = setInterval(() => {
        const limit = passed();
        if (limit) end({ is: "end", how: limit[0], detail: limit[1], printed: "" });
      }, 20);
      it.worker.postMessage(bytes, [bytes.buffer]);
    });
  }

  if (!image) return makeImage();
  let next = spawn();
  while (true) {
    const job = await header<JobHeader>(), bytes = await take(job.bytes), it = next, { nonce } = welcome;
    await awaitReady(it);
    if (it.failed) {
      send({ nonce, id: job.id, how: "unready", detail: it.failed.detail, printed: "", seconds: 0 });
      Deno.exit(0);
    }
    const began = performance.now();
    const { how, detail, printed } = await runJob(it, job, bytes);
    const seconds = (performance.now() - began) / 1000;
    // After a clean end the worker is idle and goes at once; the next one is made while the parent looks for a job.
    if (how === "done") it.worker.terminate();
    send({ nonce, id: job.id, how, detail, printed, seconds });
    // Anything else may still be running: the parent ends the whole process, and so do we.
    if (how !== "done") Deno.exit(0);
    next = spawn();
  }
}

/** The child's whole program, as the text of a module. */
export function childProgram(): string {
  // Taken away before the glue is loaded: with these gone, escaped code has no way to ask for anything.
  const worker = `
const receive = (() => {
  const waiting = [], arrived = [];
  onmessage = (event) => waiting.length ? waiting.shift()(event.data) : arrived.push(event.data);
  return () => arrived.length ? Promise.resolve(arrived.shift()) : new Promise((resolve) => waiting.push(resolve));
})();
const post = ((send) => (note, transfer) => send(note, transfer))(globalThis.postMessage.bind(globalThis));
for (const name of ["Deno", "process", "Buffer", "global", "fetch", "WebSocket", "EventSource", "Worker", "XMLHttpRequest",
  "BroadcastChannel", "caches", "postMessage", "close", "localStorage", "sessionStorage", "navigator", "require"]) {
  delete globalThis[name];
}
const { default: create } = await import("GLUE");
await (${interpret.toString()})(create, post, receive);
`;
  return `(${supervise.toString()})(${JSON.stringify(worker)});`;
}
