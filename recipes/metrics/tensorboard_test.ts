/** @file Event files: checksums as others compute them, and TensorBoard itself reads what was written. */
import { assertEquals } from "@std/assert";
import { withTempDir } from "../../tests/support.ts";
import { crc32c, openEvents, scalarsOf, tfRecord } from "./tensorboard.ts";

const line = { step: 300, stage: "moe", loss: 0.5, load: [[0.25, 0.75], [1, 0]], note: "no number" };
const scalars: [string, number][] = [
  ["moe/loss", 0.5],
  ["moe/load/0/0", 0.25],
  ["moe/load/0/1", 0.75],
  ["moe/load/1/0", 1],
  ["moe/load/1/1", 0],
];

Deno.test("checksums are those of RFC 3720, and a record's are masked as TensorFlow masks them", () => {
  assertEquals(crc32c(new TextEncoder().encode("123456789")), 0xe3069283);
  assertEquals(crc32c(new Uint8Array(32)), 0x8a9136aa);
  assertEquals(crc32c(new Uint8Array(32).fill(255)), 0x62a8ab43);
  const record = tfRecord(new Uint8Array(32)), view = new DataView(record.buffer);
  assertEquals([record.length, view.getBigUint64(0, true)], [48, 32n]);
  // (0x8a9136aa rotated right by 15 bits) + 0xa282ead8, by hand.
  assertEquals(view.getUint32(44, true), 0x0fd7fffa);
});

Deno.test("every number of a line is a scalar under its stage's name", () => {
  assertEquals(scalarsOf(line), scalars);
  assertEquals(scalarsOf({ step: 1, validation: 2 } as { step: number }), [["validation", 2]]);
});

/** Prints tags, steps and values as TensorBoard's own reader sees them. */
const READER = `
import sys, json
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator(sys.argv[1]); events.Reload()
print(json.dumps([[tag, e.step, e.value] for tag in events.Tags()["scalars"] for e in events.Scalars(tag)]))`;

function python(...args: string[]): Deno.CommandOutput | undefined {
  try {
    // Where the tests' set-up left it; else the machine's own.
    const place = Deno.env.get("XFT_TENSORBOARD");
    return new Deno.Command("python3", { args, ...(place && { env: { PYTHONPATH: place } }) }).outputSync();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

Deno.test({
  name: "TensorBoard reads an event file",
  ignore: !python("-c", "import tensorboard")?.success,
  fn: () =>
    withTempDir((folder) => {
      {
        using events = openEvents(folder);
        events.add(line);
        events.add({ ...line, step: 301 });
      }
      const { stdout } = python("-c", READER, folder)!;
      const read: [string, number, number][] = JSON.parse(new TextDecoder().decode(stdout));
      const wanted = scalars.flatMap(([tag, value]) => [[tag, 300, value], [tag, 301, value]]);
      assertEquals(read.toSorted(), wanted.toSorted());
    }),
});
