/** @file From every primitive's samples: gradients by finite differences, and devices against the interpreter. */
import { constant } from "../../dsl/build.ts";
import { backward } from "../../dsl/transforms/reverse.ts";
import { isReal } from "../../dsl/primitive.ts";
import { assertAgree, type Case, drawValues, expected, onDevice, randomNumbers } from "../agreement.ts";
import { allDevices, withDevice } from "../devices.ts";
import { allPrimitives, caseOf, probe } from "./samples.ts";

for (const { op, samples } of allPrimitives) {
  Deno.test(`${op}: the gradient is the slope`, () => {
    samples.forEach((sample, i) => {
      if (sample.valuesOnly) return;
      const { parameters, results, values } = caseOf(op, sample, i + 1), random = randomNumbers(i + 99);
      const real = parameters.filter(isReal);
      if (real.length === 0 || !isReal(results[0])) return;
      const loss = probe(results[0], random), gradients = backward([loss], [constant(1)], real);
      const directions = parameters.map((x) => isReal(x) ? drawValues({ shape: x.shape }, random) : undefined);
      const at = (step: number): number => {
        const moved = values.map((each, j) =>
          directions[j] ? each.map((value, k) => value + step * directions[j]![k]) : each
        );
        return expected({ parameters, results: [loss], values: moved })[0].data[0];
      };
      const slope = (at(1e-5) - at(-1e-5)) / 2e-5;
      const flat = expected({ parameters, results: gradients, values });
      let next = 0, along = 0;
      parameters.forEach((x, j) => {
        if (!isReal(x)) return;
        flat[next++].data.forEach((value, k) => along += value * directions[j]![k]);
      });
      const error = Math.abs(along - slope) / Math.max(1e-3, Math.abs(slope));
      if (!(error < 1e-5)) throw new Error(`${op}, sample ${i}: ${along} along the direction, the slope is ${slope}`);
    });
  });
}

for (const name of allDevices().filter((each) => each !== "interpreter")) {
  for (const { op, samples } of allPrimitives) {
    Deno.test(`${op}: ${name} agrees with the interpreter, fused and not`, () =>
      withDevice(name, async (device) => {
        for (const [i, sample] of samples.entries()) {
          const each = caseOf(op, sample, i + 1), [result] = each.results;
          const programs: Case[] = [each];
          // The gradient is a program too, and fusion changes it most.
          if (!sample.valuesOnly && isReal(result) && each.parameters.some(isReal)) {
            const wrt = each.parameters.filter(isReal);
            programs.push({ ...each, results: backward([probe(result, randomNumbers(i + 5))], [constant(1)], wrt) });
          }
          for (const program of programs) {
            const want = expected(program);
            for (const fuse of ["on", "off"] as const) {
              assertAgree(await onDevice(program, device, { fuse }), want, `${op}, sample ${i}, fusion ${fuse}`);
            }
          }
        }
      }));
  }
}
