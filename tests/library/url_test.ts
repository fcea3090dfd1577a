/**
 * @file `mod.ts` by URL: a fresh project without a checkout imports it, writes an objective in five lines, learns with
 * it and reads the result: on the interpreter, on WebGPU, and on the native library that it fetches and builds.
 */
import { assert, assertEquals, assertLess, assertMatch, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { cacheVariables } from "../../backend/cache.ts";
import { installCommand, libraryPath, manifest } from "../../backend/library/library.ts";
import { type Change, serveCheckout, type Served } from "./serve.ts";
import { checkout, type Ran, testDevices, withTempDir } from "../support.ts";

/** What a stranger writes: the objective's five lines, and what it takes to learn with it. */
const program = (mod: string): string => `
import { batchesOf, crossEntropy, exp, initModel, isMixture, learn, llama, logSoftmax, merged, mul, neg, open, sub, sum, swiglu } from "${mod}";
import type { Loss, ModelConfig } from "${mod}";

const surely: Loss = (coefficients, model, { tokens, labels }, config) => {
  const { logits } = llama(config, merged(model, coefficients), tokens, swiglu);
  const log = logSoftmax(logits, "vocab"), entropy = neg(sum(mul(exp(log), log)));
  return sub(crossEntropy(logits, labels), mul(entropy, 1e-4));
};

const config: ModelConfig = {
  kind: "moe", vocabSize: 11, hiddenSize: 8, ffnSize: 6, layers: 2, heads: 4, kvHeads: 2, headDim: 4, maxPositions: 64,
  normEps: 1e-5, ropeTheta: 10000, ropeScaling: null, tied: true, experts: 4, active: 3, router: "linear",
  normalised: true, noise: false, noiseEpsilon: 0.01, balanceWeight: 0.01,
};
using device = await open(Deno.args[0]);
const mixture = initModel(config, 1, device, 20);
if (!isMixture(mixture)) throw new Error("no mixture");
const samples = [[2, 9, 10, 4], [5, 7, 4, 4, 6], [3, 3, 8]].map((ids) => ({ ids: [...ids, 1], scoredFrom: 1 }));
const validation = batchesOf(samples, { batch: 3, seq: 8 });
const { coefficients, uniform, learned, step } = await learn(mixture, device, {
  objective: { kind: "loss", about: "cross-entropy, and confidence", loss: surely },
  name: "surely", lambda: 0.25, validation, batches: { at: () => validation[0] },
  schedule: { kind: "constant", rate: 0.1, steps: 6, warmup: 0 },
});
console.log(JSON.stringify({ device: device.name, alpha: coefficients.alpha, uniform, learned, step }));
`;

interface Result {
  readonly device: string;
  readonly alpha: number[][];
  readonly uniform: number;
  readonly learned: number;
  readonly step: number;
}

/** A project of its own: nothing is shared with this checkout, not even Deno's cache. */
interface Project {
  readonly folder: string;
  deno(args: readonly string[], env?: Record<string, string>): Promise<Ran>;
}

async function withProject(served: Served, run: (project: Project) => Promise<void>): Promise<void> {
  await withTempDir(async (folder) => {
    Deno.writeTextFileSync(join(folder, "main.ts"), program(served.mod));
    const own = { HOME: folder, DENO_DIR: join(folder, "deno"), XFT_CACHE: join(folder, "cache"), NO_COLOR: "1" };
    // Where a driver lies is the machine's business.
    const driver = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES", "LD_LIBRARY_PATH", "XDG_RUNTIME_DIR", "PATH"];
    const machine = Object.fromEntries(driver.flatMap((name) => {
      const value = Deno.env.get(name);
      return value === undefined ? [] : [[name, value]];
    }));
    await run({
      folder,
      async deno(args, env = {}) {
        const options = { args: [...args], cwd: folder, env: { ...machine, ...own, ...env }, clearEnv: true };
        const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), options).output();
        return { code, stdout: new TextDecoder().decode(stdout), stderr: new TextDecoder().decode(stderr) };
      },
    });
  });
}

function resultOf({ code, stdout, stderr }: Ran): Result {
  assertEquals(code, 0, stderr);
  const result: Result = JSON.parse(stdout.trim().split("\n").at(-1)!);
  assertLess(result.learned, result.uniform);
  return result;
}

/** The same descent on another device: the coefficients agree to rounding. */
function assertSame(got: Result, want: Result): void {
  assertEquals(got.step, want.step);
  got.alpha.flat().forEach((a, i) => assertLess(Math.abs(a - want.alpha.flat()[i]), 2e-3));
}

Deno.test("by URL: type-checks, and learns on the interpreter and on WebGPU with --allow-import alone", async () => {
  await using served = serveCheckout();
  await withProject(served, async ({ deno }) => {
    const allowed = `--allow-import=${served.host}`;
    const checked = await deno(["check", "--quiet", allowed, "main.ts"]);
    assertEquals([checked.code, checked.stderr], [0, ""]);
    const interpreter = resultOf(await deno(["run", "--no-prompt", allowed, "main.ts", "interpreter"]));
    assert(interpreter.alpha.flat().some((a) => Math.abs(a) > 0.1));
    assert(served.asked.every((path) => !path.startsWith("backend/native/") || path.endsWith(".wgsl")));
    if (!testDevices().includes("webgpu")) return;
    const webgpu = resultOf(await deno(["run", "--no-prompt", allowed, "main.ts", "webgpu"]));
    assertMatch(webgpu.device, /^webgpu:/);
    assertSame(webgpu, interpreter);
  });
});

