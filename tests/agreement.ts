/** @file How closely a device must agree with the f64 interpreter, and how tests compare the two. */
import type { Device } from "../backend/runtime.ts";
import { node } from "../dsl/build.ts";
import { evaluate } from "../dsl/interpret.ts";
import type { Node } from "../dsl/node.ts";
import type { SampleInput } from "../dsl/primitive.ts";
import { sizeOf } from "../dsl/shape.ts";
import "../dsl/mod.ts";

/** A seeded generator of numbers in [0, 1). */
export function randomNumbers(seed: number): () => number {
  let state = (seed * 2654435761 + 12345) >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

/** Values for one input of a sample; reals are f32 numbers, so that every device starts from the same ones. */
export function drawValues(
  { shape, dtype = "f32", range: [low, high] = [-1, 1] }: SampleInput,
  random: () => number,
): Float64Array {
  return Float64Array.from({ length: sizeOf(shape) }, () => {
    if (dtype === "bool") return random() < 0.5 ? 0 : 1;
    if (dtype === "i32" || dtype === "u32") return Math.floor(low + random() * (high - low + 1));
    return Math.fround(low + random() * (high - low));
  });
}

/** A program in terms of variables, with a value for each. */
export interface Case {
  readonly parameters: readonly Node[];
  readonly results: readonly Node[];
  readonly values: readonly Float64Array[];
}

/** Results by the interpreter. */
export const expected = ({ parameters, results, values }: Case): Float64Array[] =>
  evaluate(results, new Map(parameters.map((x, i) => [x, { shape: x.shape, data: values[i] }]))).map(({ data }) =>
    data
  );

/** Results on a device. `donate` gives the program the memory of all parameters. */
export async function onDevice(
  { parameters, results, values }: Case,
  device: Device,
  { fuse = "on", donate = false }: { fuse?: "on" | "off"; donate?: boolean } = {},
): Promise<Float64Array[]> {
  const program = device.build({ parameters, results }, {
    donated: parameters.map(() => donate),
    hosted: parameters.map(() => false),
    fuse,
    poison: true,
  });
  const args = parameters.map((x, i) =>
    device.put(node("data", [], { shape: x.shape, dtype: x.dtype, values: values[i] }))
  );
  const made = await program.run(args);
  const read: Float64Array[] = [];
  for (const x of made) read.push(Float64Array.from(await device.read(x)));
  for (const x of [...made, ...args]) if (!donate || made.includes(x)) device.free(x);
  return read;
}

/**
 * Fails unless every value lies within `tolerance` of the wanted one, relative to the largest of its tensor.
 *
 * @param floor what sums in the program are made of: where they cancel to nothing, rounding of this size remains
 */
export function assertAgree(
  got: readonly Float64Array[],
  want: readonly Float64Array[],
  tolerance: number,
  what: string,
  floor = 1e-6,
): void {
  want.forEach((wanted, i) => {
    if (got[i].length !== wanted.length) {
      throw new Error(`${what}: result ${i} has ${got[i].length} elements, not ${wanted.length}`);
    }
    const scale = wanted.reduce((most, value) => Math.max(most, Number.isFinite(value) ? Math.abs(value) : 0), floor);
    wanted.forEach((value, j) => {
      const error = Object.is(got[i][j], value) || got[i][j] === value ? 0 : Math.abs(got[i][j] - value) / scale;
      if (!(error <= tolerance)) {
        throw new Error(
          `${what}: element ${j} of result ${i} is ${got[i][j]}, expected ${value} (${
            error.toExponential(1)
          } of ${scale})`,
        );
      }
    });
  });
}
