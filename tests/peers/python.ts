/** @file Asking the peers' Python: a request as a JSON file, its answer as JSON on stdout. No hub is asked. */
import { join } from "node:path";
import { assertEquals } from "@std/assert";
import { peersPython } from "../../bench/peers/environment.ts";
import { checkout } from "../support.ts";

/** The peers' Python, or undefined where it could not be made: tests that need it are skipped then. */
export const python: string | undefined = await peersPython().catch((error: Error) => {
  console.error(`SKIPPED, there is no Python with transformers: ${error.message}`);
  return undefined;
});

/** Runs a program of tests/peers with a request; what it prints on stderr is shown where it fails. */
export async function ask<T>(
  program: string,
  request: unknown,
  folder: string,
  environment: Record<string, string> = {},
): Promise<T> {
  const file = join(folder, "request.json");
  Deno.writeTextFileSync(file, JSON.stringify(request));
  // Code that comes with a folder is copied to this cache.
  const env = { HF_HOME: join(folder, "cache"), HF_HUB_OFFLINE: "1", ...environment };
  const args = [checkout(`tests/peers/${program}`), file];
  const { code, stdout, stderr } = await new Deno.Command(python!, { args, env }).output();
  assertEquals(code, 0, new TextDecoder().decode(stderr));
  return JSON.parse(new TextDecoder().decode(stdout));
}
