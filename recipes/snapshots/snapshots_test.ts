/**
 * @file A training that was stopped goes on bit for bit: by a signal, by `kill -9` at random moments, from an older
 * snapshot where the newest is damaged. And what may not happen on the way.
 */
import { assert, assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";
import { join } from "node:path";
import { open as openDevice } from "../../backend/open.ts";
import type { Device } from "../../backend/runtime.ts";
import { UserError } from "../../dsl/errors.ts";
import { tensor } from "../../dsl/mod.ts";
import { nodeOf, tensorOf } from "../../dsl/tensor.ts";
import { allDevices, treeValues, withDevice } from "../../tests/devices.ts";
import { snapshotStage } from "../../tests/fixtures/snapshot_stage.ts";
import { succeeds } from "../../tests/commands.ts";
import { checkout, withTempDir } from "../../tests/support.ts";
import { saveModel } from "../model/parameters.ts";
import { seeded } from "../random.ts";
import { readPosition } from "../training/kept.ts";
import { train, type TrainLine, type TrainOptions } from "../training/train.ts";
import { newestSnapshot, restoreSnapshot, saveSnapshot } from "./snapshot.ts";
import { openTrainingFolder } from "./training_folder.ts";
import { unfinishedPath } from "./unfinished.ts";

const quiet = { overwrite: false, keep: 2, every: 4, note: () => {} };
const names = (folder: string): string[] => [...Deno.readDirSync(folder)].map(({ name }) => name).sort();
/** Lines without the time they took. */
const told = (text: string): unknown[] =>
  text.trim().split("\n").map((line) => {
    const { seconds: _, tokensPerSecond: __, ...rest } = JSON.parse(line);
    return rest;
  });

/** Trains to the end, or to an interrupt after some lines; then weights, and the lines as metrics.jsonl has them. */
async function trained(
  out: string,
  device: Device,
  { stopAfter, resume = false, ...more }: { stopAfter?: number; resume?: boolean } & Partial<TrainOptions>,
): Promise<{ weights?: Map<string, number[]>; lines: string }> {
  const { config, options, settings, model } = snapshotStage(18), controller = new AbortController();
  const folder = openTrainingFolder(out, { ...settings, optimizer: more.optimizer }, { ...quiet, resume });
  let seen = 0;
  const onLine = (line: TrainLine): void => {
    folder.add({ stage: config.kind, ...line });
    if (++seen === stopAfter) controller.abort();
  };
  const all = {
    ...options,
    ...more,
    snapshots: folder.snapshots(device, readPosition),
    signal: controller.signal,
    onLine,
  };
  const run = train(model(device), device, all);
  if (stopAfter !== undefined) {
    await assertRejects(() => run, DOMException);
    return { lines: folder.metrics() };
  }
  const { loaded } = await run, lines = folder.metrics();
  folder.finish();
  return { weights: await treeValues(loaded.model, device), lines };
}

for (const name of allDevices().filter((each) => each !== "interpreter")) {
  for (const optimizer of ["adamw", "adafactor", "sgd"] as const) {
    Deno.test(`snapshots, ${name}: an interrupted training with ${optimizer} goes on bit for bit`, () =>
      withDevice(name, (device) =>
        withTempDir(async (folder) => {
          const accumulate = optimizer === "adafactor" ? 1 : 2;
          const whole = await trained(join(folder, "whole"), device, { optimizer, accumulate });
          const out = join(folder, "parts");
          // After a step; before the measurement that follows one; in the middle; twice in a row.
          for (const stopAfter of [3, 6, 1, 4]) {
            await trained(out, device, { optimizer, accumulate, stopAfter, resume: stopAfter !== 3 });
          }
          const parts = await trained(out, device, { optimizer, accumulate, resume: true });
          assertEquals(parts.weights, whole.weights);
          assertEquals(told(parts.lines), told(whole.lines));
          assertEquals(names(folder), []);
        })));
  }
}

Deno.test("snapshots: a training killed with -9 at 50 random moments ends with the bytes of one that never was", () =>
  withTempDir(async (folder) => {
    const out = join(folder, "killed"),
      { unit: random } = seeded(11),
      worker = checkout("tests/fixtures/snapshot_worker.ts");
    const start = (): Deno.ChildProcess =>
      new Deno.Command(Deno.execPath(), {
        args: ["run", "--quiet", "--allow-all", "--no-check", worker, out],
        ...{ stdin: "null", stdout: "piped", stderr: "piped" },
      }).spawn();
    let kills = 0;
    while (kills < 50) {
      const child = start(), reader = child.stdout.getReader();
      // After none to three of its lines, and then within the time that a step and its snapshot take, or a start.
      const lines = Math.floor(random() * 4), wait = random() * (lines === 0 ? 400 : 25);
      for (let seen = 0; seen < lines;) {
        const { value, done } = await reader.read();
        if (done) break;
        seen += value.length;
      }
      await new Promise((resolve) => setTimeout(resolve, wait));
      child.kill("SIGKILL");
      await Promise.all([reader.cancel(), child.stderr.cancel()]);
      const { signal } = await child.status;
      assertEquals(signal, "SIGKILL", `the training ended by itself after ${kills} kills: it needs more steps`);
      kills++;
    }
    const { code, stderr } = await start().output();
    assertEquals(code, 0, new TextDecoder().decode(stderr));

    const { options, model } = snapshotStage(), never = join(folder, "never"), lines: string[] = [];
    using device = await openDevice("cpu");
    const onLine = (line: TrainLine): void => void lines.push(JSON.stringify({ stage: "moe", ...line }));
    await saveModel(never, (await train(model(device), device, { ...options, onLine })).loaded, device);
    const weights = (path: string): Uint8Array => Deno.readFileSync(join(path, "model.safetensors"));
    assertEquals(weights(out), weights(never));
    assertEquals(told(Deno.readTextFileSync(join(out, "metrics.jsonl"))), told(lines.join("\n")));
    assertEquals(names(folder), ["killed", "never"]);
  }));

/** A folder on a disk of its own, which is full soon. */
const smallDisk = (folder: string, bytes: number, command: string): string[] => [
  "-c",
  `mkdir ${folder}/disk && mount -t tmpfs -o size=${bytes} tmpfs ${folder}/disk && (${command}); code=$?; ` +
  `cp -r ${folder}/disk ${folder}/after; exit $code`,
];
const canMount = await succeeds("unshare", ["--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]);

Deno.test({
  name: "snapshots: a full disk ends a training in one sentence, and the snapshot before is whole",
  ignore: !canMount,
  fn: () =>
    withTempDir(async (folder) => {
      const worker = `${Deno.execPath()} run --quiet --allow-all --no-check ${
        checkout("tests/fixtures/snapshot_worker.ts")
      }`;
      const args = ["--mount", "sh", ...smallDisk(folder, 110_000, `${worker} ${folder}/disk/out`)];
      const { code, stderr } = await new Deno.Command("unshare", { args, stdin: "null" }).output();
      assertEquals(code, 1);
      assertMatch(new TextDecoder().decode(stderr), /step-00000003.*: no space left on the disk/);
      const snapshots = join(folder, "after", "out.unfinished", "snapshots");
      assert(newestSnapshot(snapshots, (sentence) => assert(false, sentence)), "no snapshot is left");
      assertEquals(names(snapshots).filter((name) => !name.startsWith("step-")), []);
    }),
});

Deno.test("snapshots: a training that diverges says in which step, tensor and samples it began; the last snapshot is whole", () =>
  withTempDir(async (folder) => {
    using device = await openDevice("cpu");
    const { options, settings, model } = snapshotStage(18),
      out = join(folder, "out"),
      kept = join(`${out}.unfinished`, "snapshots");
    const batches = { at: (step: number) => ({ ...options.batches.at(step), sources: [`code.jsonl:${step}`] }) };
    const run = (more: Partial<TrainOptions>, resume = false): Promise<unknown> => {
      const opened = openTrainingFolder(out, settings, { ...quiet, every: 3, resume });
      const all = {
        ...options,
        batches,
        snapshots: opened.snapshots(device, readPosition),
        reload: () => model(device).model,
        ...more,
      };
      return train(model(device), device, all);
    };
    const failure = async (more: Partial<TrainOptions>, resume?: boolean): Promise<string> =>
      (await assertRejects(() => run(more, resume), UserError)).message;
    // A rate that no step survives, from the first one on: before any snapshot, the training begins again.
    const wild = { schedule: { ...options.schedule, rate: 1e20 }, optimizer: "sgd" } as const;
    const early = await failure(wild);
    assertMatch(early, /the loss is (NaN|Infinity)/);
    assertMatch(early, /It began in step \d+: its (update left .* in \S+|forward pass ended in )/);
    assertMatch(early, /samples: code\.jsonl:\d+, code\.jsonl:\d+\./);
    Deno.removeSync(`${out}.unfinished`, { recursive: true });

    // Seven good steps, then a mixture whose gradient is too large for anybody's taste.
    const controller = new AbortController();
    const onLine = ({ step, loss }: TrainLine): void => {
      if (step === 7 && loss !== undefined) controller.abort();
    };
    await assertRejects(() => run({ onLine, signal: controller.signal }), DOMException);
    assertEquals(names(kept), ["step-00000006", "step-00000007"]);
    const late = await failure(wild, true);
    assertMatch(late, /It began in step (8|9|10): /);
    assert(names(kept).includes("step-00000007"));
    assertMatch(
      await failure({ stopNorm: 1e-6 }, true),
      /step 8 of 18: the gradient's norm is .*, more than 0\.000001; it is largest in [\w.]+ \(.*\)\. The step's samples: code/,
    );
    assertEquals(newestSnapshot<{ step: number }>(kept, (sentence) => assert(false, sentence))!.step, 7);
    await run({}, true);
  }));

Deno.test("snapshots: the newest stay; a damaged one is passed over and said; weights that are no numbers are not kept", () =>
  withTempDir(async (folder) => {
    using device = await openDevice("cpu");
    const put = (values: number[]) => tensorOf(device.put(nodeOf(tensor({ x: 3 }, values))));
    const read = async (at: ReturnType<typeof put>) => [...await device.read(nodeOf(at))];
    const save = (step: number, values: number[]) =>
      saveSnapshot(folder, { step, position: { step } }, { model: { w: put(values) }, optimizer: {} }, device, 2);
    for (const step of [1, 2, 3]) await save(step, [step, 0.1, -0]);
    assertEquals(names(folder), ["step-00000002", "step-00000003"]);
    await assertRejects(() => save(4, [1, NaN, 2]), UserError, "model.w");
    assertEquals(names(folder), ["step-00000002", "step-00000003"]);

    const notes: string[] = [], place = put([9, 9, 9]);
    const latest = () => newestSnapshot<{ step: number }>(folder, (sentence) => notes.push(sentence))!;
    restoreSnapshot(latest(), { model: { w: place } }, device);
    assertEquals(await read(place), [3, Math.fround(0.1), -0]);
    const file = join(folder, "step-00000003", "model.safetensors"), bytes = Deno.readFileSync(file);
    bytes[bytes.length - 5] ^= 1;
    Deno.writeFileSync(file, bytes);
    Deno.mkdirSync(join(folder, ".step-00000004.77-0.part"));
    assertEquals(latest().position, { step: 2 });
    assert(notes[0].includes("step-00000003") && notes[0].includes("damaged"), notes[0]);
    assertEquals(names(folder), ["step-00000002", "step-00000003"]);
    assertThrows(() => restoreSnapshot(latest(), { model: { other: place } }, device), UserError, '"other" is missing');
  }));

Deno.test("snapshots: an unfinished training is not begun anew by accident, nor gone on with under other settings", () =>
  withTempDir((folder) => {
    const out = join(folder, "out");
    const open = (resume: boolean, overwrite = false, rate = 1, sha256 = "ab".repeat(32)): unknown =>
      openTrainingFolder(out, { sha256: { data: sha256 }, schedule: { rate } }, {
        ...{ ...quiet, resume, overwrite },
        given: { data: [resume ? "new/data.jsonl" : "old/data.jsonl"] },
      });
    const refused = (sentence: string, ...how: Parameters<typeof open>): unknown =>
      assertThrows(() => open(...how), UserError, sentence);
    refused("there is no unfinished training", true);
    open(false);
    refused("--resume", false);
    refused('out.unfinished was begun with another "schedule.rate" (it was 1 and is 2): give the same', true, false, 2);
    open(true);
    const other = "cd".repeat(32),
      content = 'another content of "data" (old/data.jsonl had the SHA-256 abababababab…, ';
    refused(`${content}new/data.jsonl has cdcdcdcdcdcd…): give the same`, true, false, 1, other);
    open(false, true, 2);
    refused('another "schedule.rate"', true);
    assertEquals(names(unfinishedPath(out)), ["metrics.jsonl", "recipe.json"]);
  }));
