/**
 * @file The syntax of a solution with names (and, more strictly, constants) erased, as a canonical text: what the
 * split of the family is built on. For the family's subset of Python this text is equal where the syntax trees are.
 */

const keywords = new Set(
  "False None True and as assert break class continue def del elif else except for from if import in is lambda not or pass raise return try while with yield"
    .split(" "),
);

/** What to erase besides names, comments, docstrings and spacing. */
export interface Erasure {
  /** Erase numbers, texts, True, False and None too: what remains is the solution's shape. */
  readonly constants?: boolean;
}

/**
 * A solution's syntax with every name erased: `s.upper()` and `s.lower()` become the same text, `s[:2]` and `s[:3]`
 * only where constants are erased too. Comments, docstrings, blank lines and spacing leave no trace; indentation
 * stays as a depth at the start of each line.
 *
 * @param source Python source of the family's subset: simple lines, no brackets over several lines
 * @param erase what else to erase
 * @returns the canonical text, one line per statement
 * @throws Error on a character that is no part of Python's syntax
 * @example
 * ```ts
 * import { normalisedSyntax } from "./syntax.ts";
 * normalisedSyntax("def f(s):\n    return s.upper()[:2]"); // "0 def _ ( _ ) :\n1 return _ . _ ( ) [ : 2 ]"
 * ```
 */
export function normalisedSyntax(source: string, erase: Erasure = {}): string {
  const lines: string[] = [];
  const indents: number[] = [];
  for (const line of source.replace(/"""[\s\S]*?"""|'''[\s\S]*?'''/g, "").split("\n")) {
    const tokens = lineTokens(line, erase.constants ?? false);
    if (tokens.length === 0) continue;
    const indent = line.length - line.trimStart().length;
    while (indents.length && indents[indents.length - 1] > indent) indents.pop();
    if (!indents.length || indents[indents.length - 1] < indent) indents.push(indent);
    lines.push(`${indents.length - 1} ${tokens.join(" ")}`);
  }
  return lines.join("\n");
}

/**
 * A solution's shape: its syntax with names and constants erased.
 *
 * @param source Python source, as for {@link normalisedSyntax}
 * @returns the canonical text
 * @throws Error on a character that is no part of Python's syntax
 */
export function shape(source: string): string {
  return normalisedSyntax(source, { constants: true });
}

function lineTokens(line: string, constants: boolean): string[] {
  const pattern =
    /\s+|#.*|([A-Za-z_]\w*)|(\d[\w.]*|'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")|(\*\*|\/\/|==|!=|<=|>=|->|:=|[-+*/%<>=()[\]{},:.;@|&^~])/y;
  const tokens: string[] = [];
  while (pattern.lastIndex < line.length) {
    const at = pattern.lastIndex;
    const match = pattern.exec(line);
    if (!match) throw new Error(`no Python syntax at column ${at} of: ${line}`);
    const [, word, constant, operator] = match;
    if (word) {
      const literal = word === "True" || word === "False" || word === "None";
      tokens.push(!keywords.has(word) ? "_" : literal && constants ? "#" : word);
    } else if (constant) tokens.push(constants ? "#" : constant);
    else if (operator) tokens.push(operator);
  }
  return tokens;
}
