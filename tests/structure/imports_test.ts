/**
 * @file Who may import whom, by the imports that are there: every folder takes from those before it in
 * dsl ← backend ← recipes ← recipes/cli, no files import each other in a circle, and nothing is exported for nobody.
 */
import { assertEquals } from "@std/assert";
import { type Import, type Module, modules } from "./modules.ts";

const all = modules();
const byPath = new Map(all.map((module) => [module.path, module]));

/** Tests and what only they use: they may import everything. */
const isTest = (path: string): boolean => path.startsWith("tests/") || /[_/](test|testing)\.ts$/.test(path);

/** Folders and what they may import beside themselves. The first that a path begins with is its own. */
const rooms: Readonly<Record<string, readonly string[]>> = {
  "dsl": [],
  "backend": ["dsl", "native_sources.json"],
  "recipes/cli": ["dsl", "backend", "recipes"],
  "recipes/examples": ["mod.ts", "dsl", "backend", "recipes"],
  "recipes": ["dsl", "backend"],
  // The bench takes from tests where models and other programs are kept, and times the examples.
  "bench": ["dsl", "backend", "recipes", "recipes/examples", "tests"],
  "mod.ts": ["dsl", "backend", "recipes"],
};

const roomOf = (path: string): string =>
  Object.keys(rooms).find((room) => path === room || path.startsWith(`${room}/`)) ?? path.split("/")[0];

Deno.test("a folder imports only what its place allows", () => {
  const wrong = all.filter(({ path }) => !isTest(path)).flatMap(({ path, imports }) => {
    const room = roomOf(path), allowed = new Set([room, ...rooms[room] ?? []]);
    return imports.filter(({ from }) => !allowed.has(roomOf(from))).map(({ from }) => `${path} imports ${from}`);
  });
  assertEquals(wrong, []);
});

Deno.test("the language does no I/O: nothing in dsl/ imports a package or speaks of Deno", () => {
  const wrong = all.filter(({ path }) => path.startsWith("dsl/") && !isTest(path))
    .filter(({ packages, usesDeno }) => packages.length > 0 || usesDeno).map(({ path }) => path);
  assertEquals(wrong, []);
});

Deno.test("no files import each other in a circle (types alone may, and what is loaded later)", () => {
  assertEquals(circles(all), []);
});

/** Sets of files that reach each other by imports that run when a file is loaded (Tarjan). */
function circles(modules: readonly Module[]): string[][] {
  const number = new Map<string, number>(),
    low = new Map<string, number>(),
    open: string[] = [],
    found: string[][] = [];
  const visit = ({ path, imports }: Module): void => {
    number.set(path, number.size);
    low.set(path, number.get(path)!);
    open.push(path);
    const lower = (to: number): void => void low.set(path, Math.min(low.get(path)!, to));
    for (const { from, typesOnly, later } of imports) {
      const next = byPath.get(from);
      if (!next || typesOnly || later) continue;
      if (!number.has(from)) {
        visit(next);
        lower(low.get(from)!);
      } else if (open.includes(from)) lower(number.get(from)!);
    }
    if (low.get(path) !== number.get(path)) return;
    const circle = open.splice(open.indexOf(path));
    if (circle.length > 1) found.push(circle);
  };
  for (const module of modules) if (!number.has(module.path)) visit(module);
  return found;
}

/** Files that are started or read from outside, and the one that stands in for a library (with that library's names). */
const started = ["mod.ts", "recipes/cli/main.ts", "recipes/examples/", "tests/mistakes/", "tests/assert.ts"];

Deno.test("every function, class and constant that is exported is imported by somebody", () => {
  const used = new Map<string, Set<string>>();
  const use = (path: string, name: string): void => {
    const names = used.get(path) ?? new Set();
    if (names.has(name)) return;
    used.set(path, names.add(name));
    for (const { from, names, again } of byPath.get(path)?.imports ?? []) {
      if (again) passedOn(names, name).forEach((each) => use(from, each));
    }
  };
  for (const { path, imports } of all) {
    for (const { from, names, again } of imports) {
      if (!again || started.includes(path)) { for (const name of names) use(from, name); }
    }
  }
  const unused = all.filter(({ path }) => !started.some((start) => path.startsWith(start))).flatMap((
    { path, exports },
  ) =>
    exports.filter((name) => !used.get(path)?.has(name) && !used.get(path)?.has("*")).map((name) => `${path}: ${name}`)
  );
  assertEquals(unused, []);
});

/** Which of the names that a file exports again somebody takes who takes `name` (or all) from it. */
const passedOn = (names: Import["names"], name: string): readonly string[] =>
  name === "*" ? names : names.includes(name) ? [name] : names.includes("*") ? [name] : [];
