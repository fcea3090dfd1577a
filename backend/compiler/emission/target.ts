/** @file What the compiler has to know of a kind of device, beside the limits that `Capabilities` names. */
import type { Capabilities } from "../../device.ts";
import type { HandingOn } from "../panels.ts";

/** What kernels become, and what they may do. */
export interface Target {
  /** Kernels stay data that the library's loops run, or become shaders. */
  readonly language: "data" | "wgsl";
  /** May a product add to what its memory holds? */
  readonly accumulates: boolean;
  /** Bytes that a binding's beginning is a multiple of. */
  readonly windowAlignment: number;
  /** What products hand on to the loops behind them. */
  readonly handsOn: HandingOn["unit"];
}

const processor: Target = { language: "data", accumulates: true, windowAlignment: 4, handsOn: "rows" };
const graphics: Target = { language: "wgsl", accumulates: false, windowAlignment: 256, handsOn: "elements" };
const targets: Readonly<Record<Capabilities["kind"], Target>> = { cpu: processor, wgpu: graphics, webgpu: graphics };

/** What is compiled for on a device. */
export const targetOf = ({ kind }: Capabilities): Target => targets[kind];
