/**
 * @file Tests that are code, without showing them to the sample.
 *
 * `check(candidate)` holds both the arguments and the expected values. So it never runs beside a sample: it runs once
 * with the canonical solution to record the arguments of each call; the sample runs on those in its own interpreter; then
 * `check` runs in a judge's interpreter with a candidate that replays the sample's outputs.
 *
 * Exact as long as `check` makes the same calls each time (its random numbers are seeded) and looks at nothing but
 * returned values. A test that feeds outputs back into the candidate, or looks at how arguments were changed, cannot be
 * replayed; the sample then fails with that reason. None of HumanEval's 164 is of that kind. Arguments that are objects of
 * a class which the solution defines (Mbpp/601) travel as class name and attributes; the sample's own class is given them,
 * in lists, tuples, sets and dictionaries too. So do Python's types (Mbpp/533).
 */
import type { Task } from "../benchmarks/load.ts";
import { encode } from "../python/marshal.ts";
import type { Sandbox } from "../sandbox/pyodide.ts";
import { PyBytes, type PythonValue, Tuple } from "../python/values.ts";

/** The first item of a tuple that stands for an object: (mark, class name, attributes), None where it is a type. */
const objectMark = "xft object";

/**
 * Python: a value with objects of the solution's classes, and Python's own types, as marked tuples. Sets and dictionaries
 * that hold such objects are marked, too, with a list of their items: what stands for an object cannot be hashed.
 */
const describing = `
import builtins as xft_builtins
def xft_marked(value):
    if type(value) not in (list, tuple):
        return False
    return value[:1] == ("${objectMark}",) or any(map(xft_marked, value))
def xft_described(value):
    if type(value) in (list, tuple):
        return type(value)([xft_described(item) for item in value])
    if type(value) in (set, frozenset, dict):
        items = [xft_described(item) for item in (value.items() if type(value) is dict else value)]
        if not any(map(xft_marked, items)):
            return value
        ordered = items if type(value) is dict else sorted(items, key=repr)
        return ("${objectMark}", "{" + type(value).__name__ + "}", ordered)
    if type(value) is type and vars(xft_builtins).get(value.__name__) is value:
        return ("${objectMark}", value.__name__, None)
    if type(value).__module__ == __name__ and globals().get(type(value).__name__) is type(value):
        return ("${objectMark}", type(value).__name__, {name: xft_described(item) for name, item in vars(value).items()})
    return value
`;

/** Python: calls the solution with objects of its own classes instead of marked tuples. */
const building = (entry: string): string => `
import builtins as xft_builtins
xft_solution = ${entry}
def xft_built(value):
    if type(value) is tuple and len(value) == 3 and value[0] == "${objectMark}":
        if value[1][0] == "{":
            return getattr(xft_builtins, value[1][1:-1])([xft_built(item) for item in value[2]])
        if value[2] is None:
            return getattr(xft_builtins, value[1])
        made = object.__new__(globals()[value[1]])
        vars(made).update({name: xft_built(item) for name, item in value[2].items()})
        return made
    return type(value)([xft_built(item) for item in value]) if type(value) in (list, tuple) else value
def xft_with_objects(*arguments):
    return xft_solution(*map(xft_built, arguments))
`;

const hasObjects = (value: PythonValue): boolean =>
  value instanceof Tuple
    ? value.items[0] === objectMark || value.items.some(hasObjects)
    : Array.isArray(value) && value.some(hasObjects);

/** A sample's program and entry point for these inputs. */
export const programFor = (
  code: string,
  entry: string,
  inputs: readonly (readonly PythonValue[])[],
): { readonly code: string; readonly entry: string } =>
  inputs.some((input) => input.some(hasObjects))
    ? { code: `${code}\n${building(entry)}`, entry: "xft_with_objects" }
    : { code, entry };

/** The program whose `xft_record()` returns (marshal of the arguments, seconds) for each call of the tests. */
export function recordProgram(task: Task): string {
  // (One function of MBPP is called `check`, too.)
  return `${task.prompt}${task.canonical}
xft_canonical = ${task.entry}
${task.check}
${describing}
def xft_record():
    import marshal, random, time
    calls = []
    def recorder(*arguments):
        call, began = marshal.dumps(xft_described(arguments), 2), time.perf_counter()
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
${describing}
def xft_replay(calls, outputs):
    import marshal, random
    left = [(marshal.loads(call), output) for call, output in zip(calls, outputs)][::-1]
    def replay(*arguments):
        call, output = left.pop() if left else (None, b"")
        if call != xft_described(arguments):
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
