/** @file TypeScript's own check and emit of one program, in memory: `tsc --target esnext`, as MultiPL-E calls it. */
import ts from "npm:typescript@5.9.3";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const options: ts.CompilerOptions = {
  target: ts.ScriptTarget.ESNext,
  module: ts.ModuleKind.CommonJS,
  moduleDetection: ts.ModuleDetectionKind.Auto,
  types: [],
  noEmitOnError: true,
};

/** TypeScript's declarations of the language and the DOM, parsed once. */
const libraries = new Map<string, ts.SourceFile>();

/** JavaScript of the program, or its first error. */
export function checked(program: string): { readonly code: string } | { readonly error: string } {
  const name = "/program.ts", folder = dirname(fileURLToPath(import.meta.resolve("npm:typescript@5.9.3")));
  const source = ts.createSourceFile(name, program, ts.ScriptTarget.ESNext, true);
  let code = "";
  const host: ts.CompilerHost = {
    getSourceFile: (path) => path === name ? source : library(path),
    getDefaultLibFileName: (given) => join(folder, ts.getDefaultLibFileName(given)),
    writeFile: (_, text) => code = text,
    getCurrentDirectory: () => "/",
    getCanonicalFileName: (path) => path,
    useCaseSensitiveFileNames: () => true,
    getNewLine: () => "\n",
    fileExists: (path) => path === name,
    readFile: () => undefined,
  };
  const library = (path: string): ts.SourceFile | undefined => {
    // Declarations alone: a program cannot name a file of this machine.
    if (dirname(path) !== folder || !/[\\/]lib\.[\w.]*d\.ts$/.test(path)) return undefined;
    const known = libraries.get(path) ?? ts.createSourceFile(path, Deno.readTextFileSync(path), ts.ScriptTarget.ESNext);
    libraries.set(path, known);
    return known;
  };
  const built = ts.createProgram([name], options, host);
  const [error] = ts.getPreEmitDiagnostics(built, source);
  if (error) return { error: `TypeScript: ${ts.flattenDiagnosticMessageText(error.messageText, " ").slice(0, 300)}` };
  built.emit();
  return { code };
}
