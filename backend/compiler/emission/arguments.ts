/** @file A plan's arguments: the parameters, captured leaves and results of a program, and which buffer each is. */
import type { Node } from "../../../dsl/node.ts";
import type { Program } from "../../runtime.ts";
import type { Plan, PlanBuffer } from "../kernel.ts";
import { isArgument } from "../kinds.ts";
import { bytesOf } from "../place.ts";
import { isNodeMemory, type Steps } from "../step.ts";

/** What stands behind one of the plan's arguments. */
export type ArgumentSource =
  | { readonly kind: "parameter"; readonly position: number }
  | { readonly kind: "captured"; readonly leaf: Node }
  | { readonly kind: "result"; readonly position: number };

/** Everything that is given to a plan, or made for its caller. */
export interface Arguments {
  readonly sources: readonly ArgumentSource[];
  readonly given: Plan["arguments"];
  /** Bytes of the upload, and where each hosted parameter lies in it. */
  readonly upload: number;
  readonly uploads: ReadonlyMap<number, number>;
  /** The plan's first buffers, and which of them a value is. */
  readonly buffers: readonly PlanBuffer[];
  readonly bufferOf: ReadonlyMap<Node, number>;
  /** Where each result lies. */
  readonly results: readonly number[];
}

/**
 * The arguments of a program's plan. A parameter that no step reads is none.
 *
 * @param memoryOf the value in whose memory another one is written
 * @param hosted for each parameter: does it come from the host with every call?
 */
export function argumentsOf(
  { parameters }: Program,
  results: readonly Node[],
  { steps }: Steps,
  memoryOf: (node: Node) => Node,
  hosted: readonly boolean[],
): Arguments {
  const sources: ArgumentSource[] = [], given: { bytes: number; mode: "in" | "out" }[] = [];
  const buffers: PlanBuffer[] = [], bufferOf = new Map<Node, number>(), uploads = new Map<number, number>();
  const argument = (source: ArgumentSource, node: Node, mode: "in" | "out"): number => {
    const index = sources.push(source) - 1, bytes = bytesOf(node);
    given.push({ bytes, mode });
    bufferOf.set(node, buffers.push({ at: "argument", index, bytes }) - 1);
    return index;
  };
  // What is written in place is read only through its result: the argument behind it counts as used.
  const used = new Set<Node>();
  for (const { slots } of steps) {
    for (const { memory } of slots) if (isNodeMemory(memory)) used.add(memory).add(memoryOf(memory));
  }
  let upload = 0;
  parameters.forEach((parameter, position) => {
    if (!used.has(parameter)) return;
    if (!hosted[position]) return void argument({ kind: "parameter", position }, parameter, "in");
    const bytes = bytesOf(parameter);
    bufferOf.set(parameter, buffers.push({ at: "upload", offset: upload, bytes }) - 1);
    uploads.set(position, upload);
    upload += Math.ceil(Math.max(4, bytes) / 256) * 256;
  });
  for (const node of used) {
    if (isArgument(node) && !bufferOf.has(node)) argument({ kind: "captured", leaf: node }, node, "in");
  }
  const places = results.map((result, position) => {
    const memory = memoryOf(result), known = bufferOf.get(memory);
    if (memory !== result && known !== undefined) {
      const buffer = buffers[known];
      if (buffer.at === "argument") return buffer.index;
    }
    // What is written in place lies where it was made: in the result's buffer from the start.
    return argument({ kind: "result", position }, memory, "out");
  });
  return { sources, given, upload, uploads, buffers, bufferOf, results: places };
}
