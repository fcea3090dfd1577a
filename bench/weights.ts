/**
 * @file Weights and tokens by formula: every program, in whatever language, makes the same ones, so that losses can be
 * compared and nothing needs to be stored. `peers/formula.py` is its twin.
 */
import type { ModelConfig } from "../recipes/convert/config.ts";
import { type AnyModel, layout, type Leaf, sizeOf, treeOf } from "../recipes/model/layout.ts";
import { nodeOf, tensorOf } from "../dsl/tensor.ts";
import type { Device } from "../backend/runtime.ts";
import type { HostBatch } from "../recipes/model/batch.ts";
import type { Storage } from "./case.ts";

/** A 32-bit FNV-1a hash of a name. */
function seedOf(name: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193);
  return hash >>> 0;
}

/** The i-th of a seed's numbers, 32 bits. */
function mixed(i: number, seed: number): number {
  let x = (Math.imul(i, 0x9e3779b1) + seed) | 0;
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return (x ^ (x >>> 16)) >>> 0;
}

/** `count` numbers between −size and size. */
export function uniform(name: string, count: number, size: number): Float32Array<ArrayBuffer> {
  const seed = seedOf(name), out = new Float32Array(count);
  for (let i = 0; i < count; i++) out[i] = (mixed(i, seed) / 2 ** 31 - 1) * size;
  return out;
}

/** Deviation 0.02 for all, less for what is added to the residual stream; norms are 1. */
const sizeFor = (leaf: Leaf, config: ModelConfig): number => {
  const out = leaf.columns.includes("hidden") || leaf.columns.includes("head");
  return 0.02 * Math.sqrt(3) / (out ? Math.sqrt(2 * config.layers) : 1);
};

/** Values of a leaf's tensor `name`, in Hugging Face's order. */
const valuesOf = (leaf: Leaf, name: string, config: ModelConfig): Float32Array<ArrayBuffer> => {
  const count = sizeOf(leaf) / leaf.names.length;
  return leaf.columns.length === 0 ? new Float32Array(count).fill(1) : uniform(name, count, sizeFor(leaf, config));
};

/** A model in a device's memory. */
export function modelOf(config: ModelConfig, device: Device, storage: Storage = "f32"): AnyModel {
  return treeOf(layout(config), (leaf) => {
    const place = device.allocate(leaf.shape, leaf.columns.length > 0 ? storage : "f32"),
      piece = sizeOf(leaf) / leaf.names.length;
    leaf.names.forEach((name, i) => device.write(nodeOf(tensorOf(place)), valuesOf(leaf, name, config), i * piece));
    return tensorOf(place);
  });
}

/** Tokens, each of which should be followed by the next one of its row. */
export function batchOf(config: ModelConfig, rows: number, length: number): HostBatch {
  const seed = seedOf("tokens"), tokens = new Int32Array(rows * length);
  for (let i = 0; i < tokens.length; i++) tokens[i] = mixed(i, seed) % config.vocabSize;
  const labels = Int32Array.from(tokens, (_, i) => i % length === length - 1 ? -1 : tokens[i + 1]);
  return { rows, length, tokens, labels };
}
