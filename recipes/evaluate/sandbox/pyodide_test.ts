/** @file The WebAssembly sandbox: outcomes, limits, and that samples do not meet. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { withoutPermissions } from "./child.ts";
import { type Job, openSandbox, type Outcome, type Sandbox } from "./pyodide.ts";
import { runTasks } from "./tasks.ts";
import { withTempDir } from "../../../tests/support.ts";
import { PyComplex, PyDict, PySet, type PythonValue, Tuple } from "../python/values.ts";

const limitBytes = 1.5 * 2 ** 30;

/** The most memory that a process of the sandbox has held so far, as Linux counts it; 0 elsewhere or when it is gone. */
function peakBytes(processId: number): number {
  try {
    const status = Deno.readTextFileSync(`/proc/${processId}/status`);
    return Number(/VmHWM:\s*(\d+)/.exec(status)?.[1] ?? 0) * 1024;
  } catch {
    return 0;
  }
}

interface Watched {
  readonly sandbox: Sandbox;
  /** The largest peak of any process until now. */
  peak(): number;
}

/** Opens a sandbox of one process whose memory is watched. */
async function watched(run: (watched: Watched) => Promise<void>): Promise<void> {
  const processes: number[] = [];
  let peak = 0;
  const look = (): number => peak = Math.max(peak, ...processes.map(peakBytes));
  await using sandbox = await openSandbox({ concurrency: 1, onStart: (id) => processes.push(id) });
  const timer = setInterval(look, 20);
  try {
    await run({ sandbox, peak: look });
  } finally {
    clearInterval(timer);
  }
}

const call = (code: string, more: Partial<Job> = {}): Job => ({ code, entry: "f", inputs: [[]], seconds: 60, ...more });

/** The exception of the first call or of loading; empty where there was none. */
function raised(outcome: Outcome): string {
  if (outcome.kind === "error") return outcome.error.type;
  const [result] = outcome.results;
  return result && "error" in result ? result.error.type : "";
}

/** The sandbox still grades right samples right. */
async function goesOn(sandbox: Sandbox): Promise<void> {
  const outcome = await sandbox.run(call("def f(): return 41 + 1"));
  assert(outcome.kind === "values" && "value" in outcome.results[0]);
  assertEquals(outcome.results[0].value, 42n);
}

Deno.test("values go in and come out as they are", async () => {
  const inputs: PythonValue[] = [
    new Tuple([1n, 2.5, null, true, "é\ud800", -(2n ** 100n)]),
    [Infinity, -Infinity, -0],
    new PyDict([["b", [1n]], ["a", new PySet([1n], true)]]),
    new PyComplex(1, -2),
  ];
  await watched(async ({ sandbox }) => {
    const outcome = await sandbox.run(call("def f(x): return x", { inputs: inputs.map((input) => [input]) }));
    assertEquals(outcome.results.map((result) => "value" in result ? result.value : result.error), inputs);
    const kinds = await sandbox.run(call(`
import collections, enum
class Own: pass
class Color(enum.IntEnum): RED = 3
Point = collections.namedtuple("Point", "x y")
def f():
    return [collections.Counter("aab"), Color.RED, Point(1, 2), Own(), (i for i in ()), collections.deque([1]), range(3)]
`));
    assert("value" in kinds.results[0]);
    const [counter, color, point, own, generator, deque, range] = kinds.results[0].value as PythonValue[];
    assertEquals([counter, color, point], [new PyDict([["a", 2n], ["b", 1n]]), 3n, new Tuple([1n, 2n])]);
    assertEquals(own, Object.assign(Object.create(Object.getPrototypeOf(own)), { type: "Own", text: "" }));
    assertEquals([generator, deque, range].map((value) => (value as { text: string }).text), [
      "",
      "deque([1])",
      "range(0, 3)",
    ]);
  });
});

