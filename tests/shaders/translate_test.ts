/**
 * @file Every shader that the suites' programs compile to, for four kinds of adapters, is accepted by naga and translates
 * to SPIR-V, MSL and HLSL, bounds-checked and trusted; spirv-val finds the SPIR-V valid. Those with cooperative matrices
 * translate to SPIR-V and MSL, and their twins to all three.
 */
import { assertEquals, assertGreater } from "@std/assert";
import { join } from "node:path";
import { adapters, shadersFor } from "./kernels.ts";
import { wgsl } from "../../backend/compiler/wgsl/wgsl.ts";
import { cooperativeAdapters } from "./cooperative.ts";
import { productCases } from "./products.ts";
import { isFile, namesIn } from "../commands.ts";
import { checkout, withTempDir } from "../support.ts";

const suffix = Deno.build.os === "windows" ? ".exe" : "";
/** Built by `deno task test`. */
const translator = checkout(`backend/native/target/release/xft_translate${suffix}`);
const validator = Deno.env.get("XFT_SPIRV_VAL");

/** Shaders for all adapters, and the library's own. */
async function gather(): Promise<string[]> {
  const own = namesIn(checkout("backend/native/src/gpu")).filter((name) => name.endsWith(".wgsl"));
  const shaders = new Set(own.map((name) => Deno.readTextFileSync(checkout(`backend/native/src/gpu/${name}`))));
  for (const adapter of adapters) for (const shader of await shadersFor(adapter)) shaders.add(shader);
  return [...shaders];
}

async function run(command: string, args: string[]): Promise<string> {
  const { code, stdout, stderr } = await new Deno.Command(command, { args }).output();
  const text = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
  assertEquals(code, 0, text.slice(0, 4000));
  return text.trim();
}

/** Translates shaders in a folder, and validates the SPIR-V: trusted modules, which run, and every `checked`-th other. */
async function translate(folder: string, shaders: readonly string[], checked: number): Promise<void> {
  shaders.forEach((code, i) => Deno.writeTextFileSync(join(folder, `${i}.wgsl`), code));
  assertEquals(await run(translator, [folder]), `${shaders.length} shaders, 0 faults`);
  const modules = namesIn(folder).filter((name) => name.endsWith(".spv")).map((name) => join(folder, name));
  assertEquals(modules.length, 2 * shaders.length);
  const work = modules.filter((path, i) => path.endsWith(".trusted.spv") || i % checked === 0).values();
  const validate = async (): Promise<void> => {
    for (const path of work) await run(validator!, ["--target-env", "vulkan1.1", path]);
  };
  await Promise.all(Array.from({ length: navigator.hardwareConcurrency }, validate));
}

Deno.test({
  name: "every shader translates to SPIR-V (valid), MSL and HLSL",
  ignore: !isFile(translator) || !validator,
  fn: () =>
    withTempDir(async (folder) => {
      const shaders = await gather();
      assertGreater(shaders.length, 1000);
      // Of the checked modules a quarter must do, for each takes a process.
      await translate(folder, shaders, 4);
    }),
});

/** Products on adapters with cooperative matrices, and the same ones as these would be without. */
function cooperativeShaders(): { readonly matrices: string[]; readonly twins: string[] } {
  const matrices = new Set<string>(), twins = new Set<string>();
  for (const adapter of cooperativeAdapters) {
    for (const types of [{}, { a: "f16", b: "f16" }, { a: "bf16", b: "f16" }] as const) {
      for (const { kernel } of productCases(types)) {
        for (const { kernel: { code } } of wgsl(kernel, adapter).dispatches) {
          if (code.includes("enable wgpu_cooperative_matrix;")) matrices.add(code);
        }
        const plain = { ...adapter, cooperativeMatrices: [] };
        for (const { kernel: { code } } of wgsl(kernel, plain).dispatches) twins.add(code);
      }
    }
  }
  return { matrices: [...matrices], twins: [...twins] };
}

Deno.test("the twin of a product by cooperative matrices uses none, nor any extension", () => {
  const { matrices, twins } = cooperativeShaders();
  assertGreater(matrices.length, 50);
  for (const code of twins) assertEquals(/^enable|coop|subgroup/m.test(code), false, code);
});

/** SPIRV-Tools before 2023.5 do not know cooperative matrices. */
async function knowsMatrices(): Promise<boolean> {
  if (!validator) return false;
  const { stdout } = await new Deno.Command(validator, { args: ["--version"] }).output();
  const [, year, month] = /v(\d+)\.(\d+)/.exec(new TextDecoder().decode(stdout)) ?? [];
  return Number(year) > 2023 || (Number(year) === 2023 && Number(month) >= 5);
}

Deno.test({
  name: "products by cooperative matrices translate to SPIR-V (valid) and MSL, their twins to HLSL, too",
  ignore: !isFile(translator) || !await knowsMatrices(),
  fn: () =>
    withTempDir(async (folder) => {
      const { matrices, twins } = cooperativeShaders();
      await translate(folder, [...matrices, ...twins], 4);
    }),
});

Deno.test("no shader has an atomic but the status word, which no result depends on", async () => {
  for (const shader of await gather()) {
    const atomics = shader.match(/\batomic\w*/g) ?? [];
    const allowed = shader.startsWith("// Gathers the status words") ? ["atomic", "atomicMin"] : ["atomic", "atomicOr"];
    assertEquals(atomics.filter((word) => !allowed.includes(word)), [], shader);
    // The word is declared, and written by one function (or by the shader that gathers the steps' words).
    assertEquals(/\batomic</.test(shader), atomics.length > 0, shader);
    assertEquals((shader.match(/atomic<(?!u32>)/g) ?? []).length, 0, shader);
    assertEquals(
      (shader.match(/var<storage, read_write> status: atomic<u32>/g) ?? []).length,
      atomics.length > 0 ? 1 : 0,
    );
    assertEquals(atomics.length > 0 ? 2 : 0, atomics.length, shader);
  }
});

for (const adapter of adapters) {
  Deno.test(`shaders for ${adapter.name} keep to its limits`, async () => {
    for (const shader of await shadersFor(adapter)) {
      const bindings = (shader.match(/@binding\(/g) ?? []).length;
      const size = Number(/@workgroup_size\((\d+)\)/.exec(shader)?.[1]);
      assertEquals(bindings <= adapter.maxBindings && size <= adapter.maxWorkgroupSize, true, shader);
      let bytes = 0;
      for (const [, element, count] of shader.matchAll(/var<workgroup> \w+: array<([\w<>]+), (\d+)>/g)) {
        bytes += Number(count) * (element === "vec4<f32>" ? 16 : 4);
      }
      assertEquals(bytes <= adapter.workgroupMemoryBytes, true, shader);
    }
  });
}
