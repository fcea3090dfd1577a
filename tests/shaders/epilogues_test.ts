/**
 * @file Loops behind products on GPUs: which ones become one shader with the product, what is then never stored, and that
 * the values are the interpreter's whatever the sizes of tiles are.
 */
import { assert, assertEquals, assertGreater, assertLessOrEqual } from "@std/assert";
import type { Sums, Then } from "../../backend/compiler/kernel.ts";
import type { CompiledProgram } from "../../backend/compiler/emit.ts";
import { pipeline } from "../../backend/compiler/pipeline.ts";
import { add } from "../../dsl/build.ts";
import { assertAgree, type Case, expected, onDevice } from "../agreement.ts";
import { wgpuDevice } from "../support.ts";
import { contract, drawn, type Example, examples, tanh, variable } from "./epilogues.ts";
import { adapters } from "./kernels.ts";
import { tuned, tunings } from "./tuned.ts";

const flags = (each: Case, set: boolean): boolean[] => each.parameters.map((_, i) => set && i === 0);

/** The plan for an adapter. */
const plannedFor = (each: Example, capabilities: typeof adapters[number]): CompiledProgram =>
  pipeline(each, {
    capabilities,
    fuse: "on",
    poison: true,
    validate: true,
    donated: flags(each, each.donate === true),
    hosted: flags(each, false),
  });

const behind = ({ steps }: CompiledProgram): Then[] =>
  steps.flatMap(({ kernel }) => "then" in kernel && kernel.then ? [kernel.then] : []);

const sums = ({ steps }: CompiledProgram): Sums[] =>
  steps.flatMap(({ kernel }) => "sums" in kernel && kernel.sums ? kernel.sums : []);

for (const adapter of adapters) {
  Deno.test(`${adapter.name}: elementwise loops become one shader with the product before them, others do not`, () => {
    for (const each of examples) {
      const compiled = plannedFor(each, adapter), loops = behind(compiled), { summed = 0 } = each;
      assertEquals([loops.length, sums(compiled).length], [each.joined, summed], each.name);
      const left = compiled.steps.filter(({ kernel }) => kernel.kind === "loop").length;
      // With eight buffers a loop may be two, of which one joins.
      if (adapter.maxBindings === 8 && left > 1 - each.joined) continue;
      assertEquals(left, summed > 0 ? 0 : 1 - each.joined, each.name);
      assertEquals(loops.map(({ stored }) => stored), loops.map(() => each.name === "kept, in heads"), each.name);
      // What goes on in registers is never memory. (Experts' order is; and what packs the words of few rows.)
      if (each.joined && !/expert|f16, 3/.test(each.name)) assertEquals(compiled.plan.arena, [], each.name);
    }
  });
}

Deno.test("a loop joins only where the shader binds no more buffers than the adapter allows", () => {
  const x = variable({ m: 41, k: 19 }), w = variable({ k: 19, n: 33 });
  for (const adapter of adapters) {
    const joined = new Set<number>();
    for (let more = 0; more < 14; more++) {
      const terms = Array.from({ length: more }, () => variable({ m: 41, n: 33 }));
      const result = terms.reduce((all, term) => add(all, term), tanh(contract(x, w, "k")));
      const compiled = plannedFor({ name: "sum", joined: 0, ...drawn([x, w, ...terms], [result]) }, adapter);
      for (const { buffers } of compiled.plan.steps) assertLessOrEqual(buffers.length, adapter.maxBindings);
      if (behind(compiled).length > 0) joined.add(more);
    }
    assert(joined.has(0), adapter.name);
    assertGreater(joined.size, Math.min(3, adapter.maxBindings - 5), adapter.name);
  }
});

const name = wgpuDevice();
for (const [what, tuning] of Object.entries({ "as it is": {}, ...tunings })) {
  Deno.test({
    name: `wgpu, ${what}: loops behind products are as the interpreter's, also where they overwrite what they read`,
    ignore: !name?.startsWith("wgpu"),
    fn: async () => {
      using device = tuned(name as "wgpu", tuning);
      for (const each of examples) {
        for (const donate of each.donate ? [true, false] : [false]) {
          assertAgree(await onDevice(each, device, { donate }), expected(each), `${each.name}, donated ${donate}`);
        }
      }
    },
  });
}
