/** @file Native CPython's sandbox against WebAssembly's. */
import { assert, assertEquals } from "@std/assert";
import { openSandbox, type Outcome } from "./pyodide.ts";
import { PyComplex, PyDict, PySet, type PythonValue, Tuple } from "../python/values.ts";
import { whyNotConfined } from "./bwrap.ts";
import { openNativeSandbox } from "./native.ts";

const reason = await whyNotConfined();
if (reason !== undefined) console.error(`not confined here, its tests are skipped: ${reason}`);

/** What a grader sees of an outcome: how it ended, and values or the names of exceptions. */
function seen(outcome: Outcome): unknown {
  const results = outcome.results.map((result) => "value" in result ? result.value : result.error.type);
  return [outcome.kind, outcome.kind === "error" ? outcome.error.type : results];
}

const values: PythonValue[] = [
  new Tuple([1n, 2.5, null, true, "é\ud800", -(2n ** 100n)]),
  [Infinity, -Infinity, -0],
  new PyDict([["b", [1n]], ["a", new PySet([1n], true)]]),
  new PyComplex(1, -2),
];

/** Programs and their arguments, whose outcomes do not depend on the interpreter. */
const samples: Record<string, [code: string, inputs: readonly (readonly PythonValue[])[]]> = {
  ...annotated(),
  "values pass through": ["def f(x): return x", values.map((value) => [value])],
  "exceptions of calls": ["def f(x): return 1 / x", [[2n], [0n], [4n]]],
  "a tuple is no list": ["def f(x): return tuple(x)", [[[1n, 2n]]]],
  "a syntax error": ["def f(:", [[]]],
  "no such function": ["def g(): pass", [[]]],
  "leaving when loading": ["raise SystemExit(0)", [[]]],
  "leaving in a call": ["import os\ndef f(): os._exit(0)", [[]]],
  "an endless call after a good one": ["def f(x):\n  while x: pass\n  return x", [[0n], [1n]]],
  "arguments are copies": ["def f(x):\n  x.append(1)\n  return x", [[[]], [[]]]],
};

/** Annotations: names that are not there, not yet, or not to be looked up; Python 3.14 would look up none of them. */
function annotated(): typeof samples {
  const tail = "\ndef f(): return 1";
  const programs: Record<string, string> = {
    "of a parameter": "def f(x: List[int] = 1): return x",
    "of a result": "def f() -> Optional[int]: return 1",
    "of a keyword that needs a value": "def f(*, x: Missing = 1): return x",
    "of a method, the class itself": `class Node:\n  def add(self, other: Node): pass${tail}`,
    "of a method, what the class has": `class Node:\n  kind = int\n  def add(self, other: kind): pass${tail}`,
    "of an attribute": `class Node:\n  next: Missing${tail}`,
    "of an attribute, of a dataclass": "from dataclasses import dataclass\n@dataclass\nclass P:\n  x: int = 3\n" +
      "def f(): return [P().x, sorted(P.__annotations__), P.__annotations__['x'] is int]",
    "of a variable": `x: Missing = 1${tail}`,
    "of a variable, with a value": "x: int = 4\ndef f(): return x",
    "of a variable of a function": "def f():\n  x: Missing = 1\n  return x",
    "of a function in a function": "def f():\n  def g(x: Missing): return x\n  return g(1)",
    "of a function in a function, its own name":
      "def f(k=int):\n  def g(x: k): return x\n  return g.__annotations__['x']()",
    "of a function that comes before what it names": `def g(x: Late): pass\nLate = int${tail}`,
    "that are texts": "def f(x: 'Missing' = 2) -> 'List[int]': return x",
    "that nobody evaluates": "from __future__ import annotations\ndef f(x: List[int] = 3): return x",
    "that print": "seen = []\ndef note(x): seen.append(x); return x\n@note\ndef g(x: note(1) = note(0)): pass\n" +
      "def f(): return seen[:2]",
    "of an asynchronous function": `async def g(x: Missing): pass${tail}`,
    "with a docstring": 'def f(x: int = 1):\n  """Says what."""\n  return f.__doc__',
  };
  return Object.fromEntries(Object.entries(programs).map(([name, code]) => [`annotations ${name}`, [code, [[]]]]));
}

Deno.test({
  name: "both sandboxes see the same of a sample",
  ignore: reason !== undefined,
  fn: async (test) => {
    await using wasm = await openSandbox({ concurrency: 1 });
    await using native = await openNativeSandbox({ concurrency: 1 });
    assert(wasm.interpreter !== native.interpreter);
    for (const [name, [code, inputs]] of Object.entries(samples)) {
      await test.step(name, async () => {
        const job = { code, entry: "f", inputs, callSeconds: 1, seconds: 60 };
        assertEquals(seen(await native.run(job)), seen(await wasm.run(job)));
      });
    }
  },
});
