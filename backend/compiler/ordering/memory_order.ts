/** @file Orders units so that little memory is in use at a time. */
import { NodeMap } from "../../../dsl/graph/node_map.ts";
import type { Node } from "../../../dsl/node.ts";
import { bytesOf } from "../place.ts";
import { inOrder } from "./ready.ts";
import type { Traffic } from "./traffic.ts";

/** So small a part of a program's largest value never matters: a vector that an update waits for is computed at once. */
const littlePart = 256;

/** The order in which memory is filled and freed: what frees it goes first, then what was written first. */
export function memoryOrder(traffic: Traffic, inPlace: ReadonlyMap<Node, Node>): number[] {
  const { byAge, before, readers } = traffic, { left, grows, allowed, isFreed } = growthOf(traffic, inPlace);
  /** Does it need little memory beside what it frees, or sum up something large that then can go? */
  const isPreferred = (unit: number): boolean => grows[unit] <= allowed[unit];
  const done = new Uint8Array(byAge.length);
  const order = inOrder(before, {
    isPreferred,
    after: (unit) => {
      const more: number[] = [];
      done[unit] = 1;
      for (const node of byAge[unit].reads) {
        const times = left.get(node)! - 1;
        left.set(node, times);
        if (times !== 1 || !isFreed(node)) continue;
        const last = readers.get(node)!.find((reader) => !done[reader])!, already = isPreferred(last);
        grows[last] -= bytesOf(node);
        if (!already && isPreferred(last)) more.push(last);
      }
      return more;
    },
  });
  if (order.length !== byAge.length) throw new Error("kernels wait for each other: grouping made a cycle");
  return order;
}

/** How memory grows. */
interface Growth {
  /** How often a value is still to be read. */
  readonly left: NodeMap<number>;
  /** Bytes by which memory grows when a unit runs, */
  readonly grows: Float64Array;
  /** and what it may grow by. */
  readonly allowed: Float64Array;
  /** Does a value's memory become free when all have read it? */
  readonly isFreed: (node: Node) => boolean;
}

/** How memory grows with each unit, before any has run. */
function growthOf({ nodes, roots, byAge, writer, readers }: Traffic, inPlace: ReadonlyMap<Node, Node>): Growth {
  const largest = byAge.reduce((most, { writes }) => Math.max(most, ...writes.map(bytesOf)), 2 ** 24);
  const little = largest / littlePart, left = new NodeMap<number>(nodes);
  const grows = new Float64Array(byAge.length), allowed = new Float64Array(byAge.length);
  const isFreed = (node: Node): boolean => writer.has(node) && !roots.has(node);
  byAge.forEach(({ writes, reads }, number) => {
    let largestFreed = 0;
    for (const node of writes) if (!inPlace.has(node) && !roots.has(node)) grows[number] += bytesOf(node);
    for (const node of reads) {
      const times = readers.get(node)!.length;
      left.set(node, times);
      if (!isFreed(node)) continue;
      largestFreed = Math.max(largestFreed, bytesOf(node));
      if (times === 1) grows[number] -= bytesOf(node);
    }
    allowed[number] = Math.max(little, largestFreed / 16);
  });
  return { left, grows, allowed, isFreed };
}