Deno.test("one interpreter grades one sample, and each call gets inputs of its own", async () => {
  await watched(async ({ sandbox }) => {
    const leave =
      "import builtins, math\nmath.pi = 3\nbuiltins.len = lambda x: 7\nopen('/home/left', 'w').write('x')\n";
    await sandbox.run(call(leave + "def f(): return 1"));
    const next = await sandbox.run(
      call("import math, os\ndef f(): return math.pi, len([]), os.path.exists('/home/left')"),
    );
    assertEquals(next.results.map((result) => "value" in result && result.value), [new Tuple([Math.PI, 0n, false])]);
    const mutating = "def f(x):\n    x.append(1)\n    return len(x)";
    const shared: PythonValue = [];
    const outcome = await sandbox.run(call(mutating, { inputs: [[shared], [shared]] }));
    assertEquals(outcome.results.map((result) => "value" in result && result.value), [1n, 1n]);
  });
});

/** Samples that go wrong by themselves: the exception says how. */
const failing: Record<string, [code: string, exception: string]> = {
  "a fork": ["import os\ndef f(): return os.fork()", "OSError"],
  "a fork bomb": ["import os\nwhile True: os.fork()", "OSError"],
  "a subprocess": ["import subprocess\ndef f(): return subprocess.run(['ls'])", "OSError"],
  "import js": ["import js\ndef f(): return 1", "ModuleNotFoundError"],
  "import pyodide": ["def f():\n  from pyodide.code import run_js\n  return run_js('1')", "ModuleNotFoundError"],
  "the bridge to JavaScript behind js": [
    "import sys\nfor n in ('js', 'pyodide_js', 'pyodide', '_pyodide', '_pyodide_core'): sys.modules.pop(n, None)\n" +
    "import _pyodide_core\ndef f(): return 1",
    "ModuleNotFoundError",
  ],
  "raw memory": ["import ctypes\ndef f(): return 1", "ModuleNotFoundError"],
  "a file of the machine": ["def f(): return open('/etc/passwd').read()", "FileNotFoundError"],
  "Pyodide's own file": ["def f(): return open('/proc/self/environ').read()", "FileNotFoundError"],
  "the network": ["import socket\ndef f(): return socket.create_connection(('127.0.0.1', 80), 1)", "OSError"],
  "a thread": ["import threading\ndef f(): threading.Thread(target=print).start()", "RuntimeError"],
  "endless recursion": ["def f(): return f()", "RecursionError"],
  "sys.exit in a call": ["import sys\ndef f(): sys.exit(0)", "SystemExit"],
  "sys.exit at the top": ["def f(): return 1\nraise SystemExit(0)\n", "SystemExit"],
  "input": ["def f(): return input()", "EOFError"],
  "a syntax error": ["def f(:", "SyntaxError"],
  "no such function": ["def g(): return 1", "KeyError"],
  "a value that contains itself": ["def f():\n  x = []\n  x.append(x)\n  return x", "ValueError"],
  "4 GB at once": ["def f(): return len(bytearray(4 * 10**9))", "OverflowError"],
};

Deno.test("what Python itself refuses is an exception of the sample", async (test) => {
  await watched(async ({ sandbox, peak }) => {
    for (const [name, [code, exception]] of Object.entries(failing)) {
      await test.step(name, async () => {
        assertEquals(raised(await sandbox.run(call(code))), exception);
      });
    }
    await goesOn(sandbox);
    assert(peak() < limitBytes);
  });
});

