/**
 * @file Which part of a model's answer is the program: evalplus' sanitiser (0.3.1), answer for answer.
 *
 * The longest run of lines that CPython parses is kept; of it, by tree-sitter's grammar, the imports and those
 * definitions that the entry point needs. Parsing happens in the sandbox (a text can crash a parser); nothing runs.
 * The grammar of Python is the sandbox's (3.14): a text of syntax that came later than evalplus' own Python differs.
 */
import { fileURLToPath } from "node:url";
import type { Node, Parser } from "npm:web-tree-sitter@0.25.10";
import manifest from "npm:tree-sitter-python@0.25.0/package.json" with { type: "json" };
import { openSandbox, type Sandbox } from "../sandbox/pyodide.ts";

/** What answers went through before they were graded, by the names of `evaluate --sanitizer`, for protocols. */
export const sanitizers = {
  evalplus: "evalplus 0.3.1",
  fence: "none: up to the first closing fence",
  none: "none",
} as const;

/** What our sanitiser reads programs with, for protocols. */
export const sanitizerGrammar: string = `tree-sitter-python ${manifest.version}`;

/** Texts that one interpreter parses; parsing leaves nothing behind that the next text could see. */
const textsOfInterpreter = 16;
/** Seconds for a text; of the longest answers (768 tokens) none took five. */
const secondsOfText = 60;

/**
 * evalplus' `code_extract`: of all runs of at least two lines that parse, the one with the most lines that are not
 * blank, and of equals the first. Longest first is the same choice with fewer parses.
 */
const extractPython = `
import ast, warnings
warnings.simplefilter("ignore")
def parses(text):
    try:
        ast.parse(text)
        return True
    except (SyntaxError, MemoryError, RecursionError, ValueError):
        return False
def extract(text):
    lines = text.split("\\n")
    filled = [0]
    for line in lines:
        filled.append(filled[-1] + bool(line.strip()))
    pairs = [(filled[i] - filled[j + 1], i, j) for i in range(len(lines)) for j in range(i + 1, len(lines))]
    for count, i, j in sorted(pairs):
        if count < 0 and parses("\\n".join(lines[i:j + 1])):
            return "\\n".join(lines[i:j + 1])
    return lines[0]
`;

/** An answer to sanitise. */
export interface Answer {
  /** The whole text: of a model that continues a prompt, the prompt too. */
  readonly text: string;
  /** Name of the function that is tested. */
  readonly entry: string;
}

/**
 * Sanitises answers as evalplus 0.3.1 does. An answer whose parsing runs out of time or memory becomes its first line,
 * as one that never parses.
 *
 * @param sandbox where texts are parsed; default: one of its own
 * @example
 * ```ts ignore
 * import { sanitize } from "./sanitize.ts";
 * const text = "Sure:\n```python\ndef f(x):\n    return x\nprint(f(1))\n```";
 * console.assert((await sanitize([{ text, entry: "f" }]))[0] === "def f(x):\n    return x");
 * ```
 */
export async function sanitize(answers: readonly Answer[], sandbox?: Sandbox): Promise<string[]> {
  const own = sandbox ? undefined : await openSandbox({ concurrency: 2 });
  try {
    const texts = answers.map(({ text }) => text);
    const runs = Array.from(
      { length: Math.ceil(texts.length / textsOfInterpreter) },
      (_, i) => extracted(texts.slice(i * textsOfInterpreter, (i + 1) * textsOfInterpreter), sandbox ?? own!),
    );
    const codes = (await Promise.all(runs)).flat();
    const parser = await pythonParser();
    return codes.map((code, i) => neededBy(code, answers[i].entry, parser));
  } finally {
    await own?.[Symbol.asyncDispose]();
  }
}

