/**
 * @file What peers run in, made once and kept in the user's cache: a virtual environment of Python, llama.cpp for node,
 * burn's program. What could not be made is not tried again in the same run.
 */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { userCache } from "../../backend/cache.ts";
import { UserError } from "../../dsl/errors.ts";
import { output, succeeds } from "../../tests/commands.ts";
import { smollm2Place } from "../../tests/support.ts";
import { root } from "../processes.ts";

const requirements = join(root, "bench/peers/requirements.txt");
const systemPython = (): string => Deno.build.os === "windows" ? "python" : "python3";

/** A Python with numpy: the peers' if it is there, else the system's. */
export async function pythonWithNumpy(): Promise<string | undefined> {
  for (const python of [environmentPython(), systemPython()]) {
    if (await succeeds(python, ["-c", "import numpy"])) return python;
  }
  return undefined;
}

function environmentPython(): string {
  const digest = createHash("sha256").update(Deno.readTextFileSync(requirements)).digest("hex").slice(0, 12);
  const folder = join(userCache(), "bench", `python-${digest}`);
  return Deno.build.os === "windows" ? join(folder, "Scripts", "python.exe") : join(folder, "bin", "python");
}

/** The same promise at every call. */
function once<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined;
  return () => made ??= make();
}

/** The peers' Python; where there is none yet, it is made. @throws {UserError} if pip cannot */
export const peersPython: () => Promise<string> = once(async () => {
  const python = environmentPython(), folder = join(python, "..", ".."), done = join(folder, "complete");
  if (await succeeds(python, ["-c", `open(${JSON.stringify(done)})`])) return python;
  console.error("Making the peers' Python environment in the user's cache (about 6 GB, once) …");
  const steps: [string, string[]][] = [
    [systemPython(), ["-m", "venv", "--clear", folder]],
    [python, ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", requirements]],
  ];
  for (const [program, words] of steps) {
    const { success } = await new Deno.Command(program, { args: words, stdout: "inherit", stderr: "inherit" }).output();
    if (!success) throw new UserError(`${program} ${words.join(" ")} failed: peers need what it would have installed.`);
  }
  await Deno.writeTextFile(done, "");
  return python;
});

const LLAMA = "node-llama-cpp@3.22.1";

/** Where npm installed llama.cpp for node; it is installed where it is not. @throws Error if npm cannot */
export const llamaFolder: () => Promise<string> = once(async () => {
  const folder = join(userCache(), "bench", LLAMA);
  if (await succeeds("node", ["-e", `require("fs").statSync(${JSON.stringify(join(folder, "complete"))})`])) {
    return folder;
  }
  console.error(`Installing ${LLAMA} into the user's cache (700 MB, once) …`);
  await Deno.mkdir(folder, { recursive: true });
  await Deno.writeTextFile(join(folder, "package.json"), '{"private": true}');
  await output("npm", ["install", "--no-audit", "--no-fund", "--ignore-scripts", LLAMA], { cwd: folder });
  await Deno.writeTextFile(join(folder, "complete"), "");
  return folder;
});

/** SmolLM2-135M-Instruct with 16 bits a weight, for llama.cpp. @throws Error if it cannot be made */
export const halfGguf: () => Promise<string> = once(async () => {
  const place = join(userCache(), "bench", "SmolLM2-135M-Instruct.f16.gguf"), part = `${place}.${Deno.pid}.part`;
  if (await Deno.stat(place).then(() => true, () => false)) return place;
  await output(await peersPython(), [join(root, "bench/peers/f16.py"), smollm2Place(), part]);
  await Deno.rename(part, place);
  return place;
});

/** burn's version, as its crate pins it. */
const BURN = "burn-0.22.1";

/** burn's program, built by cargo out of `peers/burn`. @throws {UserError} if cargo cannot */
export const burnProgram: () => Promise<string> = once(async () => {
  const target = join(userCache(), "bench", BURN), name = "xft-bench-burn";
  const words = ["build", "--release", "--locked", "--manifest-path", join(root, "bench/peers/burn/Cargo.toml")];
  console.error(`Building ${BURN} in the user's cache (half an hour on two cores, once) …`);
  const { success } = await new Deno.Command("cargo", {
    args: ["--quiet", ...words],
    env: { CARGO_TARGET_DIR: target },
    stdout: "inherit",
    stderr: "inherit",
  }).output();
  if (!success) throw new UserError(`cargo ${words.join(" ")} failed: burn's program needs it.`);
  return join(target, "release", Deno.build.os === "windows" ? `${name}.exe` : name);
});
