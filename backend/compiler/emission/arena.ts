/** @file The arena of a plan: how long each value and each shader's scratch memory lives in it, and where. */
import type { Node } from "../../../dsl/node.ts";
import { type Stopwatch, timed } from "../explain/stopwatch.ts";
import { bytesOf, type Lifetime, type Place, place } from "../place.ts";
import { isNodeMemory, type Scratch, type Step } from "../step.ts";
import { describe } from "../validate/fault.ts";
import { type Placed, validatePlaces } from "../validate/place.ts";

/** Values, and where they lie. */
export interface Arena {
  /** Bytes of each chunk. */
  readonly chunks: readonly number[];
  /** All that lives in it, in the order of first use, without shaders' scratch memory. */
  readonly values: readonly (Node | Scratch)[];
  readonly placeOf: ReadonlyMap<Node | Scratch, Place>;
  /** Where the scratch memory of shaders lies. */
  readonly scratch: readonly Place[];
}

/** How an arena is laid out. */
export interface ArenaOptions {
  /** The memory that a slot's memory is part of. */
  readonly owner: (memory: Node | Scratch) => Node | Scratch;
  /** Does it lie elsewhere (an argument)? */
  readonly isElsewhere: (memory: Node | Scratch) => boolean;
  readonly maxChunkBytes: number;
  readonly validate?: boolean;
  readonly watch?: Stopwatch;
}

const bytesIn = (memory: Node | Scratch): number => isNodeMemory(memory) ? bytesOf(memory) : memory.bytes;

/** Places what steps make for each other, and the scratch memory of shaders. */
export function arenaOf(steps: readonly Step[], scratch: readonly Lifetime[], options: ArenaOptions): Arena {
  const { owner, isElsewhere, maxChunkBytes, validate, watch } = options;
  const lifetimes = new Map<Node | Scratch, { from: number; until: number }>();
  steps.forEach(({ slots }, step) => {
    for (const slot of slots) {
      const memory = owner(slot.memory), known = lifetimes.get(memory);
      if (isElsewhere(memory)) continue;
      if (known) known.until = step;
      else lifetimes.set(memory, { from: step, until: step });
    }
  });
  const living = [...lifetimes];
  const all = [...living.map(([memory, lifetime]) => ({ bytes: bytesIn(memory), ...lifetime })), ...scratch];
  const { places, chunks } = timed(watch, "place", () => place(all, maxChunkBytes));
  const arena = {
    chunks,
    values: living.map(([memory]) => memory),
    placeOf: new Map(living.map(([memory], i) => [memory, places[i]])),
    scratch: places.slice(living.length),
  };
  if (validate) check(arena, steps, scratch, owner);
  return arena;
}

/** @throws Error when two values lie over each other while both are needed */
function check(
  { chunks, placeOf, scratch: places }: Arena,
  steps: readonly Step[],
  scratch: readonly Lifetime[],
  owner: ArenaOptions["owner"],
): void {
  const known = new Map<Node | Scratch, Placed>();
  for (const [memory, place] of placeOf) {
    const name = isNodeMemory(memory) ? describe(memory) : "a loop's scratch memory";
    known.set(memory, { ...place, bytes: bytesIn(memory), name });
  }
  const shaders = scratch.map(({ from, bytes }, i) => ({
    from,
    value: { ...places[i], bytes, name: "a shader's scratch memory" },
  }));
  const uses = steps.map(({ slots }, step) => [
    ...new Set(slots.flatMap(({ memory }) => known.get(owner(memory)) ?? [])),
    ...shaders.filter(({ from }) => from === step).map(({ value }) => value),
  ]);
  validatePlaces(uses, chunks);
}