Deno.test("README.md states the flags that the program itself prints", () => {
  const readme = Deno.readTextFileSync(checkout("README.md"));
  const { host, href } = new URL("../../backend/install.ts", import.meta.url);
  const command = installCommand().replace(href, "URL/backend/install.ts");
  assertStringIncludes(readme, command.replaceAll(`=${host}`, "=HOST"));
  if (Deno.build.os !== "windows") assertStringIncludes(readme, `--allow-env=${cacheVariables.join()} `);
});

/** A cargo that notes its call and makes the given library. */
function fakeCargo(folder: string, library: string): Record<string, string> {
  const bin = join(folder, "bin");
  Deno.mkdirSync(bin);
  const script = '#!/bin/sh\necho "$@" >> "$CARGO_LOG"\nwhile [ "$1" != --target-dir ]; do shift; done\n' +
    `/bin/mkdir -p "$2/release"\n/bin/sleep 0.2\n/bin/cp "${library}" "$2/release/"\n`;
  Deno.writeTextFileSync(join(bin, "cargo"), script, { mode: 0o755 });
  return { PATH: bin, CARGO_LOG: join(folder, "cargo.log") };
}

/** The command that stands between backticks in a message. */
const commandIn = (text: string): string[] => /`deno (run [^`]+)`/.exec(text)![1].split(" ");

Deno.test({
  name: "by URL: the native library is fetched, checked, built once for two who ask, and used with the flags printed",
  ignore: Deno.build.os === "windows",
  fn: async () => {
    await using served = serveCheckout();
    await withProject(served, async ({ deno, folder }) => {
      const allowed = `--allow-import=${served.host}`;
      // Not built yet: one sentence with the command that builds it, flags included.
      const early = await deno(["run", allowed, "--allow-env", "--allow-read", "main.ts", "cpu"]);
      assertEquals(early.code, 1);
      assertStringIncludes(early.stderr, "The native library is not built yet");
      const command = commandIn(early.stderr);
      assertEquals(command.at(-1), `http://${served.host}/backend/install.ts`);

      const cargo = fakeCargo(folder, libraryPath());
      const both = await Promise.all([deno(command, cargo), deno(command, cargo)]);
      for (const { code, stderr } of both) assertEquals(code, 0, stderr);
      const calls = Deno.readTextFileSync(cargo.CARGO_LOG).trim().split("\n");
      const sources = join(folder, "cache", "sources", manifest.digest.slice(0, 24));
      assertEquals(calls, [
        `build --release --locked --manifest-path ${join(sources, "Cargo.toml")} --target-dir ${
          join(sources, "target")
        }`,
      ]);
      assertEquals(both.filter(({ stderr }) => stderr.includes("Building the native library")).length, 1);
      for (const name of Object.keys(manifest.files)) {
        assertEquals(
          Deno.readFileSync(join(sources, name)),
          Deno.readFileSync(checkout(`backend/native/${name}`)),
          name,
        );
      }
      // The flags that it printed are enough, and no other ones are used.
      const flags = /deno run (.+) FILE\.ts/.exec(both[0].stdout)![1].split(" ");
      assert(flags.every((flag) => /^--allow-(import|env|read|ffi)=./.test(flag)), flags.join(" "));
      const cpu = resultOf(await deno(["run", "--no-prompt", ...flags, "main.ts", "cpu"]));
      assertEquals(cpu.device, "cpu");
      assertSame(cpu, resultOf(await deno(["run", "--no-prompt", allowed, "main.ts", "interpreter"])));
    });
  },
});

const wrong: readonly [what: string, Change, message: RegExp][] = [
  ["another one", (path, data) => path.endsWith("src/lib.rs") ? "pub fn other() {}" : data, /lib\.rs: its sha256 is/],
  ["not there", (path, data) => path.endsWith("src/lib.rs") ? undefined : data, /lib\.rs: the server answers 404/],
];
for (const [what, change, message] of wrong) {
  Deno.test({
    name: `by URL: a source that is ${what} is refused, and nothing is built`,
    ignore: Deno.build.os === "windows",
    fn: async () => {
      await using served = serveCheckout(change);
      await withProject(served, async ({ deno, folder }) => {
        const cargo = fakeCargo(folder, libraryPath());
        const allowed = [`--allow-import=${served.host}`, "--allow-env", "--allow-read"];
        const command = commandIn((await deno(["run", ...allowed, "main.ts", "cpu"])).stderr);
        const { code, stderr } = await deno(command, cargo);
        assertEquals(code, 1);
        assertMatch(stderr, message);
        assertEquals([exists(cargo.CARGO_LOG), exists(join(folder, "cache", "native"))], [false, false]);
      });
    },
  });
}

function exists(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch {
    return false;
  }
}
