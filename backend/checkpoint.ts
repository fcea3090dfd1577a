/**
 * @file Checkpoints on disk: one reader for safetensors (file or folder), GGUF and llama2.c; a writer for safetensors.
 * The bytes are the native library's business: tensors arrive as f32, or go straight into a device's memory.
 */
import { UserError } from "../dsl/errors.ts";
import type { NativeDevice } from "./device.ts";
import { check, type Functions, openLibrary, readBytes } from "./library/ffi.ts";

/** Functions of checkpoint files. */
const checkpointSymbols = {
  xft_checkpoint_open: { parameters: ["buffer", "usize", "buffer"], result: "i32" },
  xft_checkpoint_close: { parameters: ["u64"], result: "i32" },
  xft_checkpoint_describe: { parameters: ["u64", "buffer", "usize"], result: "i64" },
  xft_checkpoint_read: { parameters: ["u64", "buffer", "usize", "buffer", "usize"], result: "i32" },
  xft_checkpoint_read_part: { parameters: ["u64", "buffer", "usize", "usize", "buffer", "usize"], result: "i32" },
  xft_checkpoint_upload: { parameters: ["u64", "buffer", "usize", "u64", "u64"], result: "i32" },
  xft_writer_create: { parameters: ["buffer", "usize", "buffer", "usize", "buffer"], result: "i32" },
  xft_writer_add: { parameters: ["u64", "buffer", "usize"], result: "i32" },
  xft_writer_combine: { parameters: ["u64", "buffer", "buffer", "usize", "buffer", "usize"], result: "i32" },
  xft_writer_changes: {
    parameters: ["u64", "buffer", "buffer", "usize", "f64", "buffer", "usize"],
    result: "i32",
  },
  xft_checkpoint_products: { parameters: ["buffer", "usize", "buffer", "usize", "buffer"], result: "i32" },
  xft_writer_finish: { parameters: ["u64"], result: "i32" },
  xft_writer_close: { parameters: ["u64"], result: "i32" },
} as const;

let functions: Functions<typeof checkpointSymbols> | undefined;

/** Opened at the first use, so that importing this module needs no permission. */
function library(): Functions<typeof checkpointSymbols> {
  return functions ??= openLibrary(checkpointSymbols);
}

const encoder = new TextEncoder();

/** What a file says about a tensor. */
export interface TensorInfo {
  /** Its name in the file. */
  readonly name: string;
  /** Sizes, outermost first. */
  readonly shape: readonly number[];
  /** How elements are stored: F32, F16, BF16, Q4_1 … */
  readonly dtype: string;
  /** Bytes in the file. */
  readonly bytes: number;
}

/** An opened checkpoint. Its file is mapped, not loaded. */
export interface Checkpoint extends Disposable {
  /** File or folder, as it was opened. */
  readonly path: string;
  /** The library's handle of it, for what is computed there. */
  readonly handle: bigint;
  /** What kind of file it is. */
  readonly format: "safetensors" | "gguf" | "llama2c";
  /** What the file says about itself: GGUF's keys, llama2.c's header, safetensors' `__metadata__`. */
  readonly metadata: Readonly<Record<string, unknown>>;
  /** Its tensors, in the file's order. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /**
   * A tensor's elements as f32, row-major.
   *
   * @param into where they go, and what is returned is a view of; what is too short is not used (default: new memory)
   * @throws {UserError} if there is no such tensor, or it holds integers that f32 cannot
   */
  read(name: string, into?: Float32Array<ArrayBuffer>): Float32Array<ArrayBuffer>;
  /**
   * Fills `into` with a tensor's elements from `start` on, as f32: large tensors pass through little memory.
   *
   * @throws {UserError} as `read`; also where there are not so many, or a quantised tensor's blocks would be cut
   */
  readPart(name: string, start: number, into: Float32Array<ArrayBuffer>): void;
  /**
   * Writes a tensor as f32 to the start of a device's buffer, without passing through JavaScript.
   *
   * @throws {UserError} if there is no such tensor
   */
  upload(name: string, device: NativeDevice, buffer: number): void;
}

/** What the library says about a checkpoint. */
interface Description {
  readonly format: Checkpoint["format"];
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly tensors: readonly TensorInfo[];
}

class LibraryCheckpoint implements Checkpoint {
  readonly format: Checkpoint["format"];
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  #handle: bigint;

  get handle(): bigint {
    return this.#handle;
  }

