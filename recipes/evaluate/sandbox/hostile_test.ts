/**
 * @file Hostile samples in every sandbox: none passes, right ones between them do, nothing is left.
 *
 * Each sandbox is tried in a process of its own, which is this file run with the sandbox's name: its environment and
 * the processes below it are its alone, whatever tests run beside it.
 */
import { assert, assertEquals } from "@std/assert";
import { fileURLToPath } from "node:url";
import { withTempDir } from "../../../tests/support.ts";
import type { Benchmark } from "../benchmarks/load.ts";
import { gradeSamples } from "../grading/grade.ts";
import { openSandbox, type Sandbox } from "./pyodide.ts";
import { whyNotConfined } from "./bwrap.ts";
import { hostileSamples } from "./hostile.ts";
import { openNativeSandbox } from "./native.ts";

const reason = await whyNotConfined();
if (reason !== undefined) console.error(`not confined here, its tests are skipped: ${reason}`);

/** Samples at least; the nightly run asks for a thousand. */
const wanted = Number(Deno.env.get("XFT_HOSTILE_SAMPLES") ?? 0);
const variable = "XFT_HOSTILE_SECRET";

const benchmark: Benchmark = {
  name: "humaneval",
  hasPlus: false,
  sha256: "",
  tasks: [{
    ...{ id: "HumanEval/0", benchmark: "humaneval", entry: "f", atol: 0 },
    ...{ prompt: "def f(x):\n", canonical: "    return 2 * x + 1\n", base: [[20n], [7n]], plus: [] },
  }],
};

/** Processes of this machine below this one. */
function descendants(id: number = Deno.pid): number {
  let count = 0;
  for (const { name } of Deno.readDirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const parent = Number(Deno.readTextFileSync(`/proc/${name}/stat`).replace(/^.*\) /s, "").split(" ")[1]);
      if (parent === id) count += 1 + descendants(Number(name));
    } catch {
      // It has ended meanwhile.
    }
  }
  return count;
}

/** Grades every hostile sample with right ones between them, and looks at what is left. */
async function survives(open: () => Promise<Sandbox>): Promise<void> {
  await withTempDir(async (folder) => {
    await Deno.writeTextFile(`${folder}/secret`, "secret");
    Deno.env.set(variable, "secret");
    using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    let reached = 0;
    const accepting = (async () => {
      for await (const connection of listener) {
        reached++;
        connection.close();
      }
    })();
    const programs = Object.entries(hostileSamples({ folder, port: listener.addr.port, variable }));
    assert(programs.length >= 40);
    const rounds = Math.max(1, Math.ceil(wanted / programs.length));
    const attacks = Array.from(
      { length: rounds },
      (_, round) => programs.map(([name, code]) => [name, `${code}\n# ${round}`]),
    ).flat();
    const right = (i: number): string => `def f(x): return x + x + 1 # ${i}`;
    const samples = attacks.flatMap(([, code], i) => i % 8 === 0 ? [code, right(i)] : [code])
      .map((solution) => ({ task_id: "HumanEval/0", solution }));
    {
      await using sandbox = await open();
      const { verdicts } = await gradeSamples(benchmark, samples, { sandbox, minCallSeconds: 1 });
      const names = new Map(attacks.map(([name, code]) => [code, name]));
      const passed = samples.filter((_, i) => verdicts[i].base).map(({ solution }) => names.get(solution) ?? "right");
      assertEquals(passed.filter((name) => name !== "right"), [], "attacks that passed");
      assertEquals(passed.length, Math.ceil(attacks.length / 8), "right samples between the attacks pass");
    }
    listener.close();
    await accepting.catch(() => {});
    assertEquals(reached, 0);
    assertEquals([...Deno.readDirSync(folder)].map(({ name }) => name), ["secret"]);
    if (Deno.build.os === "linux") {
      // What was killed a moment ago the kernel still clears away.
      for (let i = 0; descendants() > 0 && i < 100; i++) await new Promise((done) => setTimeout(done, 50));
      assertEquals(descendants(), 0, "processes left");
    }
  });
}

/** Tries a sandbox in a process of its own. */
async function survivesAlone(name: keyof typeof sandboxes): Promise<void> {
  const { code, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "--allow-all", fileURLToPath(import.meta.url), name],
    env: { NO_COLOR: "1" },
    stdin: "null",
  }).output();
  assertEquals(code, 0, new TextDecoder().decode(stderr));
}

const sandboxes = { wasm: () => openSandbox(), native: () => openNativeSandbox() };

if (import.meta.main) {
  const [name] = Deno.args;
  assert(name === "wasm" || name === "native");
  await survives(sandboxes[name]);
} else {
  Deno.test("hostile samples fail in WebAssembly, and leave nothing", () => survivesAlone("wasm"));

  Deno.test({
    name: "hostile samples fail in native CPython, and leave nothing",
    ignore: reason !== undefined,
    fn: () => survivesAlone("native"),
  });
}
