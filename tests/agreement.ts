/** @file How closely a device must agree with the f64 interpreter, and how tests compare the two. */
import type { Device } from "../backend/runtime.ts";
import { node } from "../dsl/build.ts";
import { type Bounded, evaluateBounded, tolerance } from "../dsl/interpret/bound.ts";
import { roundTo } from "../dsl/half.ts";
import { type Node, topological } from "../dsl/node.ts";
import { isReal, type SampleInput } from "../dsl/primitive.ts";
import { sizeOf } from "../dsl/shape.ts";
import { substitute } from "../dsl/substitute.ts";
import "../dsl/mod.ts";

/** A seeded generator of numbers in [0, 1). */
export function randomNumbers(seed: number): () => number {
  let state = (seed * 2654435761 + 12345) >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

/** Values for one input of a sample; reals are numbers of their storage type: every device starts from the same ones. */
export function drawValues(
  { shape, dtype = "f32", range: [low, high] = [-1, 1] }: SampleInput,
  random: () => number,
): Float64Array {
  return Float64Array.from({ length: sizeOf(shape) }, () => {
    if (dtype === "bool") return random() < 0.5 ? 0 : 1;
    if (dtype === "i32" || dtype === "u32") return Math.floor(low + random() * (high - low + 1));
    return roundTo(dtype, Math.fround(low + random() * (high - low)));
  });
}

/** A program in terms of variables, with a value for each. */
export interface Case {
  readonly parameters: readonly Node[];
  readonly results: readonly Node[];
  readonly values: readonly Float64Array[];
}

/** Results by the interpreter, with how far a device may be from them. */
export const expected = ({ parameters, results, values }: Case): Bounded[] =>
  evaluateBounded(results, new Map(parameters.map((x, i) => [x, { shape: x.shape, data: values[i] }])));

/**
 * The same program with the interpreter's decisions fed in: what rounding could flip (the order of a top-k, how two reals
 * compare) becomes a parameter, for then it is no matter of precision what a device decides.
 */
export function withDecisionsFedIn({ parameters, results, values }: Case): Case {
  const order = topological(results), bounded = expected({ parameters, results: order, values });
  const unsure = order.flatMap((each, i) =>
    !isReal(each) && each.inputs.some(isReal) && bounded[i].error.some((error) => error > 0)
      ? [{ decision: each, data: bounded[i].data }]
      : []
  );
  const fed = unsure.map(({ decision: { shape, dtype } }) => node("variable", [], { shape, dtype, name: "decision" }));
  return {
    parameters: [...parameters, ...fed],
    results: substitute(results, new Map(unsure.map(({ decision }, i) => [decision, fed[i]]))),
    values: [...values, ...unsure.map(({ data }) => data)],
  };
}

/** Results on a device. `donate` gives the program the memory of all parameters. */
export async function onDevice(
  { parameters, results, values }: Case,
  device: Device,
  { fuse = "on", donate = false, largeBytes }: { fuse?: "on" | "off"; donate?: boolean; largeBytes?: number } = {},
): Promise<Float64Array[]> {
  const program = device.build({ parameters, results }, {
    donated: parameters.map(() => donate),
    hosted: parameters.map(() => false),
    fuse,
    poison: true,
    largeBytes,
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

/** How results compare with what was expected. */
export interface Agreement {
  /** Elements that the bound says something about, of all elements. */
  readonly compared: number;
  readonly elements: number;
  /** The largest error, in bounds. */
  readonly worst: number;
  /** Where a value is too far off, in words. */
  readonly fault?: string;
}

/**
 * Compares results with the interpreter's: each element may be `tolerance` bounds off. Elements without a finite bound
 * (and discrete ones that rounding could change) are not compared.
 */
export function agreement(got: readonly ArrayLike<number>[], want: readonly Bounded[]): Agreement {
  let compared = 0, elements = 0, worst = 0, fault: string | undefined;
  want.forEach(({ data, error }, i) => {
    if (got[i].length !== data.length) fault ??= `result ${i} has ${got[i].length} elements, not ${data.length}`;
    data.forEach((value, j) => {
      elements++;
      if (error[j] === Infinity) return;
      compared++;
      const off = Object.is(got[i][j], value) || got[i][j] === value ? 0 : Math.abs(got[i][j] - value);
      if (off > 0 && error[j] > 0) worst = Math.max(worst, off / error[j]);
      if (!(off <= tolerance * error[j])) {
        fault ??= `element ${j} of result ${i} is ${got[i][j]}, expected ${value} ± ${tolerance} · ${error[j]}`;
      }
    });
  });
  return { compared, elements, worst, fault };
}

/** Fails unless every value agrees with the interpreter's, and at least half of them could be compared. */
export function assertAgree(got: readonly ArrayLike<number>[], want: readonly Bounded[], what: string): void {
  const { fault, compared, elements } = agreement(got, want);
  if (fault) throw new Error(`${what}: ${fault}`);
  if (compared * 2 < elements) {
    throw new Error(`${what}: rounding decides ${elements - compared} of ${elements} elements`);
  }
}

/** Fails unless two runs gave the same bits. */
export function assertSameBits(again: readonly Float64Array[], first: readonly Float64Array[], what: string): void {
  again.forEach((result, i) => {
    if (result.some((value, j) => !Object.is(value, first[i][j]))) {
      throw new Error(`${what}: result ${i} has other bits`);
    }
  });
}
