/**
 * @file Tests that are code, without showing them to the sample.
 *
 * `check(candidate)` holds both the arguments and the expected values. So it never runs beside a sample: it runs once
 * with the canonical solution to record the arguments of each call; the sample runs on those in its own interpreter; then
 * `check` runs in a judge's interpreter with a candidate that replays the sample's outputs.
 *
 * Exact as long as `check` makes the same calls each time (its random numbers are seeded) and looks at nothing but
 * returned values. A test that feeds outputs back into the candidate, or looks at how arguments were changed, cannot be
 * replayed; the sample then fails with that reason. None of HumanEval's 164 is of that kind.
 */
import type { Task } from "../benchmarks/load.ts";
import { encode } from "../python/marshal.ts";
import type { Sandbox } from "../sandbox/pyodide.ts";
import { PyBytes, type PythonValue, Tuple } from "../python/values.ts";

/** The program whose `xft_record()` returns (marshal of the arguments, seconds) for each call of the tests. */
export function recordProgram(task: Task): string {
  // (One function of MBPP is called `check`, too.)
  return `${task.prompt}${task.canonical}
xft_canonical = ${task.entry}
${task.check}
def xft_record():
    import marshal, random, time
    calls = []
    def recorder(*arguments):
        call, began = marshal.dumps(arguments, 2), time.perf_counter()
        try:
            return xft_canonical(*arguments)
        finally:
            calls.append((call, time.perf_counter() - began))
    random.seed(0)
    check(recorder)
    return calls
`;
}

function replayProgram(task: Task): string {
  return `${task.prompt}${task.canonical}
${task.check}
def xft_replay(calls, outputs):
    import marshal, random
    left = [(marshal.loads(call), output) for call, output in zip(calls, outputs)][::-1]
    def replay(*arguments):
        call, output = left.pop() if left else (None, b"")
        if call != arguments:
            raise RuntimeError("the tests cannot be replayed")
        return marshal.loads(output)
    random.seed(0)
    check(replay)
    return True
`;
}

/** Whether the tests accept these outputs; the reason where they do not. */
export async function judge(
  task: Task,
  inputs: readonly (readonly PythonValue[])[],
  outputs: readonly PythonValue[],
  sandbox: Sandbox,
): Promise<string | undefined> {
  const pack = (value: PythonValue): PyBytes => new PyBytes(encode(value));
  const calls = inputs.map((input) => pack(new Tuple([...input])));
  const outcome = await sandbox.run({
    code: replayProgram(task),
    entry: "xft_replay",
    inputs: [[calls, outputs.map(pack)]],
    seconds: 60,
  });
  const [result] = outcome.results;
  if (outcome.kind === "values" && result && "value" in result && result.value === true) return undefined;
  if (result && "error" in result) return `${result.error.type}: ${result.error.message}`;
  return "detail" in outcome ? outcome.detail : outcome.kind === "error" ? outcome.error.message : "not judged";
}
