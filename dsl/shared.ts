/**
 * @file What several loads of the language share (a command's own and the one that a user's file imports by URL): one
 * table of nodes, so that their programs mix. Two major versions do not.
 */

/** Counts changes to nodes that an older load would not understand. */
const major = 0;

const loaded = new URL("../mod.ts", import.meta.url).href;

interface State {
  readonly major: number;
  readonly loaded: string;
  readonly state: unknown;
}

/**
 * The state of the first load, which this one joins.
 *
 * @throws TypeError where that is of another major version
 */
export function sharedState<T>(make: () => T): T {
  const home = globalThis as { [key: symbol]: State | undefined };
  const first = home[Symbol.for("xft/dsl")] ??= { major, loaded, state: make() };
  if (first.major === major) return first.state as T;
  throw new TypeError(
    `two versions of the language cannot mix: ${first.loaded} is of version ${first.major}, ${loaded} of version ` +
      `${major}; import the one that runs the program`,
  );
}