/** Samples that must be ended from outside. */
const ended: Record<string, [code: string, kind: Outcome["kind"], seconds: number]> = {
  "an endless loop": ["def f():\n  while True: pass", "timeout", 1],
  "an endless loop at the top": ["while True: pass", "timeout", 1],
  "an endless number": ["def f(): return 7**7**7**7", "timeout", 1],
  "a long sleep": ["import time\ndef f(): time.sleep(1000)", "timeout", 1],
  "10 GB of output": ["def f():\n  for _ in range(10**4): print('x' * 10**6)", "output", 60],
  "10 GB past sys.stdout": ["import os\ndef f():\n  for _ in range(10**4): os.write(1, b'x' * 10**6)", "output", 60],
  "10 GB to the terminal": [
    "def f():\n  with open('/dev/tty', 'w') as out:\n    for _ in range(10**4): out.write('x' * 10**6)",
    "output",
    60,
  ],
  "4 GB of memory": ["def f():\n  x = []\n  while True: x.append(b'x' * 10**7 + bytes(len(x)))", "memory", 60],
  "4 GB at the top": ["x = []\nwhile True: x.append(b'x' * 10**7 + bytes(len(x)))", "memory", 60],
  "os._exit": ["import os\ndef f(): os._exit(0)", "exit", 60],
  "an abort": ["import os\ndef f(): os.abort()", "crash", 60],
  "recursion past the stack": ["import sys\nsys.setrecursionlimit(10**9)\ndef f(): return f()", "crash", 60],
  "a value that unfolds endlessly": ["def f():\n  x = [1]\n  for _ in range(60): x = [x, x]\n  return x", "timeout", 1],
};

Deno.test("what does not end is ended, and the run goes on", async (test) => {
  await watched(async ({ sandbox, peak }) => {
    for (const [name, [code, kind, seconds]] of Object.entries(ended)) {
      await test.step(name, async () => {
        assertEquals((await sandbox.run(call(code, { seconds }))).kind, kind);
        assert(peak() < limitBytes, `the child held ${peak()} bytes`);
      });
    }
    await goesOn(sandbox);
  });
});

Deno.test("4 GB outside Python's heap stay out of the child too: files and pipes", async () => {
  await watched(async ({ sandbox, peak }) => {
    const file = "def f():\n  with open('/tmp/x', 'wb') as out:\n    for _ in range(4000): out.write(b'x' * 10**6)";
    assertEquals(raised(await sandbox.run(call(file))), "OSError");
    const pipe = "import os\ndef f():\n  r, w = os.pipe()\n  while True: os.write(w, b'x' * 10**6)";
    const { kind } = await sandbox.run(call(pipe, { seconds: 2 }));
    assert(kind === "timeout" || kind === "memory");
    assert(peak() < limitBytes);
    await goesOn(sandbox);
  });
});

Deno.test("a call that hangs costs its own limit, and the calls before it are kept", async () => {
  await watched(async ({ sandbox }) => {
    const code = "def f(x):\n  while x: pass\n  return x";
    const outcome = await sandbox.run(call(code, { inputs: [[0n], [1n], [0n]], callSeconds: 0.5 }));
    assertEquals(outcome.kind, "timeout");
    assertEquals(outcome.results.length, 1);
  });
});

Deno.test("a sample cannot say that it passed: it can only claim values, and only within its own calls", async () => {
  await watched(async ({ sandbox }) => {
    const forge = (message: string): string =>
      `import os\nout = os.open('/dev/xft', os.O_WRONLY)\n${message}\ndef f(): return 1`;
    const value = "os.write(out, b'v' + bytes(8) + b'i' + (7).to_bytes(4, 'little'))";
    const more = await sandbox.run(call(forge(`${value}; ${value}`)));
    assertEquals(more.kind, "crash");
    const early = await sandbox.run(call(forge(`${value}; os.write(out, b'd'); os._exit(0)`)));
    assertEquals(early.kind, "exit");
    const nonsense = await sandbox.run(call(forge("os.write(out, b'v' + bytes(8) + b'[\\xff\\xff\\xff\\x7f')")));
    assertEquals(nonsense.kind, "crash");
    const printed = await sandbox.run(call("print('passed', flush=True)\ndef f(): return 0"));
    assertEquals(printed.printed, "passed\n");
    assertEquals(printed.results.map((result) => "value" in result && result.value), [0n]);
    await goesOn(sandbox);
  });
});

