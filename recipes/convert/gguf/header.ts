/** @file The first part of a GGUF file (version 3): metadata as typed keys, then each tensor's name, shape and place. */

/** Where a tensor's bytes begin: multiples of this. */
const ALIGNMENT = 32;

/** A value with its type in the file. */
export type MetadataValue =
  | { readonly type: "u32" | "f32"; readonly value: number }
  | { readonly type: "bool"; readonly value: boolean }
  | { readonly type: "text"; readonly value: string }
  | { readonly type: "i32s" | "f32s"; readonly value: readonly number[] }
  | { readonly type: "texts"; readonly value: readonly string[] };

/** Metadata by key; what is undefined is left out. */
export type MetadataOut = Readonly<Record<string, MetadataValue | undefined>>;

/** A tensor's entry. */
export interface GgufEntry {
  /** Its name. */
  readonly name: string;
  /** Sizes, outermost first (the file has them the other way round). */
  readonly shape: readonly number[];
  /** The type's number in ggml. */
  readonly type: number;
  /** Bytes of its elements. */
  readonly bytes: number;
}

/** Numbers of the types of metadata. */
const kinds = { u32: 4, i32: 5, f32: 6, bool: 7, text: 8, array: 9 } as const;

const encoder = new TextEncoder();

/** Little-endian bytes that grow at the end. */
class Bytes {
  #bytes = new Uint8Array(1 << 16);
  #length = 0;

  #room(count: number): DataView {
    if (this.#length + count > this.#bytes.length) {
      const larger = new Uint8Array(2 * (this.#length + count));
      larger.set(this.#bytes);
      this.#bytes = larger;
    }
    this.#length += count;
    return new DataView(this.#bytes.buffer, this.#length - count, count);
  }

  u32(value: number): void {
    this.#room(4).setUint32(0, value, true);
  }

  i32(value: number): void {
    this.#room(4).setInt32(0, value, true);
  }

  f32(value: number): void {
    this.#room(4).setFloat32(0, value, true);
  }

  u64(value: number): void {
    this.#room(8).setBigUint64(0, BigInt(value), true);
  }

  text(value: string): void {
    const bytes = encoder.encode(value);
    this.u64(bytes.length);
    this.#room(bytes.length);
    this.#bytes.set(bytes, this.#length - bytes.length);
  }

  list<T>(kind: number, values: readonly T[], put: (value: T) => void): void {
    this.u32(kinds.array);
    this.u32(kind);
    this.u64(values.length);
    values.forEach(put);
  }

  value(entry: MetadataValue): void {
    switch (entry.type) {
      case "u32":
        this.u32(kinds.u32);
        return this.u32(entry.value);
      case "f32":
        this.u32(kinds.f32);
        return this.f32(entry.value);
      case "bool":
        this.u32(kinds.bool);
        return this.#room(1).setUint8(0, Number(entry.value));
      case "text":
        this.u32(kinds.text);
        return this.text(entry.value);
      case "i32s":
        return this.list(kinds.i32, entry.value, (value) => this.i32(value));
      case "f32s":
        return this.list(kinds.f32, entry.value, (value) => this.f32(value));
      case "texts":
        return this.list(kinds.text, entry.value, (value) => this.text(value));
    }
  }

  /** Everything so far, and zeros up to the alignment. */
  padded(): Uint8Array<ArrayBuffer> {
    this.#room(padding(this.#length));
    return this.#bytes.slice(0, this.#length);
  }
}

/** Zeros that follow so many bytes. */
export const padding = (bytes: number): number => (ALIGNMENT - bytes % ALIGNMENT) % ALIGNMENT;

/**
 * The file's bytes before the tensors'. These follow in the order of their entries, each with its `padding`.
 *
 * @example
 * ```ts
 * import { ggufHeader } from "./header.ts";
 * const header = ggufHeader({ "general.architecture": { type: "text", value: "llama" } }, []);
 * console.assert(new TextDecoder().decode(header.subarray(0, 4)) === "GGUF" && header.length % 32 === 0);
 * ```
 */
export function ggufHeader(metadata: MetadataOut, tensors: readonly GgufEntry[]): Uint8Array<ArrayBuffer> {
  const pairs = Object.entries(metadata).flatMap(([key, value]) => value === undefined ? [] : [[key, value] as const]);
  const bytes = new Bytes();
  bytes.u32(0x46554747); // "GGUF"
  bytes.u32(3);
  bytes.u64(tensors.length);
  bytes.u64(pairs.length);
  for (const [key, value] of pairs) {
    bytes.text(key);
    bytes.value(value);
  }
  let offset = 0;
  for (const { name, shape, type, bytes: size } of tensors) {
    bytes.text(name);
    bytes.u32(shape.length);
    shape.toReversed().forEach((extent) => bytes.u64(extent));
    bytes.u32(type);
    bytes.u64(offset);
    offset += size + padding(size);
  }
  return bytes.padded();
}
