/** @file The Python that peers run in: a virtual environment in the user's cache, made once for these requirements. */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { userCache } from "../../backend/cache.ts";
import { UserError } from "../../dsl/errors.ts";
import { succeeds } from "../../tests/commands.ts";
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

/** The peers' Python; where there is none yet, it is made. @throws {UserError} if pip cannot */
export async function peersPython(): Promise<string> {
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
}
