/**
 * @file The frames of a zstd file. Deno's decoder ends quietly behind the first frame, and where a file is cut short; so
 * frames and their blocks are counted through here (RFC 8878, 3.1), and what is in them is the decoder's.
 */
import type { openFile } from "./bytes.ts";

type File = ReturnType<typeof openFile>;

/** Bytes of the frame header's dictionary id and content size, by their flags. */
const DICTIONARY = [0, 1, 2, 4], CONTENT = [0, 2, 4, 8];

/** A frame's bytes: from … up to, without, …. */
export type Frame = readonly [start: number, end: number];

/** Where the frames with content lie; undefined where the last one is cut short. */
export function zstdFrames(file: File): Frame[] | undefined {
  const { size } = file.statSync(), frames: Frame[] = [];
  for (let at = 0; at < size;) {
    const frame = frameAt(file, at);
    if (!frame || frame.end > size) return undefined;
    if (!frame.skippable) frames.push([at, frame.end]);
    at = frame.end;
  }
  return frames;
}

/** The frame that starts here; undefined where the file ends within its headers. */
function frameAt(file: File, start: number): { readonly end: number; readonly skippable: boolean } | undefined {
  const head = bytesAt(file, start, 8);
  if (!head) return undefined;
  const magic = head.getUint32(0, true);
  if (magic >>> 4 === 0x184d2a5) return { end: start + 8 + head.getUint32(4, true), skippable: true };
  const descriptor = head.getUint8(4), single = (descriptor >> 5) & 1, content = descriptor >> 6;
  let at = start + 5 + (1 - single) + DICTIONARY[descriptor & 3] + (content === 0 ? single : CONTENT[content]);
  for (let last = false; !last;) {
    const header = bytesAt(file, at, 3);
    if (!header) return undefined;
    const word = header.getUint16(0, true) | header.getUint8(2) << 16;
    last = (word & 1) === 1;
    // A block of one repeated byte holds that byte, whatever its size.
    at += 3 + (((word >> 1) & 3) === 1 ? 1 : word >> 3);
  }
  return { end: at + (descriptor & 4 ? 4 : 0), skippable: false };
}

/** So many bytes of a file; undefined where it has fewer. */
function bytesAt(file: File, position: number, count: number): DataView | undefined {
  const bytes = new Uint8Array(count);
  file.seekSync(position, Deno.SeekMode.Start);
  for (let at = 0; at < count;) {
    const read = file.readSync(bytes.subarray(at));
    if (!read) return undefined;
    at += read;
  }
  return new DataView(bytes.buffer);
}
