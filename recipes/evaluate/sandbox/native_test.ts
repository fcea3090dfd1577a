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
