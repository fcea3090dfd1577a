/**
 * @file A whole training step of a mixture (forward, backward, Adafactor, balance loss) on every device against the f64
 * interpreter, with those of the interpreter's decisions fed in that rounding could flip.
 */
import { topological } from "../../dsl/node.ts";
import { assertAgree, assertSameBits, expected, onDevice } from "../agreement.ts";
import { allDevices, withDevice } from "../devices.ts";
import { config, stepCase } from "./moe_step.ts";

Deno.test("a mixture's training step routes twice or more, so the test below means something", () => {
  const { parameters, results } = stepCase();
  const routed = [...parameters, ...topological(results).filter(({ op }) => op === "topk")]
    .filter(({ shape, dtype }) => "slot" in shape && dtype === "i32");
  if (routed.length !== config.layers) throw new Error(`${routed.length} routing decisions`);
});

for (const name of allDevices().filter((each) => each !== "interpreter")) {
  Deno.test(`a mixture's training step on ${name}: as the interpreter, fused and not, and the same bits again`, () =>
    withDevice(name, async (device) => {
      const step = stepCase(), want = expected(step);
      const fused = await onDevice(step, device), again = await onDevice(step, device);
      assertAgree(fused, want, "fused");
      assertAgree(await onDevice(step, device, { fuse: "off" }), want, "unfused");
      assertAgree(await onDevice(step, device, { donate: true }), want, "donated");
      assertSameBits(again, fused, "another run");
    }));
}
