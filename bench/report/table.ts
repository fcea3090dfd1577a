/** @file Results as a table for people. */
import type { Measured } from "../rounds.ts";

const time = (seconds: number): string =>
  seconds >= 100
    ? seconds.toFixed(0) + " s"
    : seconds >= 1
    ? `${seconds.toFixed(2)} s`
    : `${(seconds * 1e3).toPrecision(3)} ms`;
const percent = (share: number): string => `${(100 * share).toFixed(0)}%`;

/** What stands in a row of the table. */
const columns: readonly (readonly [title: string, cell: (row: Measured, ours: number | undefined) => string])[] = [
  ["case", (row) => row.case],
  ["by", ({ by }) => by],
  ["time", ({ seconds }) => seconds === undefined ? "–" : time(seconds)],
  ["threads' time", ({ cpu_seconds }) => cpu_seconds && cpu_seconds >= 0.01 ? time(cpu_seconds) : ""],
  ["× ours", ({ seconds, role }, ours) => seconds && ours && role === "peer" ? (seconds / ours).toFixed(2) : ""],
  ["GFLOP/s", ({ flops, seconds }) => flops && seconds ? (flops / seconds / 1e9).toFixed(1) : ""],
  ["GB/s", ({ bytes, seconds }) => bytes && seconds ? (bytes / seconds / 1e9).toFixed(1) : ""],
  ["of roof", ({ share_of_roof, role }) => share_of_roof && role !== "roof" ? percent(share_of_roof) : ""],
  ["peak MiB", ({ peak_bytes }) => peak_bytes ? (peak_bytes / 2 ** 20).toFixed(0) : ""],
  ["before", ({ base_bytes }) => base_bytes ? (base_bytes / 2 ** 20).toFixed(0) : ""],
  ["others", ({ others_share }) => others_share === undefined ? "" : percent(others_share)],
  [
    "losses",
    ({ losses, same_losses }) =>
      `${(losses ?? []).map((loss) => loss.toPrecision(6)).join(" ")}${
        same_losses === false ? " (another model)" : ""
      }`,
  ],
];

/** Cells of all rows, the titles first; `× ours` compares with the case's first row. */
export function cellsOf(rows: readonly Measured[]): string[][] {
  const ours = new Map<string, number | undefined>();
  for (const row of rows) if (row.role === "ours" && !ours.has(row.case)) ours.set(row.case, row.seconds);
  return [
    columns.map(([title]) => title),
    ...rows.map((row) => columns.map(([, cell]) => cell(row, ours.get(row.case)))),
  ];
}

/** The table as text, and below it why some have no figure. */
export function textOf(rows: readonly Measured[]): string {
  const cells = cellsOf(rows), widths = cells[0].map((_, i) => Math.max(...cells.map((row) => row[i].length)));
  const lines = cells.map((row) =>
    row.map((cell, i) => i < 2 || i === row.length - 1 ? cell.padEnd(widths[i]) : cell.padStart(widths[i])).join("  ")
      .trimEnd()
  );
  const failed = rows.flatMap(({ case: name, by, error }) => error ? [`${name}, ${by}: ${error}`] : []);
  return [...lines, ...failed.length > 0 ? ["", "Without a figure:", ...failed] : []].join("\n");
}

/** The table in Markdown. */
export const markdownOf = (rows: readonly Measured[]): string => {
  const [titles, ...cells] = cellsOf(rows), line = (row: readonly string[]): string => `| ${row.join(" | ")} |`;
  return [line(titles), line(titles.map((_, i) => i < 2 ? "---" : "---:")), ...cells.map(line)].join("\n");
};
