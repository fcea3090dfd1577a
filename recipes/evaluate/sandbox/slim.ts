/**
 * @file Cuts from Pyodide's glue and module what only dynamic linking and the bridge to JavaScript would use.
 *
 * Pyodide exports 8,560 symbols so that side modules can link to them, and every fresh interpreter wraps each of them
 * in JavaScript several times. An interpreter that links nothing needs about 400. Without the rest a fresh one stands in
 * a third of the time, and code that would break out of Python finds less to hold on to.
 */
import { join, unsigned } from "../bytes.ts";

/** The two files after the cut. */
export interface Slim {
  /** The module with the exports that are used. */
  readonly wasm: Uint8Array<ArrayBuffer>;
  /** The JavaScript around it. */
  readonly glue: Uint8Array<ArrayBuffer>;
}

/** Exports that our own worker calls, and members of the module object that it reads. */
const ours = ["PyImport_Inittab", "PyRun_SimpleString", "malloc", "memory", "main"];
const members = ["FS", "MEMFS", "ENV", "growMemory", "addRunDependency", "removeRunDependency"];

/**
 * Makes the cut: an export stays where the glue's code names it, where the module itself imports its address, or where
 * our worker calls it; an import stays where the module imports it.
 *
 * @throws Error where the glue is not of the form that this Pyodide version has
 */
export function slim(wasm: Uint8Array<ArrayBuffer>, glueBytes: Uint8Array): Slim {
  const imports = WebAssembly.Module.imports(new WebAssembly.Module(wasm));
  const addresses = new Set(imports.filter(({ module }) => module.startsWith("GOT.")).map(({ name }) => name));
  const imported = new Set(imports.map(({ name }) => name));
  const glue = rememberAddresses(dropLibrary(new TextDecoder().decode(glueBytes), imported, addresses));

  const assign = glue.indexOf("function assignWasmExports(wasmExports){");
  const assignEnd = glue.indexOf("}", assign) + 1;
  const declared = glue.lastIndexOf("var ", glue.lastIndexOf("wasmTable,wasmMemory;", assign));
  if (assign < 0 || declared < 0 || glue.slice(assign, assignEnd).split("{").length !== 2) throw otherForm();
  const rest = glue.slice(0, declared) + glue.slice(assignEnd);
  const named = new Set([...rest.match(/[\w$]+/g) ?? [], ...ours, ...ours.map((name) => "_" + name)]);
  const variables = glue.slice(declared + 4, assign).split(/[,;]/).filter((name) => named.has(name));
  const open = glue.indexOf("{", assign) + 1;
  const assignments = glue.slice(open, assignEnd - 1).split(";").filter((text) => named.has(text.split("=")[0]));
  const text = glue.slice(0, declared) + `var ${variables.join()};function assignWasmExports(wasmExports){` +
    assignments.join(";") + "}" + glue.slice(assignEnd);
  const wanted = (name: string): boolean => addresses.has(name) || named.has(name) || named.has("_" + name);
  return { wasm: keepExports(wasm, wanted), glue: new TextEncoder().encode(text) };
}

function otherForm(): Error {
  return new Error("pyodide: its glue code has another form than this version's");
}

/** Leaves out what the glue offers to side modules: library functions in the import table, their signatures and names. */
function dropLibrary(glue: string, imported: ReadonlySet<string>, addresses: ReadonlySet<string>): string {
  const start = glue.indexOf("var wasmImports={") + "var wasmImports={".length;
  const end = glue.indexOf("}", start);
  const kept = glue.slice(start, end).split(",").filter((entry) => imported.has(entry.split(":")[0]));
  if (kept.length < 200) throw otherForm();
  const text = glue.slice(0, start) + kept.join() + glue.slice(end);
  // A member is read where it is named after a dot, or in brackets a second time (the first is its assignment).
  const read = new Set(members);
  const assigned = new Set<string>();
  for (const [, quoted, dotted] of text.matchAll(/Module(?:\["([\w$]+)"\]|\.([\w$]+))/g)) {
    if (dotted !== undefined || assigned.has(quoted)) read.add(dotted ?? quoted);
    else assigned.add(quoted);
  }
  return text
    .replace(/(?<=[;}])_([\w$]+)\.sig="[^"]*";/g, (found, name) => addresses.has(name) ? found : "")
    .replace(/(?<=[;}])Module\["([\w$]+)"\]=\1;/g, (found, name) => read.has(name) ? found : "");
}

/**
 * Lets the glue take function addresses from `Module.addresses` where the caller gives them. Without, it wraps each of
 * 14,000 functions of the table to find some 300 of them, in every fresh interpreter. They depend on the files alone.
 */
function rememberAddresses(glue: string): string {
  const changes = [
    ["newValue=addFunction(value)", "newValue=Module.addresses?.[symName]??addFunction(value)"],
    [
      "entry.value=addFunction(value,value.sig)",
      "entry.value=Module.addresses?.[symName]??addFunction(value,value.sig)",
    ],
    ["updateTableMap(0,wasmTable.length)", "Module.addresses||updateTableMap(0,wasmTable.length)"],
    ["var GOT={};", "var GOT=Module.got={};"],
  ];
  return changes.reduce((text, [from, to]) => {
    if (text.split(from).length !== 2) throw otherForm();
    return text.replace(from, to);
  }, glue);
}

/** The module with the unwanted function and global exports left out. */
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
      if (!isCode || wanted(name)) kept.push(wasm.subarray(from, cursor.at));
    }
    const body = join([new Uint8Array(unsigned(kept.length)), ...kept]);
    parts.push(new Uint8Array([7, ...unsigned(body.length)]), body);
  }
  return join(parts);
}
