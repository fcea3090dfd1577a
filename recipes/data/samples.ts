/**
 * @file Samples by number. A store keeps the ids of samples in memory, and beyond a limit in a temporary file, so that
 * data may be larger than memory: what always stays in memory is 12 bytes a sample. Shuffles are over the numbers.
 */
import type { Sample, Span } from "../model/batch.ts";

/** Samples that can be asked for by number. */
export interface Samples {
  /** How many. */
  readonly length: number;
  /** Tokens of one. */
  tokens(index: number): number;
  /** The sample. */
  at(index: number): Sample;
}

/** A list of samples. */
export const listed = (samples: readonly Sample[]): Samples => ({
  length: samples.length,
  tokens: (index) => samples[index].ids.length,
  at: (index) => samples[index],
});

/** Some of the samples, in this order. */
export const selected = (samples: Samples, numbers: Uint32Array): Samples => ({
  length: numbers.length,
  tokens: (index) => samples.tokens(numbers[index]),
  at: (index) => samples.at(numbers[index]),
});

/** Bytes of ids that stay in memory, unless the caller says otherwise. */
const MEMORY = 256 * 2 ** 20;
/** Ids in a block: what is read and written at once. */
const BLOCK = 2 ** 18;

/** Samples that are added one by one, then read in any order. */
export class SampleStore implements Samples, Disposable {
  /** Where each sample begins, in words of four bytes from the first one's start; one more than there are samples. */
  #starts = new Float64Array(1024);
  /** Ids of each sample; the text of its source follows them. */
  #sizes = new Uint32Array(1024);
  #count = 0;
  #blocks: Int32Array<ArrayBuffer>[] = [];
  #block = new Int32Array(BLOCK);
  #used = 0;
  #file: { readonly handle: Deno.FsFile; readonly path: string } | undefined;

  /** A store that keeps so many bytes of ids in memory, and then all of them in a temporary file. */
  constructor(private readonly memory: number = MEMORY) {}

  get length(): number {
    return this.#count;
  }

  tokens(index: number): number {
    return this.#sizes[index];
  }

  /** Whether ids are in a file. */
  get spilled(): boolean {
    return this.#file !== undefined;
  }

  /** Adds a sample. */
  add(sample: Sample): void {
    if (this.#count + 1 === this.#starts.length) {
      const [starts, sizes] = [this.#starts, this.#sizes];
      this.#starts = new Float64Array(2 * starts.length);
      this.#sizes = new Uint32Array(2 * sizes.length);
      this.#starts.set(starts);
      this.#sizes.set(sizes);
    }
    this.#sizes[this.#count] = sample.ids.length;
    const marked = markedIds(sample);
    for (let at = 0; at < marked.length;) {
      const some = marked.subarray(at, at + BLOCK - this.#used);
      this.#block.set(some, this.#used);
      this.#used += some.length;
      at += some.length;
      if (this.#used === BLOCK) this.#finishBlock();
    }
    this.#starts[this.#count + 1] = this.#starts[this.#count] + marked.length;
    this.#count++;
  }

  at(index: number): Sample {
    const from = this.#starts[index], marked = new Int32Array(this.#starts[index + 1] - from);
    for (let done = 0; done < marked.length;) {
      const number = Math.floor((from + done) / BLOCK), offset = (from + done) % BLOCK;
      const count = Math.min(marked.length - done, BLOCK - offset);
      marked.set(this.#range(number, offset, count), done);
      done += count;
    }
    return sampleOf(marked, this.#sizes[index]);
  }

  /** Closes and removes the file. */
  [Symbol.dispose](): void {
    this.#file?.handle.close();
    if (this.#file && Deno.build.os === "windows") Deno.removeSync(this.#file.path);
    this.#file = undefined;
  }

  #finishBlock(): void {
    this.#blocks.push(this.#block);
    this.#used = 0;
    const spill = this.#file !== undefined || this.#blocks.length * BLOCK * 4 > this.memory;
    if (!spill) {
      this.#block = new Int32Array(BLOCK);
      return;
    }
    this.#file ??= temporaryFile();
    for (const [number, block] of this.#blocks.entries()) {
      if (block.length === 0) continue;
      writeAt(this.#file.handle, number * BLOCK * 4, new Uint8Array(block.buffer));
      this.#block = block;
      // Its place in the list says where it is in the file.
      this.#blocks[number] = new Int32Array(0);
    }
  }

  #range(number: number, offset: number, count: number): Int32Array {
    const block = number === this.#blocks.length ? this.#block : this.#blocks[number];
    if (block.length > 0) return block.subarray(offset, offset + count);
    const bytes = new Uint8Array(4 * count);
    readAt(this.#file!.handle, (number * BLOCK + offset) * 4, bytes);
    return new Int32Array(bytes.buffer);
  }
}

const encoder = new TextEncoder(), decoder = new TextDecoder();

/** Ids, then the source's bytes, as one list of numbers: an id that is not scored stands as −1 − id. */
function markedIds({ ids, scoredFrom, unscored = [], source = "" }: Sample): Int32Array {
  const text = encoder.encode(source), words = Math.ceil(text.length / 4), marked = new Int32Array(ids.length + words);
  marked.set(ids);
  new Uint8Array(marked.buffer).set(text, 4 * ids.length);
  const mark = (from: number, to: number): void => {
    for (let i = from; i < Math.min(to, ids.length); i++) marked[i] = ~marked[i];
  };
  mark(0, scoredFrom);
  for (const [from, to] of unscored) mark(from, to);
  return marked;
}

/** The inverse of `markedIds`. */
function sampleOf(words: Int32Array<ArrayBuffer>, size: number): Sample {
  const marked = words.subarray(0, size), text = new Uint8Array(words.buffer, 4 * size);
  // Zeros fill the last word.
  const end = text.indexOf(0), source = decoder.decode(end < 0 ? text : text.subarray(0, end));
  const isScored = (id: number): boolean => id >= 0, unscored: Span[] = [];
  const first = marked.findIndex(isScored), scoredFrom = first < 0 ? marked.length : first;
  for (let from = scoredFrom; from < marked.length;) {
    if (isScored(marked[from])) {
      from++;
      continue;
    }
    let to = from;
    while (to < marked.length && !isScored(marked[to])) to++;
    unscored.push([from, to]);
    from = to;
  }
  const ids = marked.map((id) => id < 0 ? ~id : id);
  return { ids, scoredFrom, ...(unscored.length > 0 && { unscored }), ...(source !== "" && { source }) };
}

/** A file that is gone when it is closed, however the process ends (on Windows: when the store is disposed). */
function temporaryFile(): { readonly handle: Deno.FsFile; readonly path: string } {
  const path = Deno.makeTempFileSync({ prefix: "xft-data-" });
  const handle = Deno.openSync(path, { read: true, write: true });
  if (Deno.build.os !== "windows") Deno.removeSync(path);
  return { handle, path };
}

function writeAt(file: Deno.FsFile, position: number, bytes: Uint8Array): void {
  file.seekSync(position, Deno.SeekMode.Start);
  for (let at = 0; at < bytes.length;) at += file.writeSync(bytes.subarray(at));
}

function readAt(file: Deno.FsFile, position: number, bytes: Uint8Array): void {
  file.seekSync(position, Deno.SeekMode.Start);
  for (let at = 0; at < bytes.length;) {
    const count = file.readSync(bytes.subarray(at));
    if (count === null) throw new Error("the temporary file of the data is too short");
    at += count;
  }
}