/** Each way out of a JavaScript realm, tried: what it answered. Runs in the child, as text. */
async function reachOut(port: number, folder: string): Promise<Record<string, string>> {
  const url = `http://127.0.0.1:${port}/`;
  const tried = async (attempt: () => unknown): Promise<string> => {
    try {
      await attempt();
      return "went through";
    } catch (error) {
      return `${(error as Error).name}: ${(error as Error).message}`;
    }
  };
  return {
    connect: await tried(() => Deno.connect({ hostname: "127.0.0.1", port })),
    listen: await tried(() => Deno.listen({ hostname: "127.0.0.1", port: 0 })),
    fetch: await tried(() => fetch(url)),
    socket: await tried(() =>
      new Promise((resolve, reject) => {
        const socket = new WebSocket(url.replace("http", "ws"));
        socket.onopen = resolve;
        socket.onerror = (event) => reject(new Error((event as ErrorEvent).message));
      })
    ),
    resolve: await tried(() => Deno.resolveDns("localhost", "A")),
    module: await tried(() => import(`${url}module.js`)),
    node: await tried(async () => (await import("node:net")).createServer().listen(0)),
    read: await tried(() => Deno.readTextFileSync("/etc/hosts")),
    write: await tried(() => Deno.writeTextFileSync(`${folder}/left`, "")),
    run: await tried(() => new Deno.Command("/bin/sh", { args: ["-c", "exit"] }).outputSync()),
    env: await tried(() => Deno.env.toObject()),
    sys: await tried(() => Deno.hostname()),
    ffi: await tried(() => Deno.dlopen("libc.so.6", {})),
  };
}

Deno.test("the child's process may do nothing, nor may its workers: every way out is refused", () =>
  withTempDir(async (folder) => {
    using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    let reached = 0;
    const accepting = (async () => {
      for await (const connection of listener) {
        reached++;
        connection.close();
      }
    })();
    const asked = `(${reachOut})(${listener.addr.port}, ${JSON.stringify(folder)})`;
    const program = `
const text = "postMessage(await " + ${JSON.stringify(asked)} + ")";
const worker = new Worker(URL.createObjectURL(new Blob([text], { type: "text/javascript" })), { type: "module" });
const inside = new Promise((resolve) => worker.onmessage = ({ data }) => resolve(data));
console.log(JSON.stringify([await ${asked}, await inside]));
Deno.exit(0);`;
    const answers = async (change: (args: readonly string[]) => string[]): Promise<[way: string, answer: string][]> => {
      const { args = [], ...options } = withoutPermissions(program, ["--max-old-space-size=256"]);
      const { stdout, stderr } = await new Deno.Command(Deno.execPath(), { ...options, args: change(args) }).output();
      const text = new TextDecoder().decode(stdout);
      assert(text !== "", new TextDecoder().decode(stderr));
      return JSON.parse(text).flatMap((each: Record<string, string>) => Object.entries(each));
    };
    // The same program where it may: the ways are there, so that it is the missing permission that closes them.
    const open = await answers((args) => args.toSpliced(1, 0, "--allow-all"));
    const shut = open.filter(([, answer]) => answer !== "went through").map(([way]) => way);
    for (const way of ["connect", "listen", "node", "read", "write", "env", "sys"]) assert(!shut.includes(way), way);
    assert(reached > 0);
    reached = 0;
    await Deno.remove(`${folder}/left`);
    for (const [way, answer] of await answers((args) => [...args])) {
      assertMatch(answer, way === "module" ? /--no-remote/ : /^NotCapable: Requires/, `${way}: ${answer}`);
    }
    listener.close();
    await accepting.catch(() => {});
    assertEquals([reached, [...Deno.readDirSync(folder)]], [0, []]);
  }));

Deno.test("reruns give the same values: hashes and random numbers start the same", async () => {
  const sample = { code: "import random\ndef f(): return [hash('a'), random.random()]", entry: "f", inputs: [[]] };
  const done: number[] = [];
  const onDone = (index: number): number => done.push(index);
  const [a, b] = await runTasks([sample, sample], { onDone, concurrency: 1 });
  const [c] = await runTasks([sample], { concurrency: 1 });
  assert("value" in a.results[0] && "value" in c.results[0]);
  assertEquals(a, b);
  assertEquals(a.results[0].value, c.results[0].value);
  assertEquals(done.toSorted(), [0, 1]);
});
