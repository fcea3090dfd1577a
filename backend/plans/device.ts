/** @file Whatever runs plans, behind the common interface: memory by reference, plans by program. */
import { node } from "../../dsl/build.ts";
import { allHalfBits, halfBits, type HalfType, halfValue, isHalf } from "../../dsl/half.ts";
import { evaluate } from "../../dsl/interpret/interpret.ts";
import type { Node } from "../../dsl/node.ts";
import type { DType } from "../../dsl/tensor.ts";
import { showShape, sizeOf } from "../../dsl/shape.ts";
import { indexedBy, reportOf } from "../compiler/explain/explain.ts";
import type { Plan } from "../compiler/kernel.ts";
import type { CompiledProgram } from "../compiler/emit.ts";
import { pipeline } from "../compiler/pipeline.ts";
import { bytesOf } from "../compiler/place.ts";
import { debugs } from "../debug.ts";
import { type Runnable, runnable } from "./cache.ts";
import type { Capabilities, MemoryUse } from "../device.ts";
import type { BuildOptions, Device, DeviceArray, Executable, Program } from "../runtime.ts";
import "../../dsl/primitives/mod.ts";

/** Memory behind a tensor; handle 0 once it was given back or donated. */
interface Memory {
  handle: number;
  readonly device: object;
  /** For notebooks, which show a tensor's values. */
  values(): Promise<DeviceArray>;
}

/** What runs plans: a device of the native library, or WebGPU. Handles are positive integers. */
export interface PlanRunner {
  /** What it can do. */
  readonly capabilities: Capabilities;
  /** Makes a buffer of zeros. */
  allocate(bytes: number): number;
  /** Gives a buffer's memory back. */
  free(buffer: number): void;
  /** Copies `data` to the buffer, from byte `offset` on. */
  write(buffer: number, data: Uint8Array, offset?: number): void;
  /** Fills `into` from the buffer, from byte `offset` on, when everything submitted before has run. */
  read(buffer: number, into: Uint8Array, offset?: number): void | Promise<void>;
  /** Validates a plan and prepares it to run. */
  load(plan: Plan): number;
  /**
   * Runs a whole step; runs are done in the order in which they are asked for.
   *
   * @param handles the plan's arguments; a 0 of an "out" argument becomes the handle of a new buffer
   * @param upload the bytes that come with the call
   */
  run(plan: number, handles: BigUint64Array<ArrayBuffer>, upload: Uint8Array<ArrayBuffer>): Promise<void>;
  /** Seconds that each step of a plan took in all runs so far; none where they are not measured. */
  profile(plan: number): number[];
  /** Reads and clears the status word: 0, or 1 + the number of a step that met an index out of range. */
  status(): number | Promise<number>;
  /** Bytes held now, and at most. */
  memory(): MemoryUse;
  /** Gives everything back. Closing twice does nothing. */
  close(): void;
}

/** Values as they lie in memory. */
const stored = ({ dtype }: Node, values: ArrayLike<number>): DeviceArray | Uint16Array => {
  if (isHalf(dtype)) return allHalfBits(dtype, values);
  if (dtype === "f32") return values instanceof Float32Array ? values : Float32Array.from(values);
  return dtype === "u32" ? Uint32Array.from(values) : Int32Array.from(values);
};

const bytes = (values: DeviceArray | Uint16Array): Uint8Array =>
  new Uint8Array(values.buffer, values.byteOffset, values.byteLength);

/** Filled up to a multiple of four bytes: what lies behind an odd number of 16-bit elements is nobody's. */
function wholeWords(values: Uint8Array): Uint8Array {
  if (values.length % 4 === 0) return values;
  const whole = new Uint8Array(values.length + 4 - values.length % 4);
  whole.set(values);
  return whole;
}

/** A device that compiles programs to plans. */
export class PlannedDevice implements Device {
  readonly name: string;
  readonly #runner: PlanRunner;
  // Tensors that nothing refers to any more give their memory back; `free` does it at once.
  readonly #lost = new FinalizationRegistry<{ handle: number }>((memory) => this.#release(memory));
  readonly #handles = new WeakMap<Memory, { handle: number }>();
  // Programs run since the status word was last read: it tells a step, not whose.
  readonly #ran = new Set<() => CompiledProgram>();
  #closed = false;
  #narrowed?: Uint16Array;

