/**
 * @file Hostile samples in every sandbox: none passes, right ones between them do, nothing is left.
 *
 * Each sandbox is tried in a process of its own, which is this file run with the sandbox's name: its environment, the
 * processes below it and its /tmp are its alone, whatever runs beside it.
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { adoptOrphans, canLayOverTmp, denoOverTmp, descendants, writtenInTmp } from "../../../tests/leftovers.ts";
import { withTempDir } from "../../../tests/support.ts";
import type { Benchmark } from "../benchmarks/load.ts";
import { gradeSamples } from "../grading/grade.ts";
import { openSandbox, type Sandbox } from "./pyodide.ts";
import { whyNotConfined } from "./bwrap.ts";
import { hostileSamples, type Targets } from "./hostile.ts";
import { openNativeSandbox } from "./native.ts";

const reason = await whyNotConfined();
if (reason !== undefined) console.error(`not confined here, its tests are skipped: ${reason}`);
const onLinux = Deno.build.os === "linux";

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

/** How a sandbox is tried. */
interface Trial {
  readonly open: () => Promise<Sandbox>;
  /** Only so many of the attacks. Default: all. */
  readonly attacks?: number;
  /** What is written in /tmp is seen. */
  readonly seesTmp: boolean;
}

/** Grades hostile samples with right ones between them, and looks at what is left. */
async function survives(trial: Trial, folder: string): Promise<void> {
  if (onLinux) adoptOrphans();
  // Where nobody sees all of /tmp, the folder of temporary files is one of our own.
  const temporary = join(folder, "temporary");
  if (!trial.seesTmp) {
    Deno.mkdirSync(temporary);
    Deno.env.set("TMPDIR", temporary);
  }
  Deno.writeTextFileSync(join(folder, "secret"), "secret");
  Deno.env.set(variable, "secret");
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  let reached = 0;
  const accepting = (async () => {
    for await (const connection of listener) {
      reached++;
      connection.close();
    }
  })();
  await gradeAttacks(trial, { folder, port: listener.addr.port, variable });
  listener.close();
  await accepting.catch(() => {});
  assertEquals(reached, 0);
  const left = onLinux ? await stillRunning() : [];
  const kept = trial.seesTmp ? writtenInTmp() : [folder, temporary].flatMap(filesIn);
  assertEquals({ processes: left, files: kept }, { processes: [], files: [join(folder, "secret")] });
}

const filesIn = (folder: string): string[] =>
  [...Deno.readDirSync(folder)].filter(({ name }) => name !== "temporary").map(({ name }) => join(folder, name));

/** Attacks fail, right samples between them pass. */
async function gradeAttacks({ open, attacks: most }: Trial, targets: Targets): Promise<void> {
  const all = Object.entries(hostileSamples(targets));
  assert(all.length >= 40);
  const programs = all.slice(0, most), rounds = Math.max(1, Math.ceil(wanted / programs.length));
  const attacks = Array.from(
    { length: rounds },
    (_, round) => programs.map(([name, code]) => [name, `${code}\n# ${round}`]),
  ).flat();
  const right = (i: number): string => `def f(x): return x + x + 1 # ${i}`;
  const samples = attacks.flatMap(([, code], i) => i % 8 === 0 ? [code, right(i)] : [code])
    .map((solution) => ({ task_id: "HumanEval/0", solution }));
  await using sandbox = await open();
  const { verdicts } = await gradeSamples(benchmark, samples, { sandbox, minCallSeconds: 1 });
  const names = new Map(attacks.map(([name, code]) => [code, name]));
  const passed = samples.filter((_, i) => verdicts[i].base).map(({ solution }) => names.get(solution) ?? "right");
  assertEquals(passed.filter((name) => name !== "right"), [], "attacks that passed");
  assertEquals(passed.length, Math.ceil(attacks.length / 8), "right samples between the attacks pass");
}

/** Commands that run below this process; what was killed a moment ago the kernel still clears away. */
async function stillRunning(): Promise<string[]> {
  for (let i = 0; descendants().length > 0 && i < 100; i++) await new Promise((done) => setTimeout(done, 50));
  return descendants().map(({ command }) => command);
}

const sandboxes: Readonly<Record<string, Omit<Trial, "seesTmp">>> = {
  wasm: { open: () => openSandbox() },
  native: { open: () => openNativeSandbox() },
  /** One that leaves a process in a session of its own, whose parent has ended, and a file: to see that both are seen. */
  leaking: {
    async open() {
      const leak = 'setsid sleep 300 >/dev/null 2>&1 & echo x >"${TMPDIR:-/tmp}/left behind"';
      await new Deno.Command("sh", { args: ["-c", leak] }).output();
      return await openSandbox();
    },
    attacks: 4,
  },
};

/** Tries a sandbox in a process of its own; what that printed where it failed. */
async function triedAlone(name: keyof typeof sandboxes): Promise<string | undefined> {
  const seesTmp = await canLayOverTmp();
  if (!seesTmp) {
    console.error("no layer can be laid over /tmp here: files are looked for in the caller's folders alone");
  }
  const args = ["run", "--quiet", "--allow-all", fileURLToPath(import.meta.url), name, ...(seesTmp ? ["seesTmp"] : [])];
  const command = seesTmp
    ? denoOverTmp(args, { NO_COLOR: "1" })
    : new Deno.Command(Deno.execPath(), { args, env: { NO_COLOR: "1" }, stdin: "null" });
  const { code, stderr } = await command.output();
  return code === 0 ? undefined : new TextDecoder().decode(stderr);
}

/** Tries the sandbox that the arguments name; whoever interrupts it finds nothing of it afterwards. */
async function main([name, seesTmp]: readonly string[]): Promise<void> {
  await withTempDir(async (folder) => {
    const clear = (): void => {
      for (const { id } of onLinux ? descendants() : []) {
        try {
          Deno.kill(id, "SIGKILL");
        } catch {
          // It has ended meanwhile.
        }
      }
    };
    for (const signal of ["SIGINT", "SIGTERM"] as const) {
      Deno.addSignalListener(signal, () => {
        clear();
        Deno.removeSync(folder, { recursive: true });
        Deno.exit(130);
      });
    }
    try {
      await survives({ ...sandboxes[name], seesTmp: seesTmp !== undefined }, folder);
    } finally {
      clear();
    }
  });
}

if (import.meta.main) await main(Deno.args);
else {
  Deno.test("hostile samples fail in WebAssembly, and leave nothing", async () => {
    assertEquals(await triedAlone("wasm"), undefined);
  });

  Deno.test({
    name: "hostile samples fail in native CPython, and leave nothing",
    ignore: reason !== undefined,
    fn: async () => assertEquals(await triedAlone("native"), undefined),
  });

  Deno.test({
    name: "a process whose parent has ended and a file in /tmp are seen when a sandbox leaves them",
    ignore: !onLinux,
    async fn() {
      const failure = await triedAlone("leaking") ?? "nothing was seen";
      for (const left of ["sleep 300", "left behind"]) assertStringIncludes(failure, left);
    },
  });
}
