/** @file Files, functions and folders stay of a size that is read at one go. */
import { assertEquals } from "@std/assert";
import { dirname } from "node:path";
import { modules } from "./modules.ts";

const all = modules();

Deno.test("no file has more than 500 lines", () => {
  assertEquals(all.filter(({ lines }) => lines > 500).map(({ path, lines }) => `${path}: ${lines}`), []);
});

/** Functions that are one text or one table, in which a cut would be no step. */
const whole: Readonly<Record<string, string>> = {
  "backend/compiler/wgsl/reference.ts reference": "the page of the kernel reference, from top to bottom",
  "backend/compiler/wgsl/reference.ts step": "one case for each kind of step",
  "backend/compiler/wgsl/templates/product.ts direct": "one kernel's WGSL",
  "backend/compiler/wgsl/templates/product.ts tiles": "one kernel's WGSL",
  "backend/compiler/wgsl/templates/product/cooperative.ts cooperative": "one kernel's WGSL",
  "recipes/evaluate/sandbox/harness.ts harness": "one Python program",
  "tests/library/user_lines_test.ts file": "one user's file",
};

Deno.test("no function has more than 60 lines of its own, but those that are one text or table", () => {
  const long = all.filter(({ path }) => !path.endsWith("_test.ts")).flatMap(({ path, functions }) =>
    functions.filter(({ name, lines }) => lines > 60 && !whole[`${path} ${name}`])
      .map(({ name, lines }) => `${path} ${name}: ${lines}`)
  );
  assertEquals(long, []);
});

Deno.test("no folder has more than 15 files, tests aside", () => {
  const folders = Map.groupBy(all.filter(({ path }) => !path.endsWith("_test.ts")), ({ path }) => dirname(path));
  const full = [...folders].filter(([, files]) => files.length > 15);
  assertEquals(full.map(([folder, files]) => `${folder}: ${files.length}`), []);
});
