/** @file A program's report for people: as text, and as a page with the graph of its kernels. */
import { type Box, drawGraph, escape } from "../../../dsl/display/graph.ts";
import type { KernelReport, ProgramReport } from "./explain.ts";

/** A number with the unit that leaves it between 1 and the next one. */
function scaled(value: number, base: number, units: readonly string[]): string {
  const at = Math.max(0, Math.min(units.length - 1, Math.floor(Math.log(Math.max(1, value)) / Math.log(base))));
  return `${at === 0 ? value : (value / base ** at).toFixed(1)} ${units[at]}`;
}
const sized = (bytes: number): string => scaled(bytes, 1024, ["B", "KiB", "MiB", "GiB", "TiB"]);
const worked = (flops: number): string => scaled(flops, 1000, ["FLOP", "kFLOP", "MFLOP", "GFLOP", "TFLOP"]);
const percent = (share: number): string => `${(100 * share).toFixed(1)}%`;

const perSecond = (value: number, bound: "products" | "bytes"): string =>
  bound === "products" ? `${(value / 1e9).toFixed(1)} GFLOP/s` : `${(value / 2 ** 30).toFixed(2)} GiB/s`;

/** How long a kernel took, how fast it was, and how near to the roof, where that was measured. */
function speedOf({ seconds, flops, roof }: KernelReport): string {
  if (seconds === undefined) return "";
  const took = `, ${(seconds * 1e3).toFixed(2)} ms`;
  if (!roof) return `${took}, ${perSecond(flops / Math.max(seconds, 1e-9), "products")}`;
  return `${took}, ${perSecond(roof.reached, roof.bound)}: ${percent(roof.share)} of the roof`;
}

/** The folder that all lines of source have in common, and each without it. */
function shorten(
  kernels: readonly KernelReport[],
): { readonly folder: string; readonly short: (line: string) => string } {
  const folders = [...new Set(kernels.flatMap(({ sources }) => sources))].map((line) => line.split("/").slice(0, -1));
  const [first = []] = folders;
  const depth = folders.reduce((least, parts) => {
    const different = first.findIndex((part, i) => parts[i] !== part);
    return Math.min(least, different < 0 ? first.length : different);
  }, first.length);
  const folder = first.slice(0, depth).map((part) => `${part}/`).join("");
  return { folder, short: (line) => line.slice(folder.length) };
}

function totals(
  { kernels, steps, distinct, flops, moved, arena, results, overwriting, timed, untimed, roofs }: ProgramReport,
): string[] {
  const loops = steps > kernels.length ? ` (${kernels.length} entries, those of loops run tile by tile)` : "";
  return [
    `${steps} kernels run${loops}, ${distinct} distinct; ${worked(flops)}, ${sized(moved)} moved`,
    `shares of the step are ${
      timed ? "measured, over all runs so far" : `predicted from FLOP and bytes${untimed ? `: ${untimed}` : ""}`
    }`,
    ...(timed && roofs
      ? [
        `roofs of this device, measured with our own kernels: ${perSecond(roofs.flopsPerSecond, "products")} in ` +
        `products of matrices, ${perSecond(roofs.bytesPerSecond, "bytes")} in copying (read and written)`,
      ]
      : []),
    `intermediate memory ${sized(arena)}; ${overwriting} of ${results} results overwrite donated memory`,
  ];
}

