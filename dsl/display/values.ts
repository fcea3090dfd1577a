/** @file A tensor's values in short: what they span, and the corner of a table. */
import type { Shape } from "../shape.ts";
import { axesOf } from "../shape.ts";
import { escape } from "./graph.ts";

/** Rows and columns of a table, at most. */
const most = { rows: 8, columns: 10 };

/** Numbers as people read them: five digits, a bool as a word. */
export const numeral = (value: number, dtype: string): string =>
  dtype === "bool"
    ? String(value !== 0)
    : Number.isFinite(value)
    ? String(Number(value.toPrecision(5)))
    : String(value);

/** What the values span: `24 values from −1 to 3.5, mean 0.25; 1 NaN`. */
export function spanOf(values: ArrayLike<number>, dtype: string): string {
  let low = Infinity, high = -Infinity, sum = 0, finite = 0, nan = 0;
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    if (Number.isNaN(value)) nan++;
    else if (Number.isFinite(value)) {
      finite++;
      sum += value;
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
  }
  const infinite = values.length - finite - nan, count = `${values.length} value${values.length === 1 ? "" : "s"}`;
  if (dtype === "bool") return `${count}, ${sum} true`;
  const span = finite > 1
    ? ` from ${numeral(low, dtype)} to ${numeral(high, dtype)}, mean ${numeral(sum / finite, "f32")}`
    : finite === 1
    ? `: ${numeral(low, dtype)}`
    : "";
  const odd = [...(nan > 0 ? [`${nan} NaN`] : []), ...(infinite > 0 ? [`${infinite} infinite`] : [])];
  return [`${count}${span}`, ...odd].join("; ");
}

/** The last two axes as a table; of the others the first element. */
export function tableOf(shape: Shape, values: ArrayLike<number>, dtype: string): string {
  const axes = axesOf(shape), column = axes.at(-1), row = axes.at(-2), others = axes.slice(0, -2);
  const [rows, columns] = [row ? shape[row] : 1, column ? shape[column] : 1];
  const [shownRows, shownColumns] = [Math.min(rows, most.rows), Math.min(columns, most.columns)];
  const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i);
  const dots = shownColumns < columns ? "<th>…</th>" : "";
  const head = column
    ? `<tr><th>${escape(row ? `${row} \\ ${column}` : column)}</th>${
      range(shownColumns).map((i) => `<th>${i}</th>`).join("")
    }${dots}</tr>`
    : "";
  const body = range(shownRows).map((r) =>
    `<tr><th>${row ? r : ""}</th>${
      range(shownColumns).map((c) => `<td>${numeral(values[r * columns + c], dtype)}</td>`).join("")
    }${dots && "<td>…</td>"}</tr>`
  );
  const more = shownRows < rows ? `<tr><th>…</th></tr>` : "";
  const where = others.length > 0 ? `<div>at ${escape(others.map((axis) => `${axis}:0`).join(" "))}</div>` : "";
  return `${where}<table>${head}${body.join("")}${more}</table>`;
}
