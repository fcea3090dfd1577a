/** @file The folder where what can be made or fetched again is kept: built libraries, drivers and models for tests. */
import { join } from "node:path";
import { UserError } from "../dsl/errors.ts";

/** Environment variables that say where the library and the cache are: `--allow-env=…` of what uses them. */
export const cacheVariables: readonly string[] = [
  "XFT_LIBRARY",
  "XFT_CACHE",
  "XDG_CACHE_HOME",
  ...(Deno.build.os === "windows" ? ["LOCALAPPDATA"] : ["HOME"]),
];

/**
 * The project's folder in the user's cache (not made here): `XFT_CACHE`, else `$XDG_CACHE_HOME/xft`, else the
 * platform's place for caches.
 *
 * @throws {UserError} if no environment variable says where the user's files are
 */
export function userCache(): string {
  const own = Deno.env.get("XFT_CACHE");
  if (own) return own;
  const shared = Deno.env.get("XDG_CACHE_HOME");
  if (shared) return join(shared, "xft");
  if (Deno.build.os === "windows") {
    const local = Deno.env.get("LOCALAPPDATA");
    if (local) return join(local, "xft");
  }
  const home = Deno.env.get("HOME") ?? Deno.env.get("USERPROFILE");
  if (!home) throw new UserError("No folder for caches: set XFT_CACHE (or HOME) to a folder that can be written.");
  return Deno.build.os === "darwin" ? join(home, "Library", "Caches", "xft") : join(home, ".cache", "xft");
}
