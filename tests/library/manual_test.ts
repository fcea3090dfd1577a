/** @file `deno doc mod.ts` is the manual: its overview names everything that can be called, and nothing else. */
import { assertEquals } from "@std/assert";
import * as xft from "../../mod.ts";
import { checkout } from "../support.ts";

Deno.test("mod.ts: the overview names every function in one of its groups (add a new one there), and no other", () => {
  const [overview] = Deno.readTextFileSync(checkout("mod.ts")).split("@module");
  const prose = overview.replaceAll(/```[^]*?```/g, "");
  const named = new Set([...prose.matchAll(/`([a-zA-Z]\w*)`|@linkcode (\w+)/g)].map((match) => match[1] ?? match[2]));
  // Types are for the reader of a signature; the overview links to those it needs.
  const types = new Set(["Device"]);
  const callable = Object.keys(xft);
  assertEquals(callable.filter((name) => !named.has(name)), [], "not in the overview");
  assertEquals([...named].filter((name) => !types.has(name) && !callable.includes(name)), [], "not exported");
});
