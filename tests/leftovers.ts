/**
 * @file What this process and those below it leave: processes that nobody ended, files where temporary ones are kept.
 *
 * A process whose parent has ended is adopted by the nearest of its ancestors that asked for it, else by process 1, where
 * nobody would know it again: so this one asks. And what it writes in /tmp goes into a layer of its own over it, which
 * the machine's other processes neither see nor fill, and which ends with it, however it ends.
 */
import { join, resolve } from "node:path";
import { userCache } from "../backend/cache.ts";
import { checkout } from "./support.ts";

/** Has this process adopt what those below it leave behind. Linux alone. */
export function adoptOrphans(): void {
  const PR_SET_CHILD_SUBREAPER = 36;
  const numbers = ["u64", "u64", "u64", "u64"] as const;
  const libc = Deno.dlopen("libc.so.6", { prctl: { parameters: ["i32", ...numbers], result: "i32" } });
  try {
    const code = libc.symbols.prctl(PR_SET_CHILD_SUBREAPER, 1n, 0n, 0n, 0n);
    if (code !== 0) throw new Error("this process cannot adopt orphans");
  } finally {
    libc.close();
  }
}

/** A process of this machine. */
export interface Process {
  readonly id: number;
  /** How it was called. */
  readonly command: string;
}

/** Processes below this one that still run: those that ended and wait for their parent to ask are left out. */
export function descendants(): Process[] {
  const children = new Map<number, Process[]>();
  for (const { name } of Deno.readDirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const [state, parent] = Deno.readTextFileSync(`/proc/${name}/stat`).replace(/^.*\) /s, "").split(" ");
      const command = Deno.readTextFileSync(`/proc/${name}/cmdline`).replaceAll("\0", " ").trim();
      const siblings = children.get(Number(parent)) ?? [];
      if (state !== "Z" && state !== "X") siblings.push({ id: Number(name), command });
      children.set(Number(parent), siblings);
    } catch {
      // It has ended meanwhile.
    }
  }
  const below = (id: number): Process[] => (children.get(id) ?? []).flatMap((each) => [each, ...below(each.id)]);
  return below(Deno.pid);
}

/** Where the layer over /tmp lies for a process that has one. */
const layer = "/mnt/written";
const layOver = "mount -t tmpfs tmpfs /mnt && mkdir -m 1777 /mnt/written && mkdir /mnt/work && " +
  `mount -t overlay overlay -o lowerdir=/tmp,upperdir=${layer},workdir=/mnt/work /tmp`;
const privately = ["--mount", "--propagation", "private", "sh", "-c"];

/** Whether this user may give a process a layer of its own over /tmp. */
export async function canLayOverTmp(): Promise<boolean> {
  try {
    const { success } = await new Deno.Command("unshare", { args: [...privately, layOver], stderr: "null" }).output();
    return success;
  } catch {
    return false;
  }
}

/** Runs Deno with a layer over /tmp: what it writes there {@link writtenInTmp} lists. */
export function denoOverTmp(args: readonly string[], environment: Record<string, string>): Deno.Command {
  return new Deno.Command("unshare", {
    args: [...privately, `${layOver} && exec "$@"`, "sh", Deno.execPath(), ...args],
    env: { ...environment, TMPDIR: "/tmp" },
    stdin: "null",
  });
}

/**
 * Paths of what a process with a layer, and those below it, wrote or removed in /tmp. Caches and the checkout, in which
 * Deno keeps its `node_modules` in order, are left out where they lie there.
 */
export function writtenInTmp(): string[] {
  const caches = Deno.env.get("XDG_CACHE_HOME") ?? join(Deno.env.get("HOME") ?? "/", ".cache");
  const own = [userCache(), Deno.env.get("DENO_DIR") ?? join(caches, "deno"), resolve(checkout("."))];
  const walk = (path: string): string[] => {
    const seen = join("/tmp", path);
    if (own.includes(seen)) return [];
    const { isDirectory } = Deno.lstatSync(join(layer, path));
    const inside = isDirectory ? [...Deno.readDirSync(join(layer, path))].map(({ name }) => join(path, name)) : [];
    return inside.length === 0 && path !== "" ? [seen] : inside.flatMap(walk);
  };
  return walk("");
}
