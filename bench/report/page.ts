/** @file Results as a page of its own: the table, and plots that are drawn here and need no script there. */
import * as Plot from "npm:@observablehq/plot@0.6.17";
import { parseHTML } from "npm:linkedom@0.18.15";
import type { Results } from "../main.ts";
import type { Measured } from "../rounds.ts";
import { cellsOf } from "./table.ts";

const { document } = parseHTML("<!doctype html><html><body></body></html>") as unknown as {
  readonly document: Plot.PlotOptions["document"];
};

/** A plot as SVG's text. */
function draw(options: Plot.PlotOptions): string {
  const drawn = Plot.plot({ ...options, document });
  return (drawn as unknown as { outerHTML: string }).outerHTML;
}

const escaped = (text: string): string =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");

/** A row that has a figure. */
type Timed = Measured & { readonly seconds: number };
const timed = (rows: readonly Measured[]): Timed[] => rows.filter((row): row is Timed => row.seconds !== undefined);

/** Times of a case's peers as multiples of ours, a line of dots for each case. */
function peersPlot(rows: readonly Timed[]): string {
  const ours = new Map(rows.filter(({ role }) => role === "ours").toReversed().map((row) => [row.case, row.seconds]));
  const dots = rows.filter(({ role }) => role === "peer").flatMap((row) => {
    const own = ours.get(row.case);
    return own ? [{ case: row.case, by: row.by, times: row.seconds / own }] : [];
  });
  if (dots.length === 0) return "";
  const marks = [
    Plot.ruleX([1]),
    Plot.dot(dots, { x: "times", y: "case", fill: "by", r: 5, title: (d) => `${d.by}: ${d.times.toFixed(2)}` }),
  ];
  const axis = { type: "log", grid: true, label: "time ÷ ours →" } as const;
  return draw({ marks, x: axis, y: { label: null }, color: { legend: true }, marginLeft: 160, width: 900 });
}

/** How near each case is to its roof. */
function roofPlot(rows: readonly Timed[]): string {
  const bars = rows.filter(({ role, share_of_roof, curve }) => role === "ours" && share_of_roof && !curve)
    .map(({ case: name, by, share_of_roof }) => ({ name: `${name}${by.slice(3)}`, share: 100 * share_of_roof! }));
  if (bars.length === 0) return "";
  const marks = [
    Plot.barX(bars, { x: "share", y: "name", fill: "steelblue", sort: { y: null } }),
    Plot.ruleX([0, 100]),
  ];
  const x = { grid: true, label: "% of the roof →" };
  return draw({ marks, x, y: { label: null }, marginLeft: 280, width: 900, height: 40 + 16 * bars.length });
}

/** Time and memory over what grows, both axes in powers: a straight line of slope 1 is linear. */
function curvePlots(rows: readonly Timed[]): string {
  const curves = Map.groupBy(rows.filter(({ curve, role }) => curve && role === "ours"), ({ curve }) => curve!.name);
  return [...curves].map(([name, points]) => {
    const data = points.map(({ by, curve, seconds, peak_bytes, base_bytes }) => ({
      by,
      at: curve!.at,
      seconds,
      mebibytes: ((peak_bytes ?? 0) - (base_bytes ?? 0)) / 2 ** 20,
    }));
    const x = { type: "log", base: 2, label: `${points[0].curve!.over} →` } as const;
    const one = (y: "seconds" | "mebibytes", label: string): string =>
      draw({
        marks: [
          Plot.lineY(data, { x: "at", y, z: "by", stroke: "by" }),
          Plot.dot(data, { x: "at", y, fill: "by" }),
        ],
        color: { legend: new Set(data.map(({ by }) => by)).size > 1 },
        x,
        y: { type: "log", base: 2, grid: true, label },
        width: 420,
        height: 300,
        marginLeft: 60,
      });
    return `<h3>${escaped(name)}</h3>${one("seconds", "↑ seconds")}${
      data.every(({ mebibytes }) => mebibytes > 0) ? one("mebibytes", "↑ MiB above the start") : ""
    }`;
  }).join("\n");
}

/** The page. */
export function pageOf({ date, command, machine, cases, unmeasured }: Results): string {
  const [titles, ...cells] = cellsOf(cases), rows = timed(cases);
  const line = (tag: string, row: readonly string[]): string =>
    `<tr>${row.map((cell) => `<${tag}>${escaped(cell)}</${tag}>`).join("")}</tr>`;
  const section = (title: string, body: string): string => body === "" ? "" : `<h2>${title}</h2>\n${body}`;
  const failed = cases.flatMap(({ case: name, by, error }) =>
    error ? [`<li>${escaped(`${name}, ${by}: ${error}`)}`] : []
  );
  return `<!doctype html>
<html lang="en"><meta charset="utf-8"><title>XFT's benchmarks</title>
<style>
body { font: 14px system-ui, sans-serif; margin: 2em auto; max-width: 75em; padding: 0 1em }
table { border-collapse: collapse; font-size: 12px }
td, th { padding: 2px 8px; text-align: right; border-bottom: 1px solid #ddd }
td:nth-child(-n+2), th:nth-child(-n+2) { text-align: left }
</style>
<h1>XFT's benchmarks</h1>
<p>${escaped(`${machine.processor}, ${machine.cores} cores, ${machine.vectors}; ${date}; ${command}`)}</p>
<p>Figures are of one run on one machine; compare within a case only. “Others” is the share of the processors that other
programs took in a contestant's best round.</p>
${section("Peers", peersPlot(rows))}
${section("Shares of the roof", roofPlot(rows))}
${section("Curves", curvePlots(rows))}
<h2>All figures</h2>
<table>${line("th", titles)}${cells.map((row) => line("td", row)).join("\n")}</table>
${section("Without a figure", failed.length > 0 ? `<ul>${failed.join("\n")}</ul>` : "")}
${section("Not measured: the time was over", escaped(unmeasured.join(", ")))}
</html>
`;
}