  constructor(readonly path: string) {
    const bytes = encoder.encode(path);
    const handle = new BigUint64Array(1);
    check(library().xft_checkpoint_open(bytes, BigInt(bytes.length), handle), (message) => new UserError(message));
    this.#handle = handle[0];
    const json = readBytes((out, capacity) => library().xft_checkpoint_describe(this.#handle, out, capacity));
    const description: Description = JSON.parse(new TextDecoder().decode(json));
    this.format = description.format;
    this.metadata = description.metadata;
    this.tensors = new Map(description.tensors.map((tensor) => [tensor.name, tensor]));
  }

  #tensor(name: string): TensorInfo {
    const tensor = this.tensors.get(name);
    if (!tensor) throw new UserError(`${this.path}: there is no tensor "${name}".`);
    return tensor;
  }

  read(name: string, into?: Float32Array<ArrayBuffer>): Float32Array<ArrayBuffer> {
    const elements = this.#tensor(name).shape.reduce((product, size) => product * size, 1);
    const out = into && into.length >= elements ? into.subarray(0, elements) : new Float32Array(elements);
    const bytes = encoder.encode(name);
    const code = library().xft_checkpoint_read(this.#handle, bytes, BigInt(bytes.length), out, BigInt(elements));
    check(code, (message) => new UserError(message));
    return out;
  }

  readPart(name: string, start: number, into: Float32Array<ArrayBuffer>): void {
    this.#tensor(name);
    const bytes = encoder.encode(name), [length, at, count] = [bytes.length, start, into.length].map(BigInt);
    const code = library().xft_checkpoint_read_part(this.#handle, bytes, length, at, into, count);
    check(code, (message) => new UserError(message));
  }

  upload(name: string, device: NativeDevice, buffer: number): void {
    this.#tensor(name);
    const bytes = encoder.encode(name);
    const length = BigInt(bytes.length);
    check(
      library().xft_checkpoint_upload(this.#handle, bytes, length, device.handle, BigInt(buffer)),
      (message) => new UserError(message),
    );
  }

  [Symbol.dispose](): void {
    if (this.#handle === 0n) return;
    const handle = this.#handle;
    this.#handle = 0n;
    check(library().xft_checkpoint_close(handle));
  }
}

/**
 * Opens a checkpoint, whatever its format is: a safetensors file, a folder of them (with or without an index), GGUF,
 * or llama2.c's version 0.
 *
 * @throws {UserError} if it is missing, cut short, malformed or of another format
 * @example
 * ```ts ignore
 * import { openCheckpoint } from "./checkpoint.ts";
 * using checkpoint = openCheckpoint("models/smollm2");
 * for (const { name, shape, dtype } of checkpoint.tensors.values()) console.log(name, shape.join("×"), dtype);
 * ```
 */
export function openCheckpoint(path: string): Checkpoint {
  return new LibraryCheckpoint(path);
}

/** How weights can be stored by the writer. */
export type StoredDtype = "F32" | "BF16" | "F16";

/** A tensor of an opened checkpoint. */
export interface StoredTensor {
  /** Where it is; open until what is made of it is written. */
  readonly checkpoint: Checkpoint;
  /** The tensor's name there. */
  readonly name: string;
}

/** A share of a tensor of an opened checkpoint. */
export interface Term extends StoredTensor {
  /** What it is multiplied with. */
  readonly weight: number;
}

/** Σ weight · tensor, added up in f64 in the order of the terms, and rounded once: the same bits on every processor. */
export interface Combination {
  /** Tensors of one shape, at least one. */
  readonly terms: readonly Term[];
}

/** Which of a model's changes to a base are kept; what is not becomes 0. */
export type Keep =
  | { readonly kind: "all" }
  /**
   * So many of the largest magnitudes after the `without` very largest, and all that are as large as the smallest or the
   * largest of those.
   */
  | { readonly kind: "largest"; readonly count: number; readonly without: number }
  /**
   * Each with this probability (in steps of 2⁻²⁴), divided by it: where `bernoulli` of a key of these two words is true.
   */
  | { readonly kind: "random"; readonly density: number; readonly key: readonly [number, number] };

/**
 * base + scale · Σ weight · kept(model − base), or the same divided by Σ weight. Differences are rounded to f32, sums are
 * made in f64 in the order of the models, and rounded once: the same bits with any number of threads.
 */
export interface Changes {
  /** What the models are compared with. */
  readonly base: StoredTensor;
  /** Tensors of the base's shape. */
  readonly models: readonly (Term & { readonly keep: Keep })[];
  /** Do only those changes of an element count whose sign is that of the sum of all? (+ where that is 0) */
  readonly elect: boolean;
  /** Is the sum divided by the weights of those that count, where these do not add up to 0? */
  readonly normalize: boolean;
  /** What the sum is multiplied with. */
  readonly scale: number;
}

/** A tensor that the library computes from others, from file to file: it is never whole in memory, nor are they. */
export type Computed = Combination | Changes;

/**
 * Σ a·b of every two of the tensors that have this name, as vectors, in f64: the same bits with any number of threads.
 *
 * @returns a row for each checkpoint
 * @throws {UserError} if one of them is missing, or their shapes differ
 */
export function innerProducts(checkpoints: readonly Checkpoint[], name: string): readonly (readonly number[])[] {
  const count = checkpoints.length, bytes = encoder.encode(name), out = new Float64Array(count * count);
  const handles = BigUint64Array.from(checkpoints, ({ handle }) => handle);
  const code = library().xft_checkpoint_products(handles, BigInt(count), bytes, BigInt(bytes.length), out);
  check(code, (message) => new UserError(message));
  return checkpoints.map((_, row) => [...out.subarray(row * count, (row + 1) * count)]);
}

/** A tensor to be written. */
export interface TensorOut {
  /** Its name in the file. */
  readonly name: string;
  /** Sizes, outermost first. */
  readonly shape: readonly number[];
  /**
   * Its elements, row-major, or what they are computed from; a function is called when its turn comes, so that one
   * tensor is in memory at a time.
   */
  readonly data: Float32Array | Computed | (() => Float32Array | Computed | Promise<Float32Array>);
}

/** How a safetensors file is written. */
export interface WriteOptions {
  /** Storage of all tensors (default F32; others round to nearest). */
  readonly dtype?: StoredDtype;
  /** The header's `__metadata__` (default `{ format: "pt" }`, which transformers asks for). */
  readonly metadata?: Readonly<Record<string, string>>;
}

/** A safetensors file being written. Disposed before it is finished, it leaves nothing behind. */
export interface SafetensorsWriter extends Disposable {
  /** Writes the next tensor. @throws {UserError} if the disk is full */
  add(values: Float32Array): void;
  /** Computes the next tensor from others, and writes it. @throws {UserError} also if they do not fit together */
  compute(tensor: Computed): void;
  /** Makes the file durable and gives it its name. @throws {UserError} if the disk is full */
  finish(): void;
}

/**
 * Begins a safetensors file: tensors are then added in the order given here. The bytes go to a temporary file beside
 * `path`, which takes its name (replacing an old file) when all is on the disk.
 *
 * @param path where the file will be
 * @param tensors name and shape of every tensor
 * @throws {UserError} if the file cannot be made
 */
export function createSafetensors(
  path: string,
  tensors: Iterable<Pick<TensorOut, "name" | "shape">>,
  options: WriteOptions = {},
): SafetensorsWriter {
  const asUserError = (message: string): Error => new UserError(message);
  const outline = encoder.encode(JSON.stringify({
    dtype: options.dtype ?? "F32",
    metadata: options.metadata ?? { format: "pt" },
    tensors: Array.from(tensors, ({ name, shape }) => [name, shape]),
  }));
  const bytes = encoder.encode(path);
  const result = new BigUint64Array(1);
  check(
    library().xft_writer_create(bytes, BigInt(bytes.length), outline, BigInt(outline.length), result),
    asUserError,
  );
  let handle = result[0];
  return {
    add(values) {
      const floats = values as Float32Array<ArrayBuffer>;
      check(library().xft_writer_add(handle, floats, BigInt(values.length)), asUserError);
    },
    compute(tensor) {
      const code = "terms" in tensor ? combine(handle, tensor) : addChanges(handle, tensor);
      check(code, asUserError);
    },
    finish() {
      check(library().xft_writer_finish(handle), asUserError);
    },
    [Symbol.dispose]() {
      if (handle === 0n) return;
      const closing = handle;
      handle = 0n;
      check(library().xft_writer_close(closing));
    },
  };
}

const handlesOf = (tensors: readonly StoredTensor[]): BigUint64Array<ArrayBuffer> =>
  BigUint64Array.from(tensors, ({ checkpoint }) => checkpoint.handle);

function combine(writer: bigint, { terms }: Combination): number {
  const names = encoder.encode(JSON.stringify(terms.map(({ name }) => name))), count = BigInt(terms.length);
  const weights = Float64Array.from(terms, ({ weight }) => weight);
  return library().xft_writer_combine(writer, handlesOf(terms), weights, count, names, BigInt(names.length));
}

function addChanges(writer: bigint, { base, models, elect, normalize, scale }: Changes): number {
  const all = [base, ...models], weights = Float64Array.from(models, ({ weight }) => weight);
  const keep = models.map(({ keep }) =>
    keep.kind === "random"
      ? { kind: keep.kind, below: Math.ceil(Math.fround(keep.density) * 2 ** 24), key: keep.key }
      : keep
  );
  const outline = encoder.encode(JSON.stringify({ names: all.map(({ name }) => name), keep, elect, normalize }));
  const [count, length] = [BigInt(models.length), BigInt(outline.length)];
  return library().xft_writer_changes(writer, handlesOf(all), weights, count, scale, outline, length);
}

/**
 * Writes a safetensors file at once: temporary file, fsync, rename. After a failure `path` is as it was before.
 *
 * @throws {UserError} if the file cannot be made or the disk is full
 * @example
 * ```ts ignore
 * import { writeSafetensors } from "./checkpoint.ts";
 * await writeSafetensors("adapter.safetensors", [{ name: "alpha", shape: [2, 7], data: new Float32Array(14) }]);
 * ```
 */
export async function writeSafetensors(
  path: string,
  tensors: Iterable<TensorOut>,
  options: WriteOptions = {},
): Promise<void> {
  const list = [...tensors];
  using writer = createSafetensors(path, list, options);
  for (const { data } of list) await writeTensor(writer, data);
  writer.finish();
}

/** Writes the next tensor, whatever its elements come from. @throws {UserError} if the disk is full */
export async function writeTensor(writer: SafetensorsWriter, data: TensorOut["data"]): Promise<void> {
  const given = await (typeof data === "function" ? data() : data);
  if (given instanceof Float32Array) writer.add(given);
  else writer.compute(given);
}
