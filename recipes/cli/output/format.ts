/** @file Numbers and tables for people. */

/** 134515008 → `134.5 M`. */
export function count(value: number): string {
  for (const [size, unit] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]] as const) {
    if (value >= size) return `${(value / size).toPrecision(4)} ${unit}`;
  }
  return String(value);
}

/** Bytes as `4.2 KiB`, `512.0 MiB`, `3.1 GiB`. */
export function size(bytes: number): string {
  for (const [unit, name] of [[2 ** 40, "TiB"], [2 ** 30, "GiB"], [2 ** 20, "MiB"], [2 ** 10, "KiB"]] as const) {
    if (bytes >= unit) return `${(bytes / unit).toFixed(1)} ${name}`;
  }
  return `${bytes} B`;
}

/** Rows in columns, two spaces apart; columns of numbers only are aligned on the right. */
export function columns(rows: readonly (readonly (string | number)[])[]): string {
  const widths = rows.reduce<number[]>(
    (widest, row) => row.map((cell, index) => Math.max(widest[index] ?? 0, String(cell).length)),
    [],
  );
  return rows.map((row) =>
    row.map((cell, index) =>
      typeof cell === "number" ? String(cell).padStart(widths[index]) : cell.padEnd(widths[index])
    ).join("  ").trimEnd()
  ).join("\n");
}
