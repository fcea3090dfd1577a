/** @file A second reader of safetensors, for golden files: it shares no code with what it tests. */

/** A tensor of a golden file. */
export interface GoldenTensor {
  readonly shape: readonly number[];
  readonly values: Float64Array;
}

/** Every tensor of a safetensors file (F32 and I64). */
export function readSafetensors(path: string): Map<string, GoldenTensor> {
  const bytes = Deno.readFileSync(path), view = new DataView(bytes.buffer, bytes.byteOffset);
  const headerBytes = Number(view.getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + headerBytes))) as Record<
    string,
    { dtype: string; shape: number[]; data_offsets: [number, number] }
  >;
  const tensors = new Map<string, GoldenTensor>();
  delete header.__metadata__;
  for (const [name, { dtype, shape, data_offsets: [start, end] }] of Object.entries(header)) {
    const base = 8 + headerBytes + start, width = dtype === "I64" ? 8 : 4;
    if (dtype !== "F32" && dtype !== "I64") throw new Error(`${path}: ${name} is ${dtype}`);
    const values = Float64Array.from(
      { length: (end - start) / width },
      (_, i) =>
        dtype === "I64" ? Number(view.getBigInt64(base + i * width, true)) : view.getFloat32(base + i * width, true),
    );
    tensors.set(name, { shape, values });
  }
  return tensors;
}
