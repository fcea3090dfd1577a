/** @file XFT_DEBUG: a comma-separated list of what to look at more closely. */

/** What can be asked for: `validate` checks the result of every pass of the compiler. */
export type DebugAspect = "validate";

/** Does XFT_DEBUG ask for it? Without permission to read it, or without an environment: no. */
export function debugs(aspect: DebugAspect): boolean {
  if (typeof Deno === "undefined") return false;
  const variable = "XFT_DEBUG";
  if (Deno.permissions.querySync({ name: "env", variable }).state !== "granted") return false;
  return (Deno.env.get(variable) ?? "").split(",").includes(aspect);
}
