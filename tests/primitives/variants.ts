/** @file Samples on other sizes, storage types and values, derived from a primitive's own samples. */
import { node } from "../../dsl/build.ts";
import type { Attributes, Node, Op } from "../../dsl/node.ts";
import { type Primitive, registerType, type Sample, type SampleInput } from "../../dsl/primitive.ts";
import { axesOf, type Shape, sizeOf } from "../../dsl/shape.ts";
import type { DType } from "../../dsl/tensor.ts";

/** A sample changed in one way, which its name tells. */
export interface Variant {
  readonly name: string;
  readonly sample: Sample<Op>;
}

/** Sizes at which loops, vectors and workgroups end early. */
export const edgeSizes = [0, 1, 17, 31] as const;
/** More rows than a GPU has workgroups along one dimension (and a prime). */
export const manyRows = 65_537;

const isSizes = (value: unknown): value is Shape =>
  typeof value === "object" && value !== null && !Array.isArray(value) &&
  Object.values(value).every((each) => typeof each === "number");

/** The attributes of the same operation where `axis` has another size. */
function resizedAttributes(attributes: Attributes[Op], axis: string, size: number): Attributes[Op] {
  const changed = Object.entries(attributes).map(([name, value]: [string, unknown]) => {
    if (isSizes(value) && axis in value) return [name, { ...value, [axis]: size }];
    const names = attributes as { readonly axis?: string; readonly slot?: string };
    if ((name === "size" && names.axis === axis) || (name === "count" && names.slot === axis)) return [name, size];
    return [name, value];
  });
  return Object.fromEntries(changed) as Attributes[Op];
}

/** The index that points nowhere; what is written must lie somewhere. */
const nowhere = (op: Op): number => op === "write" ? 0 : -1;

/** Indices into an axis of another size: none beyond its end, or only "nothing" where it is empty. */
function resizedInput(
  op: Op,
  input: SampleInput,
  attributes: Attributes[Op],
  axis: string,
  size: number,
): SampleInput {
  const shape = axis in input.shape ? { ...input.shape, [axis]: size } : input.shape;
  const { range: [low, high] = [-1, 1], dtype } = input;
  if (dtype !== "i32" || (attributes as { axis?: string }).axis !== axis) return { ...input, shape };
  if (size > 0) return { ...input, shape, range: [low, Math.min(high, 0)] };
  return { ...input, shape, range: axesOf(shape).length > 0 ? [nowhere(op), nowhere(op)] : [0, 0] };
}

function resized(op: Op, sample: Sample<Op>, axis: string, size: number): Sample<Op> {
  const attributes = resizedAttributes(sample.attributes, axis, size);
  return { ...sample, attributes, inputs: sample.inputs.map((x) => resizedInput(op, x, attributes, axis, size)) };
}

/** Every axis that a sample's inputs or result have. */
function axesOfSample({ inputs, attributes }: Sample<Op>): string[] {
  const made = attributes as { shape?: Shape; axis?: string; size?: number; slot?: string };
  const named = [made.size === undefined ? undefined : made.axis, made.slot].filter((axis) => axis !== undefined);
  return [...new Set([...inputs.flatMap(({ shape }) => axesOf(shape)), ...axesOf(made.shape ?? {}), ...named])];
}

/** The node of a sample, or undefined where the primitive's type refuses it. */
function typed(op: Op, { inputs, attributes }: Sample<Op>): Node | undefined {
  const parameters = inputs.map(({ shape, dtype = "f32" }) => node("variable", [], { shape, dtype, name: "x" }));
  try {
    return node(op, parameters, attributes);
  } catch (error) {
    if (error instanceof TypeError) return undefined;
    throw error;
  }
}

const accepted = (op: Op, variants: readonly Variant[]): Variant[] =>
  variants.filter(({ sample }) => typed(op, sample) !== undefined);

/** Samples small enough to be changed in many ways. */
const small = ({ samples }: Primitive<Op>): readonly Sample<Op>[] =>
  samples.filter(({ inputs }) => inputs.every(({ shape }) => sizeOf(shape) < 200));

/** Every axis of every (small) sample at every edge size, where the primitive allows it. */
export const sizeVariants = (primitive: Primitive<Op>): Variant[] =>
  accepted(
    primitive.op,
    small(primitive).flatMap((sample, i) =>
      axesOfSample(sample).flatMap((axis) =>
        edgeSizes.map((size) => ({
          name: `sample ${i}, ${axis}:${size}`,
          sample: resized(primitive.op, sample, axis, size),
        }))
      )
    ),
  );

/** The first axis of the first sample that allows it, with many rows. */
export const longVariants = (primitive: Primitive<Op>): Variant[] =>
  accepted(
    primitive.op,
    small(primitive).flatMap((sample) =>
      axesOfSample(sample).map((axis) => ({
        name: `${axis}:${manyRows}`,
        sample: resized(primitive.op, sample, axis, manyRows),
      }))
    ),
  ).slice(0, 1);

/** The first sample that allows it in another storage type, all reals (or all whole numbers) at once. */
export const storageVariants = ({ op, samples }: Primitive<Op>, types: readonly DType[]): Variant[] =>
  types.flatMap((dtype) =>
    accepted(
      op,
      samples.flatMap((sample) => {
        const inputs = sample.inputs.map((input) => stored(input, dtype));
        const changed = inputs.some((input, i) => input !== sample.inputs[i]);
        return changed ? [{ name: dtype, sample: { ...sample, inputs, valuesOnly: true } }] : [];
      }),
    ).slice(0, 1)
  );

/** An input in another storage type: reals in one for reals, whole numbers that are not negative in u32. */
function stored(input: SampleInput, dtype: DType): SampleInput {
  const { dtype: from = "f32", range: [low, high] = [-1, 1] } = input;
  if (from === dtype || from === "bool" || dtype === "bool") return input;
  if ((registerType(from) === "f32") !== (registerType(dtype) === "f32")) return input;
  return dtype === "u32" ? { ...input, dtype, range: [Math.max(0, low), Math.max(0, high)] } : { ...input, dtype };
}

/** Samples whose indices all point to group 0, so that every other group is empty; and to none. */
export const groupVariants = ({ op, samples }: Primitive<Op>): Variant[] =>
  accepted(
    op,
    samples.flatMap((sample, i) =>
      "groups" in sample.attributes || "axis" in sample.attributes
        ? [...new Set([0, nowhere(op)])].flatMap((index): Variant[] => {
          const points = sample.inputs.map((x) =>
            x.dtype === "i32" && axesOf(x.shape).length > 0 ? { ...x, range: [index, index] as const } : x
          );
          return points.some((x, j) => x !== sample.inputs[j])
            ? [{ name: `sample ${i}, all indices ${index}`, sample: { ...sample, inputs: points } }]
            : [];
        })
        : []
    ),
  );
