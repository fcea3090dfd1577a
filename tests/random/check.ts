/** @file What must hold for every program on every device. */
import type { Device } from "../../backend/runtime.ts";
import { assertAgree, assertSameBits, type Case, expected, onDevice } from "../agreement.ts";

/**
 * Fused, unfused, in tiles and with donated memory a device gives what the interpreter gives; another run gives the same
 * bits.
 *
 * @throws Error that says which of them went wrong, and where
 */
export async function checkCase(each: Case, device: Device): Promise<void> {
  const want = expected(each), fused = await onDevice(each, device);
  assertAgree(fused, want, "fused");
  assertSameBits(await onDevice(each, device), fused, "another run");
  assertAgree(await onDevice(each, device, { fuse: "off" }), want, "unfused");
  assertAgree(await onDevice(each, device, { largeBytes: 4096 }), want, "in tiles");
  assertAgree(await onDevice(each, device, { donate: true }), want, "donated");
}
