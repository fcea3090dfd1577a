/** @file copy: words from one buffer to another. */
import type { Capabilities } from "../../../device.ts";
import type { CopyKernel } from "../../kernel.ts";
import { type Dispatch, shader } from "./shader.ts";
import { tuningOf } from "./tuning.ts";

/** Emits a dispatch; none if there is nothing to copy. */
export function copy({ words }: CopyKernel, capabilities: Capabilities): Dispatch[] {
  if (words === 0) return [];
  const lanes = tuningOf(capabilities).workgroup;
  return [shader({
    bindings: [{ slot: 0, name: "a", type: "u32" }, { slot: 1, name: "c", type: "u32" }],
    workgroupSize: lanes,
    groups: Math.ceil(words / lanes),
    body: [
      `let at = group * ${lanes}u + lane;`,
      `if (at < ${words}u) { c[at] = a[at]; }`,
    ],
  })];
}
