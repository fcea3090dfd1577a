/**
 * @file Several runs of the miniature as one table: mean and standard deviation over seeds, and each row's difference to
 * SFT within a seed. `deno run --allow-read recipes/demo/study/seeds.ts runs/demo-1/report.json runs/demo-2/report.json …`
 */

/** What is read of a run's report.json. */
export interface SeedReport {
  readonly seed: number;
  readonly rows: readonly { readonly name: string; readonly pass_at_1: number; readonly loss?: number }[];
}

/** A number's mean and, from two runs on, its standard deviation (n − 1). */
export interface Spread {
  readonly mean: number;
  readonly deviation?: number;
}

/** Mean and deviation. @throws {RangeError} if there is no number */
export function spreadOf(numbers: readonly number[]): Spread {
  if (numbers.length === 0) throw new RangeError("a mean needs at least one number.");
  const mean = numbers.reduce((sum, each) => sum + each, 0) / numbers.length;
  if (numbers.length === 1) return { mean };
  const squares = numbers.reduce((sum, each) => sum + (each - mean) ** 2, 0);
  return { mean, deviation: Math.sqrt(squares / (numbers.length - 1)) };
}

/** One line per row: pass@1, the difference to SFT of the same seed, loss. */
export function seedsTable(reports: readonly SeedReport[]): string {
  const text = ({ mean, deviation }: Spread, digits: number): string =>
    mean.toFixed(digits) + (deviation === undefined ? "" : ` ± ${deviation.toFixed(digits)}`);
  const cells = reports[0].rows.map(({ name }) => {
    const of = (report: SeedReport, row: string) => report.rows.find((one) => one.name === row)!;
    const points = reports.map((report) => 100 * of(report, name).pass_at_1);
    const apart = reports.map((report) => 100 * (of(report, name).pass_at_1 - of(report, "SFT").pass_at_1));
    const losses = reports.flatMap((report) => of(report, name).loss ?? []);
    return [
      name,
      text(spreadOf(points), 1),
      name === "SFT" ? "" : text(spreadOf(apart), 1),
      losses.length === 0 ? "" : text(spreadOf(losses), 4),
      points.map((each) => each.toFixed(1)).join(" "),
    ];
  });
  const head = ["row", "pass@1, %", "less SFT", "loss", `seeds ${reports.map(({ seed }) => seed).join(" ")}`];
  return [head, head.map(() => "---"), ...cells].map((line) => `| ${line.join(" | ")} |`).join("\n");
}

if (import.meta.main) {
  console.log(seedsTable(Deno.args.map((path) => JSON.parse(Deno.readTextFileSync(path)))));
}
