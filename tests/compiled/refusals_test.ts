/** @file What cannot be done is refused in one clear sentence, before anything is allocated. */
import { assert, assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";
import { compile, free, put, values } from "../../backend/compile.ts";
import { pipeline } from "../../backend/compiler/pipeline.ts";
import type { Capabilities } from "../../backend/device.ts";
import { add, expand, node } from "../../dsl/build.ts";
import { UserError } from "../../dsl/errors.ts";
import { add as plus, customVjp, expectAxes, grad, iota, max, mul, sum, type Tensor, tensor } from "../../dsl/mod.ts";
import type { Node } from "../../dsl/node.ts";
import { onDevice } from "../agreement.ts";
import { allDevices, withDevice } from "../devices.ts";

const devices = allDevices().filter((name) => name !== "interpreter");
const options = { donated: [false, false], hosted: [false, false], fuse: "on", poison: false } as const;
const variable = (shape: Readonly<Record<string, number>>): Node =>
  node("variable", [], { shape, dtype: "f32", name: "x" });
type Vector = Tensor<"a">;
const vector = (): Vector => tensor({ a: 3 }, [1, 2, 3]);
const small: Capabilities = {
  kind: "wgpu",
  name: "a small GPU",
  maxBindings: 8,
  maxBindingBytes: 2 ** 33,
  maxBufferBytes: 2 ** 33,
  memoryBytes: 2 ** 30,
  software: false,
  maxWorkgroupSize: 256,
  workgroupMemoryBytes: 2 ** 14,
};

Deno.test("a program that does not fit is refused with what it needs, what is largest and what would help", () => {
  const x = variable({ batch: 1024, embed: 512 }), w = variable({ embed: 512, vocab: 2 ** 17 });
  const logits = node("contract", [x, w], { over: ["embed"] });
  const results = [node("tanh", [logits], {}), node("max", [logits], { over: ["batch"] })];
  const build = (memoryBytes: number, usedBytes: number): unknown =>
    pipeline({ parameters: [x, w], results }, {
      ...options,
      fuse: "off",
      usedBytes,
      capabilities: { ...small, memoryBytes },
    });
  const { message } = assertThrows(() => build(2 ** 30, 2 ** 28), UserError);
  assertMatch(message, /^The program needs 1\.0 GiB beside 256\.0 MiB in use, a small GPU has 1\.0 GiB\. Largest: /);
  assertMatch(message, /contract f32\[batch:1024 vocab:131072\] with 512\.0 MiB/);
  assertMatch(message, /Try checkpoint around layers, a smaller batch, or bf16 storage\.$/);
  build(2 ** 31, 2 ** 28);
});

for (const name of devices) {
  Deno.test(`${name}: a program that does not fit is refused before anything is allocated`, () =>
    withDevice(name, (device) => {
      const before = device.memory(), row = variable({ a: 2 ** 20 }), column = variable({ b: 2 ** 24 });
      const shape = { a: 2 ** 20, b: 2 ** 24 };
      // 64 TiB: no machine of ours has them.
      const results = [add(expand(row, shape), expand(column, shape))];
      assertThrows(() => device.build({ parameters: [row, column], results }, options), UserError);
      assertEquals(device.memory(), before);
    }));

  Deno.test(`${name}: a donated tensor, one of another device and a closed device are refused`, () =>
    withDevice(name, (device) =>
      withDevice(name, async (other) => {
        const double = compile((x: Vector) => plus(x, x), device, { donate: [0] });
        const given = put(vector(), device), foreign = put(vector(), other), made = await double(given);
        const used = /^a tensor f32\[a:3\] was used after it was donated or freed: use what the call returned/;
        assertMatch((await assertRejects(() => double(given), TypeError)).message, used);
        assertMatch((await assertRejects(() => values(given, device), TypeError)).message, used);
        const elsewhere = /^a tensor f32\[a:3\] lies on another device than .*: read it there and put it here/;
        assertMatch((await assertRejects(() => double(foreign), TypeError)).message, elsewhere);
        assertMatch(assertThrows(() => put(foreign, device), TypeError).message, elsewhere);
        // Nothing of that harmed the device, and freeing twice does nothing.
        assertEquals([...await values(await double(made), device)], [4, 8, 12]);
        free(foreign, other);
        free(foreign, other);
        device[Symbol.dispose]();
        for (const after of [() => put(vector(), device), () => device.allocate({ a: 1 }, "f32")]) {
          assertMatch(assertThrows(after, TypeError).message, /^the device .* was closed: open it again/);
        }
        const { message } = await assertRejects(() => double(vector()), TypeError);
        assertMatch(message, /^the device .* was closed: open it again/);
      })));

  Deno.test(`${name}: customVjp of a function that closes over device memory is refused`, () =>
    withDevice(name, (device) => {
      const weight = put(vector(), device);
      const scaled = customVjp((x: Vector) => mul(x, weight), (g) => [g]);
      const { message } = assertThrows(() => grad((x: Vector) => sum(scaled(x)))(vector()), TypeError);
      assertMatch(message, /^customVjp: the function closes over a tensor; pass it as an argument/);
    }));
}

Deno.test("an unknown axis is named, with the operation and the user's own line", () => {
  const x = vector(), unknown = "height" as "a";
  for (const [op, run] of [["sum", () => sum(x, unknown)], ["max", () => max(x, unknown)]] as const) {
    const { message } = assertThrows(run, TypeError);
    assertMatch(message, new RegExp(`^${op}: no axis "height" in \\[a:3\\]\n  at .*refusals_test\\.ts:\\d+`));
  }
  assertMatch(assertThrows(() => expectAxes(x, "height"), TypeError).message, /expected axes height, got \[a:3\]/);
});

Deno.test("an axis of more elements than can be counted is refused, and so is a size that is no whole number", () => {
  assertMatch(assertThrows(() => iota("a", 2 ** 31), TypeError).message, /axis "a" has 2147483648 elements, at most/);
  for (const size of [-1, 1.5, NaN]) {
    assertMatch(assertThrows(() => iota("a", size), TypeError).message, /axis "a" has \S+ elements, which is no whole/);
  }
  iota("a", 2 ** 31 - 1);
});

Deno.test("more than 2³¹ elements in one tensor: computed on the processor, refused where they cannot be bound", async () => {
  const x = variable({ a: 70_001 }), y = variable({ b: 31_001 }), shape = { a: 70_001, b: 31_001 };
  const every = add(expand(x, shape), expand(y, shape));
  const stored = { parameters: [x, y], results: [every] };
  const refused = assertThrows(
    () => pipeline(stored, { ...options, capabilities: { ...small, maxBindingBytes: 2 ** 31 } }),
    UserError,
  );
  assertMatch(
    refused.message,
    /2170101001 elements \(axes a b\) takes \d+ MiB, but a small GPU binds at most 2048 MiB/,
  );
  assert(70_001 * 31_001 > 2 ** 31);
  if (!devices.includes("cpu")) return;
  await withDevice("cpu", async (device) => {
    const values = [new Float64Array(70_001), new Float64Array(31_001)];
    values[0][70_000] = 2;
    values[1][31_000] = 3;
    const [most] = await onDevice(
      { parameters: [x, y], results: [node("max", [every], { over: ["a", "b"] })], values },
      device,
    );
    assertEquals(most[0], 5);
  });
});
