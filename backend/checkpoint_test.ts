/** @file Checkpoints: values equal other programs', every kind of damage is one sentence, nothing half-written stays. */
import { join } from "node:path";
import { assert, assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { UserError } from "../dsl/errors.ts";
import { golden, sharedData, withTempDir } from "../tests/support.ts";
import { createSafetensors, openCheckpoint, writeSafetensors } from "./checkpoint.ts";
import { openNative } from "./device.ts";

/** A safetensors file of this header and this many zero bytes. */
function safetensors(header: string, bytes: number): Uint8Array {
  const text = new TextEncoder().encode(header);
  const file = new Uint8Array(8 + text.length + bytes);
  new DataView(file.buffer).setBigUint64(0, BigInt(text.length), true);
  file.set(text, 8);
  return file;
}

/** A header's entry. */
function entry(dtype: string, shape: number[], begin: number, end: number): string {
  return JSON.stringify({ dtype, shape, data_offsets: [begin, end] });
}

/** The sentence with which a file is refused. */
function refusal(path: string): string {
  const { message } = assertThrows(() => openCheckpoint(path)[Symbol.dispose](), UserError);
  assert(!message.includes("\n") && message.includes(path), `one sentence naming the file was expected: ${message}`);
  return message;
}

Deno.test("blocks of every ggml type give the reference's values, bit for bit", () => {
  using blocks = openCheckpoint(golden("gguf/blocks.gguf"));
  using expected = openCheckpoint(golden("gguf/blocks.safetensors"));
  assertEquals(new Set(blocks.tensors.keys()), new Set(expected.tensors.keys()));
  for (const [name, { shape }] of expected.tensors) {
    assertEquals(blocks.tensors.get(name)?.shape, shape);
    assertEquals(blocks.tensors.get(name)?.dtype, name);
    assertEquals(new Uint32Array(blocks.read(name).buffer), new Uint32Array(expected.read(name).buffer), name);
  }
});

Deno.test("a tensor is read in parts, too: whole blocks of it, and none beyond its end", () => {
  using blocks = openCheckpoint(golden("gguf/blocks.gguf"));
  using expected = openCheckpoint(golden("gguf/blocks.safetensors"));
  let cut = 0;
  for (const [name, { shape }] of expected.tensors) {
    const whole = expected.read(name), size = shape.reduce((product, each) => product * each, 1);
    const first = size % 256 === 0 && size > 256 ? 256 : 0;
    for (const [start, count] of [[0, first], [first, size - first], [size, 0]]) {
      const part = new Float32Array(count);
      blocks.readPart(name, start, part);
      assertEquals(new Uint32Array(part.buffer), new Uint32Array(whole.slice(start, start + count).buffer), name);
    }
    assertThrows(() => blocks.readPart(name, 256, new Float32Array(size)), UserError, `not ${size} from 256 on`);
    cut += first;
  }
  assertThrows(
    () => blocks.readPart("Q6_K", 128, new Float32Array(256)),
    UserError,
    "stored in blocks of 256 elements",
  );
  assertThrows(() => blocks.readPart("Q4_0", 0, new Float32Array(8)), UserError, "stored in blocks of 32 elements");
});

Deno.test("GGUF's metadata keeps its values", () => {
  using blocks = openCheckpoint(golden("gguf/blocks.gguf"));
  const { metadata } = blocks;
  assertEquals(metadata["test.u8"], 255);
  assertEquals(metadata["test.i16"], -300);
  assertEquals(metadata["test.u64"], 2 ** 40);
  assertEquals(metadata["test.f32"], 1e-5);
  assertEquals(metadata["test.f64"], 0.1);
  assertEquals(metadata["test.bool"], true);
  assertEquals(metadata["test.text"], "é日");
  assertEquals(metadata["test.texts"], ["a", "", "Ġb"]);
  assertEquals(metadata["test.nested"], [[1, 2], [3]]);
});

Deno.test("GGUF's second version is read like its third", () =>
  withTempDir((folder) => {
    const bytes = Deno.readFileSync(golden("gguf/blocks.gguf"));
    bytes[4] = 2;
    Deno.writeFileSync(join(folder, "two"), bytes);
    using two = openCheckpoint(join(folder, "two"));
    using three = openCheckpoint(golden("gguf/blocks.gguf"));
    assertEquals(two.read("Q6_K"), three.read("Q6_K"));
    bytes[4] = 1;
    Deno.writeFileSync(join(folder, "one"), bytes);
    assertStringIncludes(refusal(join(folder, "one")), "version 1");
  }));

Deno.test("a tensor goes to a device's memory as it is read", () => {
  using blocks = openCheckpoint(golden("gguf/blocks.gguf"));
  using device = openNative("cpu");
  for (const name of ["Q4_1", "F32", "BF16"]) {
    const values = blocks.read(name);
    const buffer = device.allocate(values.byteLength);
    blocks.upload(name, device, buffer);
    const out = new Float32Array(values.length);
    device.read(buffer, new Uint8Array(out.buffer));
    assertEquals(out, values, name);
    device.free(buffer);
  }
  const small = device.allocate(4);
  assertThrows(() => blocks.upload("F32", device, small));
  assertThrows(() => blocks.upload("no such tensor", device, small), UserError, "no such tensor");
});

Deno.test("what is written is read back, in every dtype and across files", () =>
  withTempDir(async (folder) => {
    const values = Float32Array.of(0, -0, 1, -2.5, 1 / 3, 65504);
    const lossy: Record<string, number[]> = {
      F32: [...values],
      BF16: [0, -0, 1, -2.5, 0.333984375, 65536],
      F16: [0, -0, 1, -2.5, 0.333251953125, 65504],
    };
    for (const dtype of ["F32", "BF16", "F16"] as const) {
      const path = join(folder, `${dtype}.safetensors`);
      const tensors = [{ name: `${dtype}.a`, shape: [2, 3], data: () => values }, {
        name: `${dtype}.empty`,
        shape: [0, 4],
        data: new Float32Array(),
      }];
      await writeSafetensors(path, tensors, { dtype, metadata: { note: "é" } });
      using file = openCheckpoint(path);
      assertEquals(file.format, "safetensors");
      assertEquals(file.metadata, { note: "é" });
      assertEquals([...file.read(`${dtype}.a`)], lossy[dtype]);
      assertEquals(file.read(`${dtype}.empty`).length, 0);
    }
    // Without an index, a folder is all its safetensors files.
    using all = openCheckpoint(folder);
    assertEquals(all.tensors.size, 6);
    assertEquals([...Deno.readDirSync(folder)].length, 3);
  }));

Deno.test("a file that is not finished leaves nothing, and the old one stays", () =>
  withTempDir(async (folder) => {
    const path = join(folder, "model.safetensors");
    await writeSafetensors(path, [{ name: "a", shape: [1], data: Float32Array.of(1) }]);
    const failing = {
      name: "b",
      shape: [1],
      data: () => {
        throw new Error("interrupted");
      },
    };
    await assertRejects(() => writeSafetensors(path, [failing]), Error, "interrupted");
    {
      using writer = createSafetensors(path, [{ name: "b", shape: [2] }]);
      assertThrows(() => writer.add(Float32Array.of(1)), UserError, "needs 2 elements");
    }
    using file = openCheckpoint(path);
    assertEquals([...file.read("a")], [1]);
    assertEquals([...Deno.readDirSync(folder)].map(({ name }) => name), ["model.safetensors"]);
  }));

Deno.test("a place that takes no files is one sentence", { ignore: Deno.build.os !== "linux" }, () => {
  // The temporary file would stand in a folder that takes no files.
  const { message } = assertThrows(() => createSafetensors("/proc/model.safetensors", []), UserError);
  assertStringIncludes(message, "/proc/model.safetensors: ");
});

Deno.test("every damaged safetensors file is refused in one sentence", () =>
  withTempDir((folder) => {
    const sentence = (bytes: Uint8Array): string => {
      const path = join(folder, "model.safetensors");
      Deno.writeFileSync(path, bytes);
      return refusal(path);
    };
    const good = safetensors(`{"a":${entry("F32", [2, 2], 0, 16)}}`, 16);
    const long = good.slice();
    new DataView(long.buffer).setBigUint64(0, 2n ** 63n, true);
    const beyond = good.slice();
    new DataView(beyond.buffer).setBigUint64(0, 1_000_000n, true);
    const cases: [Uint8Array, string][] = [
      [new Uint8Array(), "has 0 bytes"],
      [good.slice(0, 5), "has 5 bytes"],
      [good.slice(0, 20), "the header ends at byte"],
      [
        good.slice(0, -1),
        `tensor "a" ends at byte ${good.length}, the file has ${good.length - 1}: it is cut short. Download it again.`,
      ],
      [Uint8Array.from([...good, 0]), "1 bytes after the last tensor"],
      [long, "header would be"],
      [beyond, "the header ends at byte 1000008"],
      [safetensors("{not json}", 0), "header is not valid"],
      [safetensors("[1]", 0), "header is not valid"],
      [safetensors(`{"a":{"dtype":"F32"}}`, 0), "header is not valid"],
      [safetensors(`{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}`, 4), "header is not valid"],
      [safetensors(`{"a":${entry("F32", [1], 0, 4)},"b":${entry("F32", [1], 2, 6)}}`, 8), "overlap"],
      [safetensors(`{"a":${entry("F32", [1], 0, 4)},"b":${entry("F32", [1], 8, 12)}}`, 12), "belong to none"],
      [safetensors(`{"a":${entry("F32", [1], 0, 4)},"a":${entry("F32", [1], 4, 8)}}`, 8), "occurs twice"],
      [safetensors(`{"a":${entry("F32", [3], 0, 16)}}`, 16), "needs 12 bytes"],
      [safetensors(`{"a":${entry("F32", [2 ** 40, 2 ** 40], 0, 16)}}`, 16), "too many"],
      [safetensors(`{"a":${entry("F32", [4], 16, 0)}}`, 16), "belong to none"],
      [safetensors(`{"a":${entry("F8_E4M3", [4], 0, 4)}}`, 4), '"F8_E4M3", which is not supported'],
    ];
    for (const [bytes, expected] of cases) assertStringIncludes(sentence(bytes), expected);
  }));

Deno.test("an index must fit its files, and reaches no other folder", () =>
  withTempDir(async (folder) => {
    const index = join(folder, "model.safetensors.index.json");
    const write = (map: unknown): void => Deno.writeTextFileSync(index, JSON.stringify({ weight_map: map }));
    for (const name of ["one", "two"]) {
      const data = Float32Array.of(name.length);
      await writeSafetensors(join(folder, `${name}.safetensors`), [{ name, shape: [1], data }]);
    }
    write({ one: "one.safetensors", two: "two.safetensors" });
    {
      using both = openCheckpoint(folder);
      assertEquals([...both.tensors.keys()], ["one", "two"]);
    }
    const sentence = (): string => assertThrows(() => openCheckpoint(folder), UserError).message;
    write({ one: "two.safetensors" });
    assertStringIncludes(sentence(), 'tensor "one" should be in two.safetensors');
    write({ one: "three.safetensors" });
    assertStringIncludes(sentence(), "three.safetensors: there is no such file");
    for (const outside of ["../one.safetensors", "/etc/passwd", ".."]) {
      write({ one: outside });
      assertStringIncludes(sentence(), "is no file name");
    }
    write({});
    assertStringIncludes(sentence(), "lists no tensors");
    Deno.writeTextFileSync(index, "{");
    assertStringIncludes(sentence(), "not a valid index");
  }));

Deno.test("what is no checkpoint is said to be none", () =>
  withTempDir((folder) => {
    const file = (name: string, content: string): string => {
      Deno.writeTextFileSync(join(folder, name), content);
      return join(folder, name);
    };
    assertStringIncludes(refusal(join(folder, "missing")), "no such file");
    assertStringIncludes(refusal(file("a.txt", "hello, this is text")), "no checkpoint we know");
    for (const start of ["PK\x03\x04 zip", "\x80\x02\x8a\x0a"]) {
      const bytes = Uint8Array.from(start, (letter) => letter.charCodeAt(0));
      Deno.writeFileSync(join(folder, "a.bin"), bytes);
      const sentence = refusal(join(folder, "a.bin"));
      for (const part of ["PyTorch pickle", "runs whatever program", "safe_serialization"]) {
        assertStringIncludes(sentence, part);
      }
    }
    assertStringIncludes(refusal(file("empty", "")), "no checkpoint we know");
    Deno.mkdirSync(join(folder, "sub"));
    assertStringIncludes(refusal(join(folder, "sub")), "no safetensors file");
    Deno.writeTextFileSync(join(folder, "sub", "pytorch_model-00002-of-00002.bin"), "");
    Deno.writeTextFileSync(join(folder, "sub", "pytorch_model-00001-of-00002.bin"), "");
    assertStringIncludes(refusal(join(folder, "sub")), "pytorch_model-00001-of-00002.bin: this is a PyTorch pickle");
  }));

Deno.test(
  "a cut llama2.c file is refused",
  { ignore: !sharedData("ckpt/stories260K.bin") },
  () =>
    withTempDir((folder) => {
      const path = join(folder, "stories.bin");
      Deno.writeFileSync(path, Deno.readFileSync(sharedData("ckpt/stories260K.bin")!).slice(0, -4));
      assertStringIncludes(refusal(path), "cut short");
    }),
);

Deno.test("a closed checkpoint, or a tensor that is not there, is an error and no crash", () => {
  const file = openCheckpoint(golden("gguf/blocks.safetensors"));
  assertThrows(() => file.read("nothing"), UserError, 'no tensor "nothing"');
  file[Symbol.dispose]();
  file[Symbol.dispose]();
  assertThrows(() => file.read("F32"), UserError, "no checkpoint with handle");
});
