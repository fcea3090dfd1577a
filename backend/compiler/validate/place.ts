/** @file Checks where `place` put intermediate values: within their chunk, and never two live ones over each other. */
import { alignment, type Place } from "../place.ts";
import { fault } from "./fault.ts";

/** An intermediate value: its bytes and place, and how a fault names it. */
export interface Placed extends Place {
  readonly bytes: number;
  readonly name: string;
}

/**
 * Places of values, each used by some steps.
 *
 * @param uses the values that each step touches; from first to last use a value is live
 * @param chunks bytes of each chunk of the arena
 * @throws Error that names the first value that is wrong
 */
export function validatePlaces(uses: readonly (readonly Placed[])[], chunks: readonly number[]): void {
  const first = new Map<Placed, number>(), last = new Map<Placed, number>();
  uses.forEach((values, step) => {
    for (const value of values) {
      if (!first.has(value)) first.set(value, step);
      last.set(value, step);
    }
  });
  for (const { chunk, offset, bytes, name } of first.keys()) {
    if (!(chunk in chunks)) fault("place", name, `lies in chunk ${chunk}, which does not exist`);
    if (offset < 0 || offset % alignment !== 0) fault("place", name, `starts at byte ${offset}`);
    if (offset + bytes > chunks[chunk]) fault("place", name, `ends at byte ${offset + bytes} of ${chunks[chunk]}`);
  }
  // Live values by chunk; few live at once, so that each new one is compared with all of them.
  const live = new Set<Placed>();
  uses.forEach((values, step) => {
    for (const value of values) {
      if (live.has(value)) continue;
      for (const other of live) {
        if (overlap(value, other)) {
          fault("place", value.name, `lies over ${other.name} while both are needed (step ${step})`);
        }
      }
      live.add(value);
    }
    for (const value of values) if (last.get(value) === step) live.delete(value);
  });
}

const overlap = (a: Placed, b: Placed): boolean =>
  a.chunk === b.chunk && a.bytes > 0 && b.bytes > 0 && a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes;
