/** @file Plans before there is anything to load: `inspect --plan`, and the dry run of a recipe whose model is not there. */
import { assert, assertEquals } from "@std/assert";
import { checkout, golden, xft } from "../support.ts";

/** The object that a command says last. */
async function object(args: string[]): Promise<Record<string, unknown>> {
  const { code, stdout, stderr } = await xft([...args, "--json"]);
  assertEquals(code, 0, stderr);
  return JSON.parse(stdout.trim().split("\n").at(-1)!);
}

Deno.test("inspect --plan counts weights by their precision, and adds up to what is held against devices", async () => {
  const { parameters } = await object(["inspect", golden("authors/dense0")]) as { parameters: number };
  type Row = { name: string; weights: number; state: number; arena: number; gradients: number; total: number };
  const { plan } = await object(["inspect", golden("authors/dense0"), "--plan", "--seq", "32"]) as { plan: Row[] };
  for (const { name, weights, state, arena, gradients, total } of plan) {
    assertEquals(total, weights + state + arena + gradients, name);
    // Norms stay f32.
    const bytes = name.includes("bf16") ? 2 : 4;
    assert(weights >= bytes * parameters && weights <= 1.02 * bytes * parameters + 4096, `${name}: ${weights} bytes`);
    assertEquals(state > 4 * 0.9 * parameters, name.includes("masters"), name);
  }
});

Deno.test("the authors' recipe is planned against the real shapes without the model and without data", async () => {
  const recipe = checkout("recipes/examples/xft-deepseek-1.3b.ts");
  type Stage = { name: string; steps: number; need: { weights: number; flops: number }; on: { fits: boolean }[] };
  const { plan } = await object(["run", recipe, "--out", "nowhere", "--dry-run"]) as { plan: Stage[] };
  const [moe, learn] = plan;
  // 7.03 B parameters: 2 bytes each where they are tuned, 4 where coefficients are learned.
  assert(Math.abs(moe.need.weights / 2 / 7.03e9 - 1) < 0.01, `${moe.need.weights}`);
  assert(Math.abs(learn.need.weights / 4 / 7.03e9 - 1) < 0.01, `${learn.need.weights}`);
  // Six operations for each parameter that a token uses, a third more for layers that are computed again; 64 rows.
  const least = 6 * 5.3e9 * 64 * 1024;
  assert(moe.need.flops > least && moe.need.flops < 1.6 * least, `${moe.need.flops}, at least ${least}`);
  assertEquals([moe.steps, learn.steps], [6875, 1719]);
  assertEquals(moe.on.map(({ fits }) => fits), [false, true, true]);
});
