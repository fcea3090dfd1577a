/** @file Sizes of tiles and workgroups: one record, which changes how fast shaders are and never what they compute. */
import type { Capabilities } from "../../../device.ts";

/**
 * Products straight from memory, for drivers in software: each invocation keeps a block of sums. What counts there is the
 * number of load instructions (each is a loop over lanes); workgroup memory and barriers save none.
 */
export interface DirectProduct {
  readonly engine: "direct";
  /** Invocations of a workgroup: the driver's vector width. A power of two. */
  readonly lanes: number;
  /** Rows and columns per invocation; columns are 4 times a power of two. */
  readonly own: readonly [rows: number, columns: number];
  /** The same for products of up to `small` multiplications, where compiling a large block takes longer than it saves. */
  readonly smallOwn: readonly [rows: number, columns: number];
  readonly small: number;
}

/** Products through tiles in workgroup memory, for GPUs: 4 × 4 sums per invocation, or 8 × 8 where work abounds. */
export interface TiledProduct {
  readonly engine: "tiles";
  /** Rows and columns of a tile, at most: 16, 32 or 64. */
  readonly side: 16 | 32 | 64;
  /** Depth of the tiles. */
  readonly depth: number;
  /** From so many tiles of 128 × 128 on, with 8 × 8 sums per invocation; Infinity: never. */
  readonly largeFrom: number;
  readonly largeDepth: number;
  /** Up to so many rows (or columns) a team of lanes computes each element instead. */
  readonly fewRows: number;
}

/** How shaders divide their work. */
export interface Tuning {
  /** Invocations of a workgroup where nothing else decides. A power of two, as `team`. */
  readonly workgroup: number;
  /** Lanes that may share one row of a reduction. */
  readonly team: number;
  /** From so many rows on, every row of a reduction has one lane. */
  readonly rowsAlone: number;
  readonly product: DirectProduct | TiledProduct;
}

/** Barriers are dear there, and two to a few dozen cores with eight lanes each are soon busy. */
const software: Tuning = {
  workgroup: 256,
  team: 256,
  rowsAlone: 64,
  product: { engine: "direct", lanes: 8, own: [8, 16], smallOwn: [4, 4], small: 2 ** 21 },
};

const hardware: Tuning = {
  workgroup: 256,
  team: 256,
  rowsAlone: 16384,
  product: { engine: "tiles", side: 64, depth: 16, largeFrom: 96, largeDepth: 8, fewRows: 4 },
};

/** Largest power of two that is no greater. */
export function floorPower(value: number): number {
  return 2 ** Math.floor(Math.log2(Math.max(1, value)));
}

/** The adapter's tuning: its own if it has one, else that of its kind, within its limits. */
export function tuningOf(capabilities: Capabilities): Tuning {
  const { maxWorkgroupSize, software: inSoftware, tuning } = capabilities;
  const wanted: Tuning = { ...(inSoftware ? software : hardware), ...tuning };
  const most = floorPower(maxWorkgroupSize), { product } = wanted;
  return {
    ...wanted,
    workgroup: Math.min(wanted.workgroup, most),
    team: Math.min(wanted.team, wanted.workgroup, most),
    product: product.engine === "direct" || most >= 256 ? product : {
      ...product,
      // 64 × 64 sums take 256 invocations, as do 128 × 128.
      side: product.side === 64 ? 32 : product.side,
      largeFrom: Infinity,
    },
  };
}
