/** @file wgpu with sizes of tiles and workgroups that a tuner might try. */
import { openNative } from "../../backend/device.ts";
import { PlannedDevice, type PlanRunner } from "../../backend/plans/device.ts";
import type { Tuning } from "../../backend/compiler/wgsl/templates/tuning.ts";

const direct = { engine: "direct", lanes: 8, own: [8, 16], smallOwn: [4, 4], small: 0 } as const;
const tiles = { engine: "tiles", side: 64, depth: 16, largeFrom: Infinity, largeDepth: 8, fewRows: 0 } as const;

/** What a tuner might try, the odd and the extreme among it. */
export const tunings: Readonly<Record<string, Partial<Tuning>>> = {
  "direct, one lane, 1 × 4": { product: { ...direct, lanes: 1, own: [1, 4] }, workgroup: 1, team: 1 },
  "direct, 4 lanes, 3 × 8": { product: { ...direct, lanes: 4, own: [3, 8] }, workgroup: 32, team: 2, rowsAlone: 1 },
  "direct, 32 lanes, 8 × 32": {
    product: { ...direct, lanes: 32, own: [8, 32] },
    workgroup: 64,
    team: 64,
    rowsAlone: 1e9,
  },
  "tiles of 16, depth 4": { product: { ...tiles, side: 16, depth: 4 }, workgroup: 128, team: 8, rowsAlone: 7 },
  "tiles of 32, depth 1": { product: { ...tiles, side: 32, depth: 1 }, workgroup: 16, team: 2, rowsAlone: 1e9 },
  "tiles of 64, depth 20": { product: { ...tiles, depth: 20 }, workgroup: 256, team: 128, rowsAlone: 1e9 },
  "tiles of 128, depth 6": { product: { ...tiles, largeFrom: 1, largeDepth: 6 }, rowsAlone: 1 },
  "teams for all products": { product: { ...tiles, fewRows: 1e9 }, workgroup: 64, team: 16, rowsAlone: 1e9 },
};

/** A wgpu device with a tuning of the caller's. */
export function tuned(name: `wgpu:${string}` | "wgpu", tuning: Partial<Tuning>): PlannedDevice {
  const native = openNative(name);
  const runner: PlanRunner = {
    capabilities: { ...native.capabilities, tuning },
    allocate: (bytes) => native.allocate(bytes),
    free: (buffer) => native.free(buffer),
    write: (buffer, data, offset) => native.write(buffer, data, offset),
    read: (buffer, into, offset) => native.read(buffer, into, offset),
    load: (plan) => native.load(plan),
    run: (plan, handles, upload) => native.run(plan, handles, upload),
    status: () => native.status(),
    profile: (plan) => native.profile(plan),
    memory: () => native.memory(),
    close: () => native.close(),
  };
  return new PlannedDevice(runner);
}