async function extracted(texts: readonly string[], sandbox: Sandbox): Promise<string[]> {
  const { results } = await sandbox.run({
    code: extractPython,
    entry: "extract",
    inputs: texts.map((text) => [text]),
    seconds: secondsOfText * texts.length,
    callSeconds: secondsOfText,
  });
  const found: string[] = [];
  for (const result of results) {
    found.push(
      "value" in result && typeof result.value === "string" ? result.value : texts[found.length].split("\n")[0],
    );
  }
  if (found.length === texts.length) return found;
  // The text after those that have a result ended the interpreter; the rest goes on in another.
  const broken = texts[found.length].split("\n")[0];
  return [...found, broken, ...await extracted(texts.slice(found.length + 1), sandbox)];
}

let parser: Promise<Parser> | undefined;

/** Tree-sitter's parser of Python, made once in a process. */
function pythonParser(): Promise<Parser> {
  return parser ??= (async () => {
    const { Language, Parser } = await import("npm:web-tree-sitter@0.25.10");
    await Parser.init();
    const grammar = fileURLToPath(import.meta.resolve("npm:tree-sitter-python@0.25.0/tree-sitter-python.wasm"));
    return new Parser().setLanguage(await Language.load(Deno.readFileSync(grammar)));
  })();
}

/** Imports, and the definitions that the entry point reaches; the code itself where that leaves nothing. */
function neededBy(code: string, entry: string, parser: Parser): string {
  const tree = parser.parse(code)!;
  try {
    const imports: Node[] = [], definitions = new Map<string | undefined, Node>();
    for (const child of childrenOf(tree.rootNode)) {
      if (child.type === "import_statement" || child.type === "import_from_statement") imports.push(child);
      const definition = definitionOf(child);
      if (!definition) continue;
      const name = firstIdentifier(definition);
      // The first definition of a name counts, of whatever kind.
      if (!definitions.has(name)) definitions.set(name, definition);
    }
    const reached = reachedFrom(entry, definitions);
    const kept = [...definitions].flatMap(([name, node]) => name !== undefined && reached.has(name) ? [node] : []);
    const text = strip([...imports, ...kept].map(({ text }) => text).join("\n"));
    return text === "" ? code : text;
  } finally {
    tree.delete();
  }
}

/** The class, function or assignment that a statement is; a function without `return` is none, a decorated one neither. */
function definitionOf(statement: Node): Node | undefined {
  if (statement.type === "class_definition") return statement;
  if (statement.type === "function_definition") return returns(statement) ? statement : undefined;
  const [first] = childrenOf(statement);
  return statement.type === "expression_statement" && first.type === "assignment" ? first : undefined;
}

/** The name by which evalplus knows a definition: its first direct identifier, which is not always what is defined. */
function firstIdentifier(node: Node): string | undefined {
  return childrenOf(node).find(({ type }) => type === "identifier")?.text;
}

function childrenOf(node: Node): Node[] {
  return node.children.filter((child) => child !== null);
}

/**
 * Whether evalplus' walk meets a `return`. Its walk counts a level per leaf and not per step down, and ends where that
 * count is used up; copied, so that the same functions are kept.
 */
function returns(node: Node): boolean {
  using cursor = Object.assign(node.walk(), {
    [Symbol.dispose](this: { delete(): void }) {
      this.delete();
    },
  });
  for (let depth = 0, wentUp = false;;) {
    if (!wentUp) {
      if (cursor.nodeType === "return_statement") return true;
      if (!cursor.gotoFirstChild()) {
        depth++;
        wentUp = true;
      }
    } else if (cursor.gotoNextSibling()) wentUp = false;
    else if (!cursor.gotoParent() || depth === 0) return false;
    else depth--;
  }
}

/** Every name that the entry's definition mentions, those mention, and so on. */
function reachedFrom(entry: string, definitions: ReadonlyMap<string | undefined, Node>): Set<string> {
  const reached = new Set([entry]);
  for (const name of reached) {
    const definition = definitions.get(name);
    if (!definition) continue;
    for (const { text } of definition.descendantsOfType("identifier").filter((node) => node !== null)) {
      reached.add(text);
    }
  }
  return reached;
}

/** Python's `str.strip()`, whose white space is not JavaScript's. */
function strip(text: string): string {
  const space = "[\\t-\\r\\x1c- \\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]+";
  return text.replace(new RegExp(`^${space}`), "").replace(new RegExp(`${space}$`), "");
}
