/** @file What tests share: where data and devices are, and temporary folders that are gone afterwards. */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { userCache } from "../backend/cache.ts";
import { libraryPath } from "../backend/library/library.ts";

const ROOT = fileURLToPath(new URL("../", import.meta.url));

/** Absolute path of a file of this checkout. */
export function checkout(path: string): string {
  return join(ROOT, path);
}

/** Absolute path of a golden file of ours (`tests/golden`). */
export function golden(path: string): string {
  return checkout(join("tests", "golden", path));
}

/**
 * Path of other people's data in `../shared/data` beside the checkout, or undefined where it is absent (a test that
 * needs it then sets `ignore`, so that the skip is counted).
 *
 * @example
 * ```ts ignore
 * import { sharedData } from "./support.ts";
 * const model = sharedData("ckpt/stories260K.bin");
 * Deno.test({ name: "reads stories260K", ignore: !model, fn: () => void Deno.statSync(model!) });
 * ```
 */
export function sharedData(path: string): string | undefined {
  return existing(checkout(join("..", "shared", "data", path)));
}

/** Where the set-up keeps SmolLM2-135M-Instruct (GGUF). */
export function smollm2Place(): string {
  return join(userCache(), "models", "SmolLM2-135M-Instruct.Q4_1.gguf");
}

/** SmolLM2-135M-Instruct as GGUF, or undefined where the set-up could not fetch it. */
export function smollm2Gguf(): string | undefined {
  return existing(smollm2Place());
}

/** A device that tests open. */
export type TestDevice = "cpu" | "wgpu" | `wgpu:${string}` | "webgpu";

/**
 * The devices of this run: `XFT_TEST_DEVICES` (comma-separated; the set-up sets it), else the CPU alone.
 * Tests loop over it, so that every device passes the same ones.
 */
export function testDevices(): TestDevice[] {
  const names = (Deno.env.get("XFT_TEST_DEVICES") ?? "cpu").split(",").map((name) => name.trim());
  const isDevice = (name: string): name is TestDevice =>
    name === "cpu" || name === "wgpu" || name === "webgpu" || name.startsWith("wgpu:");
  return names.filter(isDevice);
}

/** The wgpu device of this run, or undefined where there is none. */
export function wgpuDevice(): TestDevice | undefined {
  return testDevices().find((name) => name.startsWith("wgpu"));
}

/** Runs a function with a fresh temporary folder, which is removed afterwards. */
export async function withTempDir<T>(run: (folder: string) => T | Promise<T>): Promise<T> {
  const folder = await Deno.makeTempDir({ prefix: "xft-test-" });
  try {
    return await run(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** What a command line printed, and its exit code. */
export interface Ran {
  /** Exit code. */
  readonly code: number;
  /** Its stdout. */
  readonly stdout: string;
  /** Its stderr. */
  readonly stderr: string;
}

/** Starts `xft` as `deno task xft` would, in a folder of the caller's choice. */
export function startXft(
  args: readonly string[],
  cwd: string,
  environment: Record<string, string> = {},
): Deno.ChildProcess {
  const task: string = JSON.parse(Deno.readTextFileSync(checkout("deno.json"))).tasks.xft.command;
  const flags = task.split(" ").filter((word) => word.startsWith("--"));
  return new Deno.Command(Deno.execPath(), {
    args: ["run", ...flags, checkout("recipes/cli/main.ts"), ...args],
    cwd,
    env: { XFT_LIBRARY: libraryPath(), ...environment },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}

/** Runs `xft` to its end. */
export async function xft(
  args: readonly string[],
  cwd: string = ROOT,
  environment: Record<string, string> = {},
): Promise<Ran> {
  const { code, stdout, stderr } = await startXft(args, cwd, environment).output();
  return { code, stdout: new TextDecoder().decode(stdout), stderr: new TextDecoder().decode(stderr) };
}

function existing(path: string): string | undefined {
  try {
    Deno.statSync(path);
    return path;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}
