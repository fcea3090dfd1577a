/** @file Says in words what a program compiled to: kernels, why they were fused, bytes, FLOPs, memory. */
import { isOp } from "../../dsl/node.ts";
import { showShape } from "../../dsl/shape.ts";
import type { Kernel } from "./kernel.ts";
import type { CompiledProgram, ExplainedStep } from "./pipeline.ts";

const product = (sizes: readonly number[]): number => sizes.reduce((a, b) => a * b, 1);

/** Floating-point operations of a kernel (a grouped product counts every position once). */
export function flopsOf(kernel: Kernel): number {
  switch (kernel.kind) {
    case "contract":
      return 2 * kernel.m.size * kernel.n.size * product([...kernel.batch, ...kernel.k].map(({ size }) => size));
    case "grouped":
      return 2 * product(kernel.positions.map(({ size }) => size)) * kernel.k.size * kernel.n.size;
    case "groupedInto":
      return 2 * product(kernel.positions.map(({ size }) => size)) * kernel.m.size * kernel.n.size;
    case "loop": {
      const costs = new Set(["load", "store", "index", "const", "cast"]);
      const work = kernel.stages.flatMap(({ level, registers }) =>
        registers.filter((register) => !costs.has(kernel.body[register].op)).map(() => level)
      );
      const rows = product(kernel.sizes.slice(0, kernel.outer)), all = product(kernel.sizes);
      return work.reduce((total, level) => total + (level === "inner" ? all : rows), 0);
    }
    case "scatter":
    case "topk":
    case "order":
    case "copy":
      return 0;
  }
}

const sizesOf = (kernel: Kernel): string => {
  switch (kernel.kind) {
    case "contract":
      return `${product(kernel.batch.map(({ size }) => size))} × (${kernel.m.size} × ${
        product(kernel.k.map(({ size }) => size))
      } · ${kernel.n.size})`;
    case "grouped":
      return `${
        product(kernel.positions.map(({ size }) => size))
      } rows in ${kernel.groups} groups × ${kernel.k.size} · ${kernel.n.size}`;
    case "groupedInto":
      return `${kernel.groups} groups of ${
        product(kernel.positions.map(({ size }) => size))
      } rows: ${kernel.m.size} × ${kernel.n.size}`;
    case "loop":
      return `${kernel.sizes.slice(0, kernel.outer).join("·")}${
        kernel.outer < kernel.sizes.length ? ` rows of ${kernel.sizes.slice(kernel.outer).join("·")}` : ""
      }`;
    case "scatter":
      return `${product(kernel.positions.map(({ size }) => size))} rows into ${kernel.groups}`;
    case "topk":
      return `${kernel.slots.size} of ${kernel.axis.size}, ${product(kernel.rows.map(({ size }) => size))} rows`;
    case "order":
      return `${kernel.positions} into ${kernel.groups} groups`;
    case "copy":
      return `${kernel.words} words`;
  }
};

const opsOf = ({ unit }: ExplainedStep): string => {
  if (unit.group.kind === "template") return unit.group.node.op;
  const counts = new Map<string, number>();
  for (const { op } of unit.group.nodes) counts.set(op, (counts.get(op) ?? 0) + 1);
  return [...counts].map(([op, count]) => count > 1 ? `${op}×${count}` : op).join(" ");
};

const mebibytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`;

/** Milliseconds of a step and how fast it computed, where runs were measured. */
const measured = (step: ExplainedStep, seconds: number | undefined): string =>
  seconds === undefined
    ? ""
    : `${(seconds * 1e3).toFixed(2).padStart(10)} ms ${
      (flopsOf(step.kernel) / Math.max(seconds, 1e-9) / 1e9).toFixed(1).padStart(7)
    } GFLOP/s`;

/**
 * One line per kernel, then sums.
 *
 * @param seconds what each step took in all runs so far, where the device measures it
 */
export function explain(
  { plan, steps, refused, arguments: sources, results }: CompiledProgram,
  seconds: readonly number[] = [],
): string {
  const lines = steps.map((step, i) =>
    `${String(i).padStart(5)}  ${step.kernel.kind.padEnd(11)} ${sizesOf(step.kernel).padEnd(36)} ${
      (flopsOf(step.kernel) / 1e6).toFixed(1).padStart(10)
    } MFLOP  reads ${mebibytes(step.reads).padStart(10)}  writes ${mebibytes(step.writes).padStart(10)}${
      measured(step, seconds[i])
    }  ${opsOf(step)}`
  );
  const total = (f: (step: ExplainedStep) => number): number => steps.reduce((sum, step) => sum + f(step), 0);
  const kept = results.filter((argument) => sources[argument].kind === "parameter").length;
  const why = new Map<string, number>();
  for (const unit of new Set(steps.map((step) => step.unit))) {
    if (unit.group.kind === "loop") {
      for (const reason of unit.group.reasons) why.set(reason, (why.get(reason) ?? 0) + 1);
    }
  }
  const list = (counts: ReadonlyMap<string, number>): string[] =>
    [...counts].sort((a, b) => b[1] - a[1]).slice(0, 12).map(([reason, count]) =>
      `  ${String(count).padStart(5)} × ${reason}`
    );
  return [
    ...lines,
    `${steps.length} kernels (${plan.kernels.length} distinct), ${
      (total(({ kernel }) => flopsOf(kernel)) / 1e9).toFixed(2)
    } GFLOP, ` +
    `${mebibytes(total(({ reads, writes }) => reads + writes))} moved`,
    `intermediate memory ${
      mebibytes(plan.arena.reduce((a, b) => a + b, 0))
    }; ${kept} of ${results.length} results overwrite donated memory`,
    "fused because:",
    ...list(why),
    "not fused because:",
    ...list(refused),
  ].join("\n");
}

/** Which operations of a step look up or place elements by an index, and along which axis, for an error's message. */
export function indexedBy({ unit: { group } }: ExplainedStep): string {
  const nodes = group.kind === "template" ? [group.node] : [...group.nodes];
  const found = nodes.flatMap((node) => {
    if (isOp(node, "order")) return [`contractAt (or its gradient) into ${node.attributes.groups} groups`];
    if (isOp(node, "take")) return [`take along axis "${node.attributes.axis}" of ${showShape(node.inputs[0].shape)}`];
    if (isOp(node, "scatter")) return [`the gradient of take along axis "${node.attributes.axis}"`];
    return isOp(node, "write") ? [`write along axis "${node.attributes.axis}" of ${showShape(node.shape)}`] : [];
  });
  return [...new Set(found)].join(", or ");
}
