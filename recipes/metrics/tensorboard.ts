/**
 * @file TensorBoard's event files: each number of a metrics line as a scalar. A file is a list of TFRecords (length,
 * checksum, data, checksum), each one an `Event` of TensorFlow's event.proto, of which three fields are needed.
 */
import { join } from "node:path";

/** A line of metrics: numbers by name, and lists of them; `step` says when. */
export interface MetricsLine {
  readonly step: number;
  readonly stage?: string;
}

/** An event file that is being written. */
export interface EventFile extends Disposable {
  /** Where it is. */
  readonly path: string;
  /** Appends a line's numbers, as `stage/name`. */
  add(line: MetricsLine): void;
}

/**
 * Begins an event file in a folder, which is made where it is missing. TensorBoard reads all files of a folder together,
 * so a training that goes on adds a file.
 *
 * @example
 * ```ts ignore
 * import { openEvents } from "./tensorboard.ts";
 * using events = openEvents("runs/mine");
 * events.add({ step: 1, stage: "sft", loss: 2.5 } as { step: number });
 * ```
 */
export function openEvents(folder: string): EventFile {
  Deno.mkdirSync(folder, { recursive: true });
  const path = join(folder, `events.out.tfevents.${Date.now()}.${Deno.pid}.xft`);
  const file = Deno.openSync(path, { write: true, createNew: true });
  const append = (event: Uint8Array): void => {
    const record = tfRecord(event);
    for (let at = 0; at < record.length;) at += file.writeSync(record.subarray(at));
  };
  append(message([double(1, Date.now() / 1000), text(3, "brain.Event:2")]));
  return {
    path,
    add(line) {
      const values = scalarsOf(line).map(([tag, value]) => bytes(1, message([text(1, tag), float(2, value)])));
      if (values.length === 0) return;
      append(message([double(1, Date.now() / 1000), integer(2, line.step), bytes(5, message(values))]));
    },
    [Symbol.dispose]: () => file.close(),
  };
}

/** A line's numbers with their tags; lists are counted through: `moe/load/0/3`. */
export function scalarsOf({ step: _, stage, ...fields }: MetricsLine): [tag: string, value: number][] {
  const scalars = (tag: string, value: unknown): [string, number][] => {
    if (typeof value === "number") return [[tag, value]];
    return Array.isArray(value) ? value.flatMap((each, index) => scalars(`${tag}/${index}`, each)) : [];
  };
  return Object.entries(fields).flatMap(([name, value]) => scalars(stage ? `${stage}/${name}` : name, value));
}

/** Data between its length and its checksums. */
export function tfRecord(data: Uint8Array): Uint8Array {
  const record = new Uint8Array(data.length + 16), view = new DataView(record.buffer);
  view.setBigUint64(0, BigInt(data.length), true);
  view.setUint32(8, masked(crc32c(record.subarray(0, 8))), true);
  record.set(data, 12);
  view.setUint32(12 + data.length, masked(crc32c(data)), true);
  return record;
}

/** Remainders of all bytes by the Castagnoli polynomial, its bits reversed. */
const table = Uint32Array.from({ length: 256 }, (_, byte) => {
  let remainder = byte;
  for (let bit = 0; bit < 8; bit++) remainder = remainder & 1 ? (remainder >>> 1) ^ 0x82f63b78 : remainder >>> 1;
  return remainder;
});

/** CRC-32C (RFC 3720, B.4). */
export function crc32c(data: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of data) crc = table[(crc ^ byte) & 255] ^ (crc >>> 8);
  return ~crc >>> 0;
}

/** As TFRecord stores checksums, so that a checksum of data with checksums in it is no weaker. */
const masked = (crc: number): number => (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;

// Protocol buffers: a field is its number and kind, then its value.
const encoder = new TextEncoder();
const KINDS = { varint: 0, eightBytes: 1, bytes: 2, fourBytes: 5 } as const;
const key = (field: number, kind: keyof typeof KINDS): number => (field << 3) | KINDS[kind];

function message(fields: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(fields.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const field of fields) {
    all.set(field, at);
    at += field.length;
  }
  return all;
}

function varint(value: number): number[] {
  const low = value % 128, rest = Math.floor(value / 128);
  return rest === 0 ? [low] : [low | 128, ...varint(rest)];
}

const integer = (field: number, value: number): Uint8Array => Uint8Array.from([key(field, "varint"), ...varint(value)]);

const bytes = (field: number, value: Uint8Array): Uint8Array =>
  message([Uint8Array.from([key(field, "bytes"), ...varint(value.length)]), value]);

const text = (field: number, value: string): Uint8Array => bytes(field, encoder.encode(value));

function double(field: number, value: number): Uint8Array {
  const out = new DataView(new ArrayBuffer(9));
  out.setUint8(0, key(field, "eightBytes"));
  out.setFloat64(1, value, true);
  return new Uint8Array(out.buffer);
}

function float(field: number, value: number): Uint8Array {
  const out = new DataView(new ArrayBuffer(5));
  out.setUint8(0, key(field, "fourBytes"));
  out.setFloat32(1, value, true);
  return new Uint8Array(out.buffer);
}
