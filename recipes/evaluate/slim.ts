/**
 * @file Cuts from Pyodide's glue and module what only dynamic linking and the bridge to JavaScript would use.
 *
 * Pyodide exports 8,560 symbols so that side modules can link to them, and every fresh interpreter wraps each of them
 * in JavaScript several times. An interpreter that links nothing needs about 400. Without the rest a fresh one stands in
 * a third of the time, and code that would break out of Python finds less to hold on to.
 */
import { join, unsigned } from "./bytes.ts";

/** The two files after the cut. */
export interface Slim {
  readonly wasm: Uint8Array<ArrayBuffer>;
  readonly glue: Uint8Array<ArrayBuffer>;
}

/** Exports that our own worker calls. */
const ours = ["PyImport_Inittab", "PyRun_SimpleString", "malloc", "memory", "main"];

/**
 * Makes the cut: an export stays where the glue's code names it, where the module itself imports its address, or where
 * our worker calls it.
 *
 * @throws Error where the glue is not of the form that this Pyodide version has
 */
export function slim(wasm: Uint8Array, glueBytes: Uint8Array): Slim {
  const glue = new TextDecoder().decode(glueBytes);
  const assign = glue.indexOf("function assignWasmExports(wasmExports){");
  const assignEnd = glue.indexOf("}", assign) + 1;
  const declared = glue.lastIndexOf("var ", glue.lastIndexOf("wasmTable,wasmMemory;", assign));
  if (assign < 0 || declared < 0 || glue.slice(assign, assignEnd).split("{").length !== 2) {
    throw new Error("pyodide: its glue code has another form than this version's");
  }
  const rest = glue.slice(0, declared) + glue.slice(assignEnd);
  const named = new Set([...rest.match(/[\w$]+/g) ?? [], ...ours, ...ours.map((name) => "_" + name)]);
  const variables = glue.slice(declared + 4, assign).split(/[,;]/).filter((name) => named.has(name));
  const open = glue.indexOf("{", assign) + 1;
  const assignments = glue.slice(open, assignEnd - 1).split(";").filter((text) => named.has(text.split("=")[0]));
  const text = glue.slice(0, declared) + `var ${variables.join()};function assignWasmExports(wasmExports){` +
    assignments.join(";") + "}" + glue.slice(assignEnd);
  const wanted = (name: string): boolean => named.has(name) || named.has("_" + name);
  return { wasm: keepExports(wasm, wanted), glue: new TextEncoder().encode(text) };
}

/** The module with the unwanted function and global exports left out; what its code imports by address stays. */
function keepExports(wasm: Uint8Array, wanted: (name: string) => boolean): Uint8Array<ArrayBuffer> {
  const parts: Uint8Array[] = [wasm.subarray(0, 8)];
  const cursor = { at: 8 };
  const number = (): number => {
    for (let value = 0, scale = 1;; scale *= 128) {
      const byte = wasm[cursor.at++];
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
  };
  const addresses = new Set<string>();
  for (const { module, name } of WebAssembly.Module.imports(new WebAssembly.Module(wasm as Uint8Array<ArrayBuffer>))) {
    if (module.startsWith("GOT.")) addresses.add(name);
  }
  while (cursor.at < wasm.length) {
    const start = cursor.at;
    const id = wasm[cursor.at++];
    const size = number();
    const end = cursor.at + size;
    if (id !== 7) {
      parts.push(wasm.subarray(start, end));
      cursor.at = end;
      continue;
    }
    const kept: Uint8Array[] = [];
    for (let count = number(); count > 0; count--) {
      const from = cursor.at;
      const length = number();
      const name = new TextDecoder().decode(wasm.subarray(cursor.at, cursor.at + length));
      cursor.at += length;
      const kind = wasm[cursor.at++];
      number();
      const isCode = kind === 0 || kind === 3;
      if (!isCode || addresses.has(name) || wanted(name)) kept.push(wasm.subarray(from, cursor.at));
    }
    const body = join([new Uint8Array(unsigned(kept.length)), ...kept]);
    parts.push(new Uint8Array([7, ...unsigned(body.length)]), body);
  }
  return join(parts);
}
