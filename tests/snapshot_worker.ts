/**
 * @file A training in a process of its own, for tests that kill it: `snapshot_worker.ts OUT`. It goes on with what is
 * there, keeps a snapshot of every step, says a byte at each, and writes the model to OUT.
 */
import { open } from "../backend/open.ts";
import { saveModel } from "../recipes/model/parameters.ts";
import { openTrainingFolder } from "../recipes/snapshots/training_folder.ts";
import { isUnfinished } from "../recipes/snapshots/unfinished.ts";
import { train } from "../recipes/train.ts";
import { snapshotStage } from "./snapshot_stage.ts";

const [out] = Deno.args, { config, options, settings, model } = snapshotStage();
using device = await open("cpu");
const resume = isUnfinished(out);
const folder = openTrainingFolder(out, settings, { resume, overwrite: false, keep: 2, every: 1, note: console.error });
const trained = await train(model(device), device, {
  ...options,
  snapshots: folder.snapshots(device),
  onLine(line) {
    folder.add({ stage: config.kind, ...line });
    Deno.stdout.writeSync(new Uint8Array([46]));
  },
});
await saveModel(out, trained.loaded, device, { files: { "metrics.jsonl": folder.metrics() }, overwrite: resume });
folder.finish();
