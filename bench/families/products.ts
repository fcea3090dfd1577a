/** @file The products of training: forward, dX and dW of a linear layer, and the same with rows grouped by expert. */
import { compile, free, put } from "../../backend/compile.ts";
import { open } from "../../backend/open.ts";
import { at, cast, contract, contractAt, type Scalar, type Tensor, tensor, vjp } from "../../dsl/mod.ts";
import type { Case, GroupedWork, Pass, Prepared, ProductWork, Storage } from "../case.ts";
import { uniform } from "../weights.ts";

/** Rows, outputs and inputs of the layers that the steps are made of. */
const shapes = [
  ["tiny", 2048, 688, 256],
  ["small", 2048, 1376, 512],
  ["smollm2", 1024, 1536, 576],
  ["smollm2 vocabulary", 1024, 49152, 576],
  ["1.3B", 1024, 5504, 2048],
  ["square", 2048, 2048, 2048],
] as const;
const everyPass: readonly Pass[] = ["forward", "dX", "dW"];

/** Dense products at training's shapes. */
export const productCases: readonly Case[] = shapes.flatMap(([name, m, n, k]) =>
  everyPass.map((pass): Case => {
    const work: ProductWork = { kind: "product", pass, m, n, k, storage: "f32" };
    return { name: `product/${name}/${pass}`, work, variants: { "bf16 weights": { ...work, storage: "bf16" } } };
  })
);

/** The experts' products: 5 of 7 routed experts a token. */
export const groupedCases: readonly Case[] = ([["small", 1376, 512], ["1.3B", 5504, 2048]] as const).flatMap((
  [name, n, k],
) =>
  (["even", "uneven"] as const).flatMap((routing) =>
    everyPass.map((pass): Case => ({
      name: `grouped/${name}/${routing}/${pass}`,
      work: { kind: "grouped", pass, m: 5 * 1024, n, k, storage: "f32", experts: 7, routing },
    }))
  )
);

/** Small ones, for tests. */
export const toyProducts: readonly Case[] = [
  { name: "product/toy/dW", work: { kind: "product", pass: "dW", m: 24, n: 8, k: 16, storage: "f32" } },
  {
    name: "grouped/toy/uneven/forward",
    work: { kind: "grouped", pass: "forward", m: 40, n: 8, k: 16, storage: "f32", experts: 7, routing: "uneven" },
  },
];

// A step keeps what a product gives in its own memory. So does this: the result is one element, which reads all of it
// only as far as that element goes; a fresh buffer for each run would measure the kernel's page faults.
const corner = <A extends string>(x: Tensor<A>): Scalar =>
  Object.keys(x.shape).reduce(
    (rest, axis) => at(rest, axis, 0) as unknown as Tensor<string>,
    x as unknown as Tensor<string>,
  ) as unknown as Scalar;

const stored = <A extends string>(x: Tensor<A>, storage: Storage): Tensor<A> => storage === "f32" ? x : cast(x, "f32");

/** One product, in the device's memory. */
export async function prepareProduct({ pass, m, n, k, storage }: ProductWork): Promise<Prepared> {
  const device = await open("cpu");
  const x = put(tensor({ m, k }, uniform("x", m * k, 1)), device),
    w = put(tensor({ n, k }, uniform("w", n * k, 1), storage), device);
  const y = put(tensor({ m, n }, uniform("y", m * n, 1)), device);
  const run = compile((a: typeof x, b: typeof w, c: typeof y) => {
    switch (pass) {
      case "forward":
        return corner(contract(a, stored(b, storage), "k"));
      case "dX":
        return corner(contract(c, stored(b, storage), "n"));
      case "dW":
        return corner(contract(c, a, "m"));
    }
  }, device);
  return { run: async () => free(await run(x, w, y), device) };
}

/** How many rows each expert gets. */
export function rowsOf({ m, experts, routing }: Pick<GroupedWork, "m" | "experts" | "routing">): number[] {
  const rows = Array.from(
    { length: experts },
    (_, i) => Math.floor(routing === "even" ? m / experts : m / 2 ** (i + 1)),
  );
  rows[0] += m - rows.reduce((a, b) => a + b, 0);
  return rows;
}

/** One grouped product; its rows come in no order, as a router sends them. */
export async function prepareGrouped(work: GroupedWork): Promise<Prepared> {
  const device = await open("cpu"), { m, n, k, experts, pass } = work;
  const chosen = rowsOf(work).flatMap((count, expert) => new Array<number>(count).fill(expert));
  const order = uniform("order", m, 1), sorted = chosen.map((_, i) => i).sort((a, b) => order[a] - order[b]);
  const expert = put(tensor({ m }, Int32Array.from(sorted, (i) => chosen[i]), "i32"), device);
  const x = put(tensor({ m, k }, uniform("x", m * k, 1)), device);
  const w = put(tensor({ experts, n, k }, uniform("w", experts * n * k, 1)), device);
  const y = put(tensor({ m, n }, uniform("y", m * n, 1)), device);
  const run = compile((a: typeof x, b: typeof w, c: typeof y, index: typeof expert) => {
    const forward = (rows: typeof x, weights: typeof w) => contractAt(rows, weights, { experts: index }, "k");
    switch (pass) {
      case "forward":
        return corner(forward(a, b));
      case "dX":
        return corner(vjp((rows: typeof x) => forward(rows, b))(a).pull(c));
      case "dW":
        return corner(vjp((weights: typeof w) => forward(a, weights))(b).pull(c));
    }
  }, device);
  return { run: async () => free(await run(x, w, y, expert), device) };
}
