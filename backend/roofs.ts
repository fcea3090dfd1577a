/**
 * @file What a device reaches at best, measured with our own kernels: FLOP/s in products of matrices, bytes/s in
 * copying. A measurement is kept in the user's cache, one file for each device.
 */
import { createHash } from "node:crypto";
import { dirname, join } from "node:path";
import { add, type AnyTensor, contract, type Tensor, tensor } from "../dsl/mod.ts";
import { nodeOf } from "../dsl/tensor.ts";
import { userCache } from "./cache.ts";
import { compile, free, put } from "./compile.ts";
import type { Roofs } from "./compiler/explain/explain.ts";
import type { Capabilities } from "./device.ts";
import type { Device } from "./runtime.ts";

/** A device's roofs, and when they were measured. */
export interface MeasuredRoofs extends Roofs {
  /** Name of the processor or adapter. */
  readonly name: string;
  /** When, as an ISO date. */
  readonly measured: string;
}

/** Rows, inner size and columns of the products: the widest and two of training's. */
const shapes = {
  fast: [[1024, 1024, 1024], [512, 1376, 512], [2048, 512, 1376]],
  software: [[256, 256, 256]],
} as const;
/** Elements that are copied: more than caches hold. */
const elements = { fast: 1 << 25, software: 1 << 22 } as const;
const rounds = 5;

type Left = Tensor<"row" | "inner">;
type Right = Tensor<"inner" | "column">;

/** Seconds of the best of some calls, by the device's own clock, or between two waits for it where it has none. */
async function best<P extends readonly AnyTensor[]>(
  f: (...args: P) => AnyTensor,
  first: P,
  device: Device,
  inPlace = false,
): Promise<number> {
  const run = compile(f, device, { timed: true, donate: inPlace ? [0] : [] }), executable = run.executable(...first);
  let seconds = Infinity, args = first;
  for (let round = 0; round <= rounds; round++) {
    executable.restart();
    const began = performance.now(), result = await run(...args);
    // Reading waits for the device: its time counts only where there is no other clock.
    await device.read(nodeOf(result));
    const elapsed = (performance.now() - began) / 1e3, { timed, kernels } = executable.report();
    if (inPlace) args = [result] as unknown as P;
    else free(result, device);
    const took = timed ? kernels.reduce((sum, { seconds = 0 }) => sum + seconds, 0) : elapsed;
    // The first call warms up.
    if (round > 0) seconds = Math.min(seconds, took);
  }
  if (inPlace) free(args, device);
  return seconds;
}

/** Ones in the device's memory. */
const ones = <A extends string>(shape: { readonly [N in A]: number }, device: Device): Tensor<A> =>
  put(tensor(shape, new Float32Array(Object.values<number>(shape).reduce((a, b) => a * b, 1)).fill(1)), device);

/** Measures a device's roofs: a second or two of work. */
async function measureRoofs(device: Device, { name, software }: Capabilities): Promise<MeasuredRoofs> {
  const size = software ? "software" : "fast";
  let flopsPerSecond = 0;
  for (const [row, inner, column] of shapes[size]) {
    const left = ones({ row, inner }, device), right = ones({ inner, column }, device);
    const seconds = await best((x: Left, y: Right) => contract(x, y, "inner"), [left, right], device);
    flopsPerSecond = Math.max(flopsPerSecond, 2 * row * inner * column / seconds);
    free([left, right], device);
  }
  // In place: fresh memory for each result would measure the system's pages instead.
  const next = (x: Tensor<"place">): Tensor<"place"> => add(x, 1);
  const seconds = await best(next, [ones({ place: elements[size] }, device)], device, true);
  return {
    name,
    flopsPerSecond,
    bytesPerSecond: 8 * elements[size] / seconds,
    measured: new Date().toISOString(),
  };
}

/**
 * A device's roofs from the cache, or measured now and kept there.
 *
 * @param remeasure measure in any case
 */
export async function roofsOf(
  device: Device,
  capabilities: Capabilities,
  { remeasure = false }: { readonly remeasure?: boolean } = {},
): Promise<MeasuredRoofs> {
  const { kind, name, software } = capabilities;
  const key = createHash("sha256").update(JSON.stringify([1, kind, name, software])).digest("hex").slice(0, 16);
  const path = join(userCache(), "roofs", `${key}.json`);
  const known = remeasure ? undefined : readRoofs(path);
  if (known) return known;
  const measured = await measureRoofs(device, capabilities);
  try {
    Deno.mkdirSync(dirname(path), { recursive: true });
    Deno.writeTextFileSync(path, JSON.stringify(measured));
  } catch (error) {
    // A cache that cannot be written costs the next command a second.
    if (!(error instanceof Deno.errors.PermissionDenied || error instanceof Deno.errors.NotCapable)) throw error;
  }
  return measured;
}

function readRoofs(path: string): MeasuredRoofs | undefined {
  try {
    const found: MeasuredRoofs = JSON.parse(Deno.readTextFileSync(path));
    return found.flopsPerSecond > 0 && found.bytesPerSecond > 0 ? found : undefined;
  } catch {
    // Absent or cut short: it is measured again.
    return undefined;
  }
}