  /** A device of this runner's own, which it closes in the end. */
  constructor(runner: PlanRunner) {
    this.#runner = runner;
    const { kind, name } = runner.capabilities;
    this.name = kind === "cpu" ? "cpu" : `${kind}:${name}`;
  }

  #adopt(handle: number, { shape, dtype }: Pick<Node, "shape" | "dtype">): Node {
    const memory: Memory = { handle, device: this, values: () => this.read(made) };
    const record = { handle };
    this.#handles.set(memory, record);
    this.#lost.register(memory, record, memory);
    const made: Node = node("buffer", [], { shape, dtype, memory });
    return made;
  }

  #release(record: { handle: number }): void {
    if (record.handle !== 0 && !this.#closed) this.#runner.free(record.handle);
    record.handle = 0;
  }

  #memory(x: Node): Memory {
    if (x.op !== "buffer") {
      throw new TypeError(`a tensor made by "${x.op}" is not in device memory: put it there first`);
    }
    const memory = (x as Node<"buffer">).attributes.memory as Memory;
    const name = `a tensor ${x.dtype}${showShape(x.shape)}`;
    if (memory.device !== this) {
      throw new TypeError(`${name} lies on another device than ${this.name}: read it there and put it here`);
    }
    if (memory.handle === 0) {
      throw new TypeError(`${name} was used after it was donated or freed: use what the call returned in its place`);
    }
    this.#mustBeOpen();
    return memory;
  }

  #mustBeOpen(): void {
    if (this.#closed) throw new TypeError(`the device ${this.name} was closed: open it again`);
  }

  allocate(shape: Readonly<Record<string, number>>, dtype: DType): Node {
    this.#mustBeOpen();
    const bytes = Math.ceil(sizeOf(shape) * (isHalf(dtype) ? 2 : 4) / 4) * 4;
    return this.#adopt(this.#runner.allocate(bytes), { shape, dtype });
  }

  put(x: Node): Node {
    if (x.op === "buffer") return (this.#memory(x), x);
    this.#mustBeOpen();
    const made = this.#adopt(this.#runner.allocate(bytesOf(x)), x);
    const values = x.op === "data" ? (x as Node<"data">).attributes.values : evaluate([x])[0].data;
    this.#runner.write(this.#memory(made).handle, wholeWords(bytes(stored(x, values))));
    return made;
  }

  write(x: Node, values: DeviceArray, start = 0): void {
    const { handle } = this.#memory(x);
    const { dtype } = x;
    if (!isHalf(dtype)) return this.#runner.write(handle, bytes(values), start * 4);
    // Through the same memory: who writes a model piece by piece makes no garbage of its size.
    this.#narrowed ??= new Uint16Array(1 << 16);
    for (let at = 0; at < values.length; at += this.#narrowed.length) {
      const part = this.#narrowed.subarray(0, Math.min(this.#narrowed.length, values.length - at));
      for (let i = 0; i < part.length; i++) part[i] = halfBits(dtype, values[at + i]);
      this.#runner.write(handle, bytes(part), (start + at) * 2);
    }
  }

  async read(x: Node): Promise<DeviceArray> {
    const count = sizeOf(x.shape), { dtype } = x;
    const memory = isHalf(dtype)
      ? new Uint16Array(count)
      : dtype === "f32"
      ? new Float32Array(count)
      : dtype === "u32"
      ? new Uint32Array(count)
      : new Int32Array(count);
    await this.#runner.read(this.#memory(x).handle, bytes(memory));
    const status = await this.#runner.status();
    const ran = [...this.#ran];
    this.#ran.clear();
    if (status !== 0) {
      const suspects = ran.map((whole) => whole()).flatMap(({ steps, origins }) => steps[origins[status - 1]] ?? [])
        .map(indexedBy);
      const where = [...new Set(suspects.filter((each) => each !== ""))].join(", or ");
      throw new Error(
        `${
          where ? `${where}: ` : ""
        }an index was outside of its axis (a token id beyond the embedding's rows, or a label ` +
          "beyond the vocabulary?)",
      );
    }
    if (memory instanceof Uint16Array) return Float32Array.from(memory, (bits) => halfValue(dtype as HalfType, bits));
    return memory;
  }

  free(x: Node): void {
    if (x.op !== "buffer") return;
    this.#forget((x as Node<"buffer">).attributes.memory as Memory, true);
  }

  /** The tensor may not be used any more; `release` its memory unless something else owns it now. */
  #forget(memory: Memory, release: boolean): void {
    const record = this.#handles.get(memory);
    if (!record) return;
    this.#lost.unregister(memory);
    if (release) this.#release(record);
    record.handle = 0;
    memory.handle = 0;
  }

  build(program: Program, options: BuildOptions): Executable {
    this.#mustBeOpen();
    const { capabilities } = this.#runner, { usedBytes } = this.#runner.memory();
    const validate = debugs("validate"), settings = { ...options, capabilities, usedBytes, validate };
    let known: CompiledProgram | undefined;
    // With a plan from the cache, only who asks for an explanation compiles.
    const whole = (): CompiledProgram => known ??= pipeline(program, settings);
    const compiled = validate ? whole() : runnable(program, settings, whole);
    const plan = this.#runner.load(options.timed ? { ...compiled.plan, timed: true } : compiled.plan);
    let runs = 0, before: readonly number[] = [];
    const seconds = (): number[] =>
      this.#runner.profile(plan).map((each, i) => (each - (before[i] ?? 0)) / Math.max(1, runs));
    const captured = new Map<Node, Node>();
    for (const source of compiled.arguments) {
      if (source.kind === "captured") captured.set(source.leaf, this.put(source.leaf));
    }
    return {
      run: async (args) => {
        const results = await this.#run(program, compiled, whole, plan, captured, args, options);
        runs++;
        return results;
      },
      report: () => ({
        ...reportOf(whole(), seconds()),
        ...(options.timed && !capabilities.timestamps && { untimed: `${capabilities.name} has no timestamps` }),
      }),
      restart: () => {
        runs = 0;
        before = this.#runner.profile(plan);
      },
      arenaBytes: compiled.plan.arena.reduce((a, b) => a + b, 0),
      kernels: compiled.plan.steps.length,
    };
  }

  async #run(
    program: Program,
    compiled: Runnable,
    whole: () => CompiledProgram,
    plan: number,
    captured: ReadonlyMap<Node, Node>,
    args: readonly Node[],
    options: BuildOptions,
  ): Promise<Node[]> {
    const upload = new Uint8Array(compiled.plan.upload);
    for (const [position, offset] of compiled.uploads) {
      upload.set(bytes(stored(args[position], (args[position] as Node<"data">).attributes.values)), offset);
    }
    const handles = new BigUint64Array(compiled.arguments.length);
    compiled.arguments.forEach((source, i) => {
      if (source.kind === "result") return;
      const tensor = source.kind === "parameter" ? args[source.position] : captured.get(source.leaf)!;
      handles[i] = BigInt(this.#memory(tensor).handle);
    });
    this.#ran.add(whole);
    await this.#runner.run(plan, handles, upload);
    // Donated memory now belongs to the results that took it; the rest of it is given back.
    const taken = new Set(compiled.results);
    const parameterArgument = new Map(
      compiled.arguments.flatMap((source, i) => source.kind === "parameter" ? [[source.position, i]] : []),
    );
    args.forEach((arg, position) => {
      if (!options.donated[position] || arg.op !== "buffer") return;
      this.#forget(
        (arg as Node<"buffer">).attributes.memory as Memory,
        !taken.has(parameterArgument.get(position) ?? -1),
      );
    });
    return compiled.results.map((argument, i) => this.#adopt(Number(handles[argument]), program.results[i]));
  }

  memory(): { used: number; peak: number } {
    const { usedBytes, peakBytes } = this.#runner.memory();
    return { used: usedBytes, peak: peakBytes };
  }

  [Symbol.dispose](): void {
    this.#closed = true;
    this.#runner.close();
  }
}
