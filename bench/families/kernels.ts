/** @file Elementwise and row kernels, whose roof is the speed of a copy. */
import { compile, put } from "../../backend/compile.ts";
import { open } from "../../backend/open.ts";
import { at, mul, rmsNorm, type Scalar, silu, softmax, type Tensor, tensor } from "../../dsl/mod.ts";
import { adafactor } from "../../recipes/optim/mod.ts";
import type { Case, KernelWork, Prepared } from "../case.ts";
import { uniform } from "../weights.ts";

const kernels = ["swiglu", "softmax", "rmsnorm", "adafactor"] as const;

/** Matrices of 16 M numbers: none of it stays in a cache. */
export const kernelCases: readonly Case[] = kernels.map((kernel) => ({
  name: `kernel/${kernel}`,
  work: { kind: "kernel", kernel, rows: 16384, columns: 1024 },
}));

/** Small ones, for tests. */
export const toyKernels: readonly Case[] = kernels.map((kernel) => ({
  name: `kernel/${kernel}`,
  work: { kind: "kernel", kernel, rows: 8, columns: 16 },
}));

type Matrix = Tensor<"row" | "column">;

/** A kernel that overwrites its argument, as an optimiser does: no round measures fresh memory's page faults. */
async function inPlace(x: Matrix, y: Matrix, f: (x: Matrix, y: Matrix) => Matrix): Promise<Prepared> {
  const device = await open("cpu"), run = compile(f, device, { donate: [0] });
  let own = put(x, device);
  const other = put(y, device);
  return {
    run: async () => {
      own = await run(own, other);
    },
  };
}

/** One kernel, in the device's memory. Its values stay in range however often it is applied to its own result. */
export async function prepareKernel({ kernel, rows: row, columns: column }: KernelWork): Promise<Prepared> {
  const values = uniform("x", row * column, 1), x = tensor({ row, column }, values);
  switch (kernel) {
    case "swiglu": {
      const large = values.map((value) => 30 + value), ones = new Float32Array(row * column).fill(1);
      return await inPlace(tensor({ row, column }, large), tensor({ row, column }, ones), (a, b) => mul(silu(a), b));
    }
    case "softmax":
      return await inPlace(x, tensor({ row: 1, column: 1 }, [0]), (a) => softmax(a, "column"));
    case "rmsnorm": {
      const weight = new Float32Array(column).fill(1);
      return await inPlace(
        x,
        tensor({ row: 1, column }, weight),
        (a, b) => rmsNorm(a, at(b, "row", 0), "column", 1e-6),
      );
    }
    case "adafactor": {
      const device = await open("cpu");
      const leaf = { path: "w", shape: { row, column }, names: ["w"], each: [], rows: ["row"], columns: ["column"] };
      const optimizer = adafactor([leaf]), gradient = { w: put(x, device) }, rate = tensor({}, [1e-3]) as Scalar;
      let parameters = { w: put(tensor({ row, column }, uniform("w", row * column, 1)), device) };
      let state = await compile((p: typeof parameters) => optimizer.init(p), device)(parameters);
      const run = compile(
        (p: typeof parameters, s: typeof state, g: typeof parameters, r: Scalar) => optimizer.step(p, g, s, r),
        device,
        { donate: [0, 1] },
      );
      return {
        run: async () => {
          ({ parameters, state } = await run(parameters, state, gradient, rate));
        },
      };
    }
  }
}
