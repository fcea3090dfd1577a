/** @file Packages of Debian and its kin: installed as root, else unpacked into a folder of the user's. */
import { join } from "node:path";
import { namesIn, output, succeeds } from "./commands.ts";

/** Is this Debian or one of its kin? */
export const hasApt = (): Promise<boolean> => succeeds("apt-get", ["--version"]);

/** Installs packages on the system, as root. */
export async function install(packages: readonly string[]): Promise<void> {
  const args = ["install", "-y", "-q", "--no-install-recommends", ...packages];
  const environment = { DEBIAN_FRONTEND: "noninteractive" };
  if (await succeeds("apt-get", args, { environment })) return;
  await output("apt-get", ["update", "-q"]);
  await output("apt-get", args, { environment });
}

/**
 * Downloads packages and unpacks them into a folder.
 *
 * @param needs whether those packages come along that they need and the system lacks
 * @param only paths inside of the packages (as `./usr/…`), if not all of it is wanted
 */
export async function unpack(
  packages: readonly string[],
  folder: string,
  { needs, only = [] }: { readonly needs: boolean; readonly only?: readonly string[] },
): Promise<void> {
  const work = await Deno.makeTempDir({ prefix: "xft-packages-" });
  try {
    const lists = join(work, "lists"), archives = join(work, "archives");
    for (const each of [folder, archives, join(lists, "partial")]) await Deno.mkdir(each, { recursive: true });
    let options: string[] = [];
    let plan = await simulate(options, packages);
    if (plan === undefined) {
      // Lists of our own, since the system's may only be renewed by root.
      options = [`-oDir::State::lists=${lists}`, `-oDir::Cache=${work}`];
      await output("apt-get", [...options, "update", "-q"]);
      plan = await simulate(options, packages);
    }
    if (plan === undefined) throw new Error(`apt-get knows no ${packages.join(" and ")}`);
    await output("apt-get", [...options, "download", "-q", ...(needs ? plan : packages)], { cwd: archives });
    for (const name of namesIn(archives).filter((name) => name.endsWith(".deb"))) {
      const script = 'dpkg-deb --fsys-tarfile "$0" | tar -x -C "$@"';
      await output("sh", ["-c", script, join(archives, name), folder, ...only]);
    }
  } finally {
    await Deno.remove(work, { recursive: true });
  }
}

/** The packages that an installation would add, or undefined if apt does not know them. */
async function simulate(options: readonly string[], packages: readonly string[]): Promise<string[] | undefined> {
  const args = [...options, "-s", "--no-install-recommends", "install", ...packages];
  const { code, stdout } = await new Deno.Command("apt-get", { args, stderr: "null" }).output();
  if (code !== 0) return undefined;
  return [...new TextDecoder().decode(stdout).matchAll(/^Inst (\S+)/gm)].map((match) => match[1]);
}
