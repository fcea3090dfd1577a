/** @file The few path functions that the sandbox needs, on every platform. */

/** The user's cache folder for XFT: `XFT_CACHE`, else the platform's place for caches. */
export function userCacheFolder(): string {
  const own = Deno.env.get("XFT_CACHE");
  if (own) return joinPath(own, "evaluate");
  const home = Deno.env.get("HOME") ?? Deno.env.get("USERPROFILE") ?? ".";
  const base = Deno.build.os === "windows"
    ? Deno.env.get("LOCALAPPDATA") ?? joinPath(home, "AppData", "Local")
    : Deno.build.os === "darwin"
    ? joinPath(home, "Library", "Caches")
    : Deno.env.get("XDG_CACHE_HOME") || joinPath(home, ".cache");
  return joinPath(base, "xft", "evaluate");
}

/** Joins parts of a path. */
export function joinPath(...parts: string[]): string {
  return parts.join(Deno.build.os === "windows" ? "\\" : "/");
}

/** The path that a `file:` URL names. */
export function fromFileUrl(url: string): string {
  const path = decodeURIComponent(new URL(url).pathname);
  return Deno.build.os === "windows" ? path.slice(1).replaceAll("/", "\\") : path;
}
