/** @file Deno's WebGPU as a device: what it adds to the tests that all devices pass (`XFT_TEST_DEVICES=…,webgpu`). */
import { assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { add, mul, take, type Tensor, tensor } from "../../dsl/mod.ts";
import { checkout, testDevices } from "../../tests/support.ts";
import { compile, free, number, put, values } from "../compile.ts";
import type { Plan } from "../compiler/kernel.ts";
import { open } from "../open.ts";
import { openWebgpu } from "./device.ts";

const ignore = !testDevices().includes("webgpu");
const decoder = new TextDecoder();

type Row = Tensor<"row">;
const ones = tensor({ row: 3 }, [1, 1, 1]);

/** A program in a Deno of its own, without any permission but to read its modules. */
async function alone(code: string, env: Record<string, string> = {}): Promise<{ stdout: string; stderr: string }> {
  const specifier = (path: string): string => `import.meta.resolve(${JSON.stringify(`file://${checkout(path)}`)})`;
  const source = `const { open } = await import(${specifier("backend/open.ts")});
    const { compile, values } = await import(${specifier("backend/compile.ts")});
    const { add, tensor } = await import(${specifier("dsl/mod.ts")});
    ${code}`;
  const args = ["run", "--quiet", "--no-prompt", "--no-check", `--allow-read=${checkout(".")}`, "-"];
  const child = new Deno.Command(Deno.execPath(), { args, env, stdin: "piped", stdout: "piped", stderr: "piped" });
  const process = child.spawn(), writer = process.stdin.getWriter();
  await writer.write(new TextEncoder().encode(source));
  await writer.close();
  const { stdout, stderr } = await process.output();
  return { stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

Deno.test({
  name: "webgpu: runs a program without ffi, env, net or any other permission",
  ignore,
  fn: async () => {
    const { stdout, stderr } = await alone(`
      using device = await open("webgpu");
      const next = compile((x) => add(x, 1), device);
      console.log([...await values(await next(tensor({ row: 3 }, [1, 2, 3])), device)].join());`);
    assertEquals(stdout.trim(), "2,3,4", stderr);
  },
});

Deno.test({
  name: "webgpu: without an adapter one sentence says how to get one",
  ignore: Deno.build.os !== "linux",
  fn: async () => {
    // Deno would take OpenGL where Vulkan has no driver.
    const nothing = {
      DENO_WEBGPU_BACKEND: "vulkan",
      VK_DRIVER_FILES: "/nowhere.json",
      VK_ICD_FILENAMES: "/nowhere.json",
    };
    const { stdout, stderr } = await alone(
      `await open("webgpu").catch((error) => console.log(error.name, error.message));`,
      nothing,
    );
    assertStringIncludes(stdout, "webgpu: there is no graphics adapter. Install a driver", stderr);
  },
});

Deno.test({
  name: "webgpu: an index out of range is an error of the next read, and of that one alone",
  ignore,
  fn: async () => {
    using device = await open("webgpu");
    const pick = compile((x: Tensor<"row">, at: Tensor<"batch", "int">) => take(x, "row", at), device);
    const table = tensor({ row: 3 }, [5, 6, 7]), index = (at: number) => tensor({ batch: 1 }, [at], "i32");
    const wrong = await pick(table, index(3));
    await assertRejects(() => values(wrong, device), Error, "an index was outside of its axis");
    assertEquals([...await values(await pick(table, index(2)), device)], [7]);
  },
});

Deno.test({
  name: "webgpu: donated memory is taken over, and all of it is given back",
  ignore,
  fn: async () => {
    using device = await open("webgpu");
    const double = compile((x: Row) => mul(x, 2), device, { donate: [0] });
    let x = put(ones, device);
    const given = x;
    x = await double(x);
    const { used } = device.memory();
    for (let i = 0; i < 5; i++) x = await double(x);
    assertEquals(device.memory().used, used);
    assertEquals([...await values(x, device)], [64, 64, 64]);
    await assertRejects(() => values(given, device), TypeError, "after it was donated");
    free(x, device);
    assertEquals(device.memory().used, used - 12);
  },
});

Deno.test({
  name: "webgpu: runs that are not waited for happen in the order of their calls",
  ignore,
  fn: async () => {
    using device = await open("webgpu");
    const next = compile((x: Tensor<never>, y: Tensor<never>) => add(mul(x, 2), y), device);
    const zero = tensor({}, [0]);
    await next(put(zero, device), zero);
    const results = await Promise.all([1, 2, 3, 4, 5].map((i) => next(put(zero, device), tensor({}, [i]))));
    const read: number[] = [];
    for (const result of results) read.push(await number(result, device));
    assertEquals(read, [1, 2, 3, 4, 5]);
  },
});

Deno.test({
  name: "webgpu: a wrong shader, plan, handle or size is an error that says what is wrong",
  ignore,
  fn: async () => {
    const runner = await openWebgpu();
    const plan = (code: string): Plan => ({
      version: 1,
      arena: [],
      upload: 0,
      arguments: [{ bytes: 4, mode: "in" }],
      buffers: [{ at: "argument", index: 0, bytes: 4 }],
      kernels: [{ kind: "wgsl", code, workgroups: [1, 1, 1], status: false }],
      steps: [{ kernel: 0, buffers: [0] }],
    });
    const none = new Uint8Array(), buffer = runner.allocate(4), handles = new BigUint64Array([BigInt(buffer)]);
    const broken = runner.load(plan("fn main( {"));
    await assertRejects(() => runner.run(broken, handles, none), Error, "webgpu: loading a plan:");
    const increment = runner.load(plan(
      `@group(0) @binding(0) var<storage, read_write> a: array<u32>;
       @compute @workgroup_size(1) fn main() { a[0] = a[0] + 1u; }`,
    ));
    await runner.run(increment, handles, none);
    const word = new Uint32Array(1);
    await runner.read(buffer, new Uint8Array(word.buffer));
    assertEquals(word[0], 1);
    await assertRejects(() => runner.run(increment, new BigUint64Array([77n]), none), Error, "there is no buffer 77");
    await assertRejects(() => runner.run(increment, new BigUint64Array(2), none), Error, "2 arguments");
    await assertRejects(() => runner.run(99, handles, none), Error, "there is no plan 99");
    assertThrows(() => runner.write(buffer, new Uint8Array(8)), RangeError, "which has 4");
    assertThrows(() => runner.allocate(2 ** 50), Error, "more than the adapter allows");
    assertThrows(() => runner.load({ ...plan(""), kernels: [{ kind: "copy", words: 1 }] }), Error, "shaders only");
    runner.free(buffer);
    assertThrows(() => runner.free(buffer), Error, "there is no buffer");
    assertEquals(runner.memory().usedBytes, 4);
    runner.close();
    runner.close();
  },
});
