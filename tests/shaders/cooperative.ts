/**
 * @file Cooperative matrices for drivers that have none: adapters' records, and a rewriting of shaders in which each of
 * the four operations becomes plain loops of a subgroup's invocations. All other lines of a shader stay as they are.
 */
import type { Capabilities, CooperativeMatrices } from "../../backend/device.ts";

const square = (size: number, operands: "f16" | "f32", sums: "f16" | "f32"): CooperativeMatrices => ({
  m: size,
  n: size,
  k: size,
  operands,
  sums,
});

const common = { kind: "wgpu", software: false, maxBindingBytes: 2 ** 27, maxBufferBytes: 2 ** 30 } as const;

/** GPUs with matrix units, as their drivers describe them: Vulkan's of NVIDIA, of AMD, and Metal's. */
export const cooperativeAdapters: readonly Capabilities[] = [
  {
    ...common,
    name: "matrices of 16",
    memoryBytes: 2 ** 34,
    maxBindings: 64,
    maxWorkgroupSize: 1024,
    workgroupMemoryBytes: 49152,
    cooperativeMatrices: [
      { m: 16, n: 8, k: 16, operands: "f16", sums: "f32" },
      square(16, "f16", "f16"),
      square(16, "f16", "f32"),
    ],
    subgroupSizes: [32, 32],
  },
  {
    ...common,
    name: "subgroups of two sizes",
    memoryBytes: 2 ** 34,
    maxBindings: 64,
    maxWorkgroupSize: 1024,
    workgroupMemoryBytes: 32768,
    cooperativeMatrices: [square(16, "f16", "f32")],
    subgroupSizes: [32, 64],
  },
  {
    ...common,
    name: "matrices of 8",
    memoryBytes: 2 ** 33,
    maxBindings: 31,
    maxWorkgroupSize: 1024,
    workgroupMemoryBytes: 32768,
    cooperativeMatrices: [square(8, "f32", "f32"), square(8, "f16", "f16"), square(8, "f16", "f32")],
    subgroupSizes: [4, 64],
  },
];

/** Replaces every match; there must be one. */
function replace(code: string, pattern: RegExp, by: string | ((...groups: string[]) => string)): string {
  const replaced = code.replaceAll(pattern, by as string);
  if (replaced === code) throw new Error(`the shader has nothing like ${pattern}:\n${code}`);
  return replaced;
}

/** Functions that read f16 elements out of the words that hold them, in place of those that read them as they are. */
function withoutHalves(code: string): string {
  const words = code
    .replaceAll(/(var<storage, read_write> \w+): array<vec4<f16>>;/g, "$1: array<vec2<u32>>;")
    .replaceAll(/(var<storage, read_write> \w+): array<f16>;/g, "$1: array<u32>;")
    .replaceAll(
      /fn (\w+)\(at: i32\) -> vec4<f16> \{ return (\w+)\[at >> 2u\]; \}/g,
      "fn $1(at: i32) -> vec4<f32> { let words = $2[at >> 2u]; " +
        "return vec4<f32>(unpack2x16float(words.x), unpack2x16float(words.y)); }",
    )
    .replaceAll(
      /fn (\w+)\(at: i32\) -> f16 \{ return (\w+)\[at\]; \}/g,
      "fn $1(at: i32) -> f32 { let pair = unpack2x16float($2[at >> 1u]); return select(pair.x, pair.y, (at & 1) == 1); }",
    )
    .replaceAll(/(var<workgroup> \w+): array<f16, /g, "$1: array<f32, ")
    .replaceAll("0h", "0f");
  if (/\bf16\b/.test(words)) throw new Error(`an f16 is left in the shader:\n${words}`);
  return words;
}

/**
 * Rewrites a shader for a driver without cooperative matrices, in subgroups of `team` invocations. A matrix of sums lies
 * in the registers of its subgroup, each invocation keeps every `team`-th element; one of operands is the place in
 * workgroup memory that it was loaded from, which is read at every use.
 */
export function emulated(code: string, team: number): string {
  const lanes = Number(/@workgroup_size\((\d+)\)/.exec(code)?.[1]);
  if (lanes % team !== 0) throw new Error(`subgroups of ${team} do not fill a workgroup of ${lanes}`);
  const operands = new Map<string, { readonly array: string; readonly stride: string; readonly rowMajor: boolean }>();
  const own = (size: number, statements: string): string =>
    `for (var part = 0; part < ${size * size / team} + none; part++) { ` +
    `let element = member + part * ${team}; let row = element / ${size}; let column = element % ${size}; ` +
    `${statements} }`;
  const elementOf = (name: string, row: string, column: string): string => {
    const { array, stride, rowMajor } = operands.get(name)!;
    return `${array}[${name} + ${rowMajor ? `${row} * ${stride} + ${column}` : `${column} * ${stride} + ${row}`}]`;
  };
  let text = replace(code, /enable wgpu_cooperative_matrix;\n/g, "").replace("enable f16;\n", "");
  text = replace(
    text,
    /, @builtin\(subgroup_id\) subgroup: u32, @builtin\(num_subgroups\) subgroups: u32\) \{/g,
    `) {\n  let subgroup = lane / ${team}u;\n  let subgroups = ${
      lanes / team
    }u;\n  let member = i32(lane % ${team}u);\n` +
      // Always 0, which compilers do not know: they would unroll all loops, and take seconds.
      "  let none = i32(lane >> 20u);",
  );
  const sizes = new Map<string, number>();
  text = replace(
    text,
    /var (\w+) = coopLoadT<coop_mat(\d+)x\d+<f32, C>>\(&(\w+)\[(.*)\], (\d+)u\);/g,
    (_, name, size, array, place, stride) => {
      sizes.set(name, Number(size));
      return `var ${name}: array<f32, ${Number(size) ** 2 / team}>; ` +
        own(Number(size), `${name}[part] = ${array}[${place} + row * ${stride} + column];`);
    },
  );
  text = replace(
    text,
    /let (\w+) = coopLoad(T?)<coop_mat\d+x\d+<f\d+, [AB]>>\(&(\w+)\[(.*)\], (\d+)u\);/g,
    (_, name, rowMajor, array, place, stride) => {
      operands.set(name, { array, stride, rowMajor: rowMajor === "T" });
      return `let ${name} = ${place};`;
    },
  );
  text = replace(text, /(\w+) = coopMultiplyAdd\((\w+), (\w+), \1\);/g, (_, sum, a, b) => {
    const size = sizes.get(sum)!;
    return own(
      size,
      `var total = ${sum}[part]; for (var q = 0; q < ${size} + none; q++) { ` +
        `total += ${elementOf(a, "row", "q")} * ${elementOf(b, "q", "column")}; } ${sum}[part] = total;`,
    );
  });
  text = replace(
    text,
    /coopStoreT\((\w+), &(\w+)\[(.*)\], (\d+)u\);/g,
    (_, sum, array, place, stride) =>
      own(sizes.get(sum)!, `${array}[${place} + row * ${stride} + column] = ${sum}[part];`),
  );
  text = withoutHalves(text);
  if (/coop|subgroup_/.test(text)) throw new Error(`a cooperative operation is left in the shader:\n${text}`);
  return text;
}