/** In words: three lines for each kernel, then sums and why fusions were refused. */
export function textOf(report: ProgramReport): string {
  if (report.kernels.length === 0) return "no kernels: the interpreter runs one primitive at a time, in f64";
  const { folder, short } = shorten(report.kernels);
  const lines = report.kernels.flatMap((kernel) => {
    const { number, kind, runs, axes, extent, operations, sources, fused, apart, flops, reads, writes, share } = kernel;
    const head = `${String(number).padStart(5)}  ${kind}${runs > 1 ? ` ×${runs}` : ""}  ${operations}`;
    const work = `${axes}; ${extent}; ${worked(flops)}, reads ${sized(reads)}, writes ${sized(writes)}, ` +
      `${percent(share)} of the step${speedOf(kernel)}`;
    const more = [
      ...(sources.length > 0 ? [`at ${sources.map(short).join(", ")}`] : []),
      ...(fused.length > 0 ? [`fused: ${fused.join("; ")}`] : []),
      ...(apart.length > 0 ? [`not fused: ${apart.join("; ")}`] : []),
    ];
    return [head, ...[work, ...more].map((line) => `       ${line}`)];
  });
  const refused = Object.entries(report.refused).sort((a, b) => b[1] - a[1]);
  return [
    ...lines,
    ...totals(report),
    ...(folder ? [`lines of source are below ${folder}`] : []),
    ...(refused.length > 0 ? ["fusions refused:"] : []),
    ...refused.map(([reason, count]) => `  ${String(count).padStart(5)} × ${reason}`),
  ].join("\n");
}

const style = `body{font:13px system-ui,sans-serif;margin:1.5rem;color:#1c2430}table{border-collapse:collapse}
td,th{padding:2px 8px;text-align:left;vertical-align:top;border-bottom:1px solid #dde2e8}
td.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}small{color:#5a6472}
.bar{display:inline-block;height:8px;background:#e0954a}.graph{overflow:auto;max-height:80vh;border:1px solid #dde2e8}`;

const headings = ["", "kernel", "computes", "lines", "FLOP", "reads", "writes", "share of the step"];

/** A page of its own: needs no network and no script. */
export function pageOf(report: ProgramReport, title: string = "What the program compiled to"): string {
  const { folder, short } = shorten(report.kernels);
  const boxes = report.kernels.map(({ number, kind, runs, operations, axes, share, after, sources }): Box => ({
    id: String(number),
    lines: [
      `${number} ${kind}${runs > 1 ? ` ×${runs}` : ""} ${percent(share)}`,
      operations.length > 40 ? `${operations.slice(0, 39)}…` : operations,
    ],
    title: [operations, axes, ...sources.map(short)].join("\n"),
    tone: share > 0.05 ? "heavy" : "work",
    inputs: after.map(String),
  }));
  const row = (kernel: KernelReport): string => {
    const { number, kind, runs, axes, extent, operations, sources, fused, apart, flops, reads, writes, share } = kernel;
    const small = (words: readonly string[], what: string): string =>
      words.length > 0 ? `<br><small>${what}${words.map(escape).join("; ")}</small>` : "";
    const cells = [
      `<td class="n">${number}</td>`,
      `<td>${kind}${runs > 1 ? ` ×${runs}` : ""}<br><small>${escape(extent)}</small></td>`,
      `<td>${escape(operations)}<br><small>${escape(axes)}</small>${small(fused, "fused: ")}${
        small(apart, "not fused: ")
      }</td>`,
      `<td>${sources.map((line) => escape(short(line))).join("<br>")}</td>`,
      ...[worked(flops), sized(reads), sized(writes)].map((text) => `<td class="n">${text}</td>`),
      `<td class="n">${percent(share)}${escape(speedOf(kernel))} <span class="bar" style="width:${
        (100 * share).toFixed(1)
      }px"></span></td>`,
    ];
    return `<tr>${cells.join("")}</tr>`;
  };
  const refused = Object.entries(report.refused).sort((a, b) => b[1] - a[1]);
  return `<!doctype html><html lang="en"><meta charset="utf-8"><title>${escape(title)}</title><style>${style}</style>
<h1>${escape(title)}</h1>
${totals(report).map((line) => `<p>${escape(line)}</p>`).join("\n")}
${folder ? `<p>Lines of source are below ${escape(folder)}</p>` : ""}
<h2>Graph</h2><div class="graph">${drawGraph(boxes)}</div>
<h2>Kernels</h2><table><tr>${headings.map((text) => `<th>${text}</th>`).join("")}</tr>
${report.kernels.map(row).join("\n")}</table>
<h2>Fusions refused</h2><ul>${refused.map(([why, count]) => `<li>${count} × ${escape(why)}</li>`).join("")}</ul>
</html>
`;
}
