/** @file A regime's examples are as many, as wrong and as unequal as it says, and of the training split. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { UserError } from "../../../dsl/errors.ts";
import { normalisedSyntax, tasks } from "../family/mod.ts";
import { namedRegimes, type Regime, regimes, trainingTasks } from "./regimes.ts";

Deno.test("regimes have as many examples as they say, all of the training split, and make as many steps", () => {
  const heldOut = new Set(tasks(1, "validation", 100).map(({ solution }) => normalisedSyntax(solution)));
  for (const regime of Object.values(regimes) as Regime[]) {
    const chosen = trainingTasks(regime, 1);
    assertEquals(chosen.length, regime.examples);
    assertEquals(regime.examples * regime.epochs, 1280);
    assert(chosen.every(({ split, solution }) => split === "train" && !heldOut.has(normalisedSyntax(solution))));
  }
});

Deno.test("of noisy examples three in ten have another's answer, of unequal ones most are of one domain", () => {
  const right = new Map(trainingTasks({ ...regimes.noisy, wrong: 0 }, 1).map(({ id, solution }) => [id, solution]));
  const wrong = trainingTasks(regimes.noisy, 1).filter(({ id, solution }) => right.get(id) !== solution);
  assertEquals(wrong.length, 48);
  const lists = trainingTasks(regimes.unequal, 1).filter(({ domain }) => domain === "list");
  assert(lists.length > 0.75 * regimes.unequal.examples, `${lists.length}`);
});

Deno.test("regimes are named, and what is none is refused", () => {
  assertEquals(namedRegimes("few, noisy"), ["few", "noisy"]);
  assertEquals(namedRegimes("all").length, Object.keys(regimes).length);
  assertThrows(() => namedRegimes("fwe"), UserError, "expected all, or some of many,few");
});
