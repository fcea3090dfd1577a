/** @file Refuses a program that does not fit into the device's memory, before anything is allocated. */
import { UserError } from "../../../dsl/errors.ts";
import type { Node } from "../../../dsl/node.ts";
import { showShape } from "../../../dsl/shape.ts";
import type { Capabilities } from "../../device.ts";

/** What a program takes of a device's memory while it runs, beside its arguments. */
export interface Need {
  /** Intermediate values, results and uploads. */
  readonly bytes: number;
  /** Values among them, with their bytes. */
  readonly values: readonly (readonly [value: Node, bytes: number])[];
}

const gibibytes = (bytes: number): string =>
  bytes < 2 ** 30 ? `${(bytes / 2 ** 20).toFixed(1)} MiB` : `${(bytes / 2 ** 30).toFixed(1)} GiB`;

/**
 * Does it fit?
 *
 * @param usedBytes what lies on the device already, the program's arguments among it
 * @throws UserError that names the largest values and what would help
 */
export function refuseUnlessFitting({ bytes, values }: Need, usedBytes: number, device: Capabilities): void {
  if (bytes + usedBytes <= device.memoryBytes) return;
  const largest = [...values].sort((a, b) => b[1] - a[1]).slice(0, 3)
    .map(([{ op, dtype, shape }, size]) => `${op} ${dtype}${showShape(shape)} with ${gibibytes(size)}`);
  throw new UserError(
    `The program needs ${gibibytes(bytes)} beside ${gibibytes(usedBytes)} in use, ${device.name} has ${
      gibibytes(device.memoryBytes)
    }. Largest: ${largest.join(", ")}. Try checkpoint around layers, a smaller batch, or bf16 storage.`,
  );
}
