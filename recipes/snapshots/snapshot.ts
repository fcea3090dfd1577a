/**
 * @file Snapshots: a training between two steps, on disk, with which it goes on as if it had never stopped. One is
 * written beside the others and renamed, checksums and all, so that a crash at any moment leaves the one before it whole.
 */
import { join } from "node:path";
import { UserError } from "../../dsl/errors.ts";
import { isReal } from "../../dsl/primitive.ts";
import { entriesOf } from "../../dsl/tree.ts";
import { openCheckpoint, writeSafetensors } from "../../backend/checkpoint.ts";
import type { Device } from "../../backend/runtime.ts";
import { kindOf, removeLeftovers, writeFile, writeFolder } from "../convert/files.ts";
import { sha256Of } from "../data/read/bytes.ts";

/** Trees of tensors by name: `model`, `optimizer`. Each is a file of the snapshot. */
export type Trees = Readonly<Record<string, unknown>>;

/** A snapshot that is whole. */
export interface Snapshot<P> {
  /** Its folder. */
  readonly folder: string;
  /** Steps made when it was taken. */
  readonly step: number;
  /** What was kept beside the tensors. */
  readonly position: P;
}

/** What a snapshot's `position.json` holds. */
interface Contents<P> {
  readonly version: typeof VERSION;
  readonly position: P;
  /** By file: what it must hash to. */
  readonly sha256: Readonly<Record<string, string>>;
}

const VERSION = 2;
const POSITION = "position.json";
const named = /^step-(\d+)$/;
const folderOf = (folder: string, step: number): string => join(folder, `step-${String(step).padStart(8, "0")}`);

/** Steps of a folder's snapshots, newest first. */
function stepsIn(folder: string): number[] {
  if (kindOf(folder) !== "folder") return [];
  const steps = [...Deno.readDirSync(folder)].flatMap(({ name }) => named.exec(name)?.[1] ?? []);
  return steps.map(Number).sort((a, b) => b - a);
}

/** The values, if all are numbers: a training whose weights are lost goes on from the snapshot before. */
function finite(values: Float32Array, name: string, step: number): Float32Array {
  const at = values.findIndex((value) => !Number.isFinite(value));
  if (at < 0) return values;
  throw new UserError(
    `step ${step}: ${name} holds ${values[at]} (element ${at}), so this step is not kept: the training has diverged. ` +
      "Go on from the snapshot before with a smaller learning rate, or gradient clipping.",
  );
}

/**
 * Keeps tensors and a position as the snapshot of a step, and removes all but the newest.
 *
 * @param folder of all snapshots of one training
 * @param keep how many stay, this one included
 * @returns the snapshot
 * @throws {UserError} if a tensor holds what is no number, or the disk is full: the snapshots before are as they were
 */
export async function saveSnapshot<P>(
  folder: string,
  { step, position }: { readonly step: number; readonly position: P },
  trees: Trees,
  device: Device,
  keep: number,
): Promise<Snapshot<P>> {
  const write = async (into: string): Promise<void> => {
    const sha256: Record<string, string> = {};
    for (const [name, tree] of Object.entries(trees)) {
      const leaves = entriesOf(tree), file = `${name}.safetensors`;
      if (leaves.length === 0) continue;
      const integer = leaves.find(([, leaf]) => !isReal(leaf));
      if (integer) throw new TypeError(`snapshot: ${name}.${integer[0]} holds integers, which f32 cannot keep`);
      const tensors = leaves.map(([path, leaf]) => ({
        name: path || name,
        shape: Object.values(leaf.shape),
        data: async () => finite(await device.read(leaf) as Float32Array, `${name}.${path}`, step),
      }));
      await writeSafetensors(join(into, file), tensors);
      sha256[file] = sha256Of([join(into, file)]);
    }
    writeFile(join(into, POSITION), JSON.stringify({ version: VERSION, position, sha256 } satisfies Contents<P>));
  };
  await writeFolder(folderOf(folder, step), write, { overwrite: true, marks: [POSITION] });
  for (const old of stepsIn(folder).slice(keep)) Deno.removeSync(folderOf(folder, old), { recursive: true });
  return { folder: folderOf(folder, step), step, position };
}

/** What is wrong with a snapshot; nothing: its position. */
function inspect<P>(folder: string): { readonly position: P } | { readonly fault: string } {
  try {
    const { version, position, sha256 } = JSON.parse(Deno.readTextFileSync(join(folder, POSITION))) as Contents<P>;
    if (version !== VERSION) return { fault: `it is of version ${version}, ${VERSION} was expected` };
    const damaged = Object.entries(sha256).find(([file, sum]) => sha256Of([join(folder, file)]) !== sum);
    return damaged ? { fault: `${damaged[0]} is not what was written` } : { position };
  } catch (error) {
    return { fault: (error as Error).message };
  }
}

/**
 * The newest snapshot of a folder that is whole; one that is damaged is passed over, and said. What a killed process
 * left half-written is removed.
 */
export function newestSnapshot<P>(folder: string, note: (sentence: string) => void): Snapshot<P> | undefined {
  removeLeftovers(folder);
  for (const step of stepsIn(folder)) {
    const found = folderOf(folder, step), seen = inspect<P>(found);
    if ("position" in seen) return { folder: found, step, position: seen.position };
    note(`${found}: this snapshot is damaged (${seen.fault}); going back to the one before it.`);
  }
  return undefined;
}

/**
 * Writes a snapshot's tensors into the memory of trees of the same form.
 *
 * @throws {UserError} if the snapshot was made of other tensors
 */
export function restoreSnapshot({ folder }: Snapshot<unknown>, trees: Trees, device: Device): void {
  for (const [name, tree] of Object.entries(trees)) {
    const leaves = entriesOf(tree);
    if (leaves.length === 0) continue;
    const file = join(folder, `${name}.safetensors`);
    using checkpoint = openCheckpoint(file);
    for (const [path, leaf] of leaves) {
      const sizes = Object.values(leaf.shape), found = checkpoint.tensors.get(path || name);
      if (found?.shape.join() !== sizes.join()) {
        throw new UserError(
          `${file}: tensor "${path}" is ${found ? `[${found.shape}]` : "missing"}, [${sizes}] was expected: this ` +
            "snapshot is of another model or optimiser.",
        );
      }
      device.write(leaf, checkpoint.read(path || name));
    }
  }
}
