/**
 * @file The project's own TypeScript as a graph, read off its syntax trees: which file imports which names from which,
 * what each one exports, and how long its functions are.
 */
import { dirname, join } from "node:path";
import config from "../../deno.json" with { type: "json" };
import { checkout } from "../support.ts";

const aliases: Readonly<Record<string, string>> = config.imports;

/** Names one file takes from another; "*" stands for all of them. */
export interface Import {
  /** The other file, from the checkout's root. */
  readonly from: string;
  readonly names: readonly string[];
  /** Whether nothing of it is left at run time. */
  readonly typesOnly: boolean;
  /** Whether it is read only when the program gets there (`await import`). */
  readonly later: boolean;
  /** Whether the names are exported again. */
  readonly again: boolean;
}

/** A function with a name, or the name of what it is given to. */
export interface Function {
  readonly name: string;
  /** Its own lines: those of functions with names inside it are theirs. */
  readonly lines: number;
}

/** A source file. */
export interface Module {
  /** From the checkout's root. */
  readonly path: string;
  readonly lines: number;
  readonly imports: readonly Import[];
  /** Specifiers of what lies outside the checkout. */
  readonly packages: readonly string[];
  /** Whether it speaks of `Deno`. */
  readonly usesDeno: boolean;
  /** Functions, classes and constants that are exported here; not types. */
  readonly exports: readonly string[];
  readonly functions: readonly Function[];
}

/** Every file of this checkout that git keeps and whose path fits the pattern (`*.ts`), from its root, sorted. */
function sources(pattern: string): string[] {
  const args = ["ls-files", "--cached", "--others", "--exclude-standard", "--deduplicate", pattern];
  const { stdout } = new Deno.Command("git", { args, cwd: checkout(".") }).outputSync();
  const paths = new TextDecoder().decode(stdout).trim().split("\n");
  return paths.filter((path) => existsIn(path)).sort();
}

function existsIn(path: string): boolean {
  try {
    return Deno.statSync(checkout(path)).isFile;
  } catch {
    return false;
  }
}

/** Every TypeScript file of the project. Works inside `deno test` only: there Deno lends its parser. */
export function modules(): Module[] {
  return sources("*.ts").map(moduleOf);
}

type Name = Deno.lint.Identifier | Deno.lint.StringLiteral;

type FunctionNode = Deno.lint.FunctionDeclaration | Deno.lint.FunctionExpression | Deno.lint.ArrowFunctionExpression;

function text(name: Name): string {
  return name.type === "Identifier" ? name.name : name.value;
}

/** Names that a declaration declares; the project exports no patterns. */
function declared(declaration: Deno.lint.ExportNamedDeclaration["declaration"]): string[] {
  if (!declaration) return [];
  if (declaration.type === "VariableDeclaration") {
    return declaration.declarations.flatMap(({ id }) => id.type === "Identifier" ? [id.name] : []);
  }
  if (declaration.type === "TSInterfaceDeclaration" || declaration.type === "TSTypeAliasDeclaration") return [];
  return "id" in declaration && declaration.id?.type === "Identifier" ? [declaration.id.name] : [];
}

/** A function's own name, or that of the constant, property or call it is given to. */
function nameOf(node: FunctionNode): string {
  if (node.type !== "ArrowFunctionExpression" && node.id) return node.id.name;
  const { parent } = node;
  if (parent.type === "VariableDeclarator" && parent.id.type === "Identifier") return parent.id.name;
  if ((parent.type === "Property" || parent.type === "MethodDefinition") && parent.key.type === "Identifier") {
    return parent.key.name;
  }
  return nameless;
}

const nameless = "a function";

/** Lines from each function's beginning to its end, less those of the outermost functions with names inside it. */
function measured(functions: readonly Placed[]): Function[] {
  const named = functions.filter(({ name }) => name !== nameless);
  const within = (inner: Placed, outer: Placed): boolean =>
    inner !== outer && outer.from <= inner.from && inner.to <= outer.to;
  return functions.map((one) => {
    const inside = named.filter((other) => within(other, one));
    const outermost = inside.filter((other) => !inside.some((third) => within(other, third)));
    return { name: one.name, lines: outermost.reduce((left, { lines }) => left - lines, one.lines) };
  });
}

/** A function and where in the file it stands. */
interface Placed extends Function {
  readonly from: number;
  readonly to: number;
}

function moduleOf(path: string): Module {
  const source = Deno.readTextFileSync(checkout(path));
  const imports: Import[] = [];
  const exports: string[] = [];
  const functions: Placed[] = [];
  const packages: string[] = [];
  let usesDeno = false;
  const take = (specifier: string, names: string[], how: Partial<Omit<Import, "from" | "names">> = {}): void => {
    const mapped = aliases[specifier];
    if (!mapped?.startsWith(".") && !specifier.startsWith(".")) return void packages.push(specifier);
    const from = mapped ? join(mapped) : join(dirname(path), specifier);
    imports.push({ from, names, typesOnly: false, later: false, again: false, ...how });
  };
  const measure = (node: FunctionNode): void => {
    const [from, to] = node.range;
    functions.push({ name: nameOf(node), lines: source.slice(from, to).split("\n").length, from, to });
  };
  const visitor: Deno.lint.LintVisitor = {
    ImportDeclaration({ source: from, specifiers, importKind }) {
      const names = specifiers.map((one) =>
        one.type === "ImportSpecifier" ? text(one.imported) : one.type === "ImportDefaultSpecifier" ? "default" : "*"
      );
      const types = specifiers.map((one) => one.type === "ImportSpecifier" && one.importKind === "type");
      take(from.value, names, { typesOnly: importKind === "type" || (types.length > 0 && types.every(Boolean)) });
    },
    ImportExpression({ source: from }) {
      if (from.type === "Literal" && typeof from.value === "string") take(from.value, ["*"], { later: true });
    },
    ExportAllDeclaration({ source: from, exportKind }) {
      take(from.value, ["*"], { typesOnly: exportKind === "type", again: true });
    },
    ExportNamedDeclaration({ source: from, specifiers, declaration, exportKind }) {
      const names = specifiers.map(({ local }) => text(local));
      const values = specifiers.filter((one) => exportKind !== "type" && one.exportKind !== "type");
      exports.push(...values.map(({ exported }) => text(exported)));
      if (from) take(from.value, names, { typesOnly: exportKind === "type", again: true });
      else if (exportKind !== "type") exports.push(...declared(declaration));
    },
    ExportDefaultDeclaration() {
      exports.push("default");
    },
    Identifier({ name }) {
      usesDeno ||= name === "Deno";
    },
    FunctionDeclaration: measure,
    FunctionExpression: measure,
    ArrowFunctionExpression: measure,
  };
  Deno.lint.runPlugin({ name: "modules", rules: { read: { create: () => visitor } } }, path, source);
  return {
    path,
    lines: source.trimEnd().split("\n").length,
    imports,
    packages,
    usesDeno,
    exports,
    functions: measured(functions),
  };
}
