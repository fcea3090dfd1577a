/** @file Two texts beside each other. */

/** Two texts in two columns of a page; longer lines go on below, indented. */
export function beside(left: string, right: string, width = 120): string {
  const column = Math.floor((width - 3) / 2);
  const [a, b] = [wrapped(left, column), wrapped(right, column)];
  return Array.from(
    { length: Math.max(a.length, b.length) },
    (_, i) => `${(a[i] ?? "").padEnd(column)} │ ${b[i] ?? ""}`.trimEnd(),
  ).join("\n");
}

function wrapped(text: string, column: number): string[] {
  return text.split("\n").flatMap((line) => {
    const rest = Array.from(line.replaceAll("\t", "    ").replaceAll(/\p{Cc}/gu, "�"));
    const lines = [rest.splice(0, column).join("")];
    while (rest.length > 0) lines.push(`    ${rest.splice(0, column - 4).join("")}`);
    return lines;
  });
}
