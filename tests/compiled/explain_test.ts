/** @file What `explain` says: numbers that can be counted by hand, lines of source, and a page that needs nothing. */
import { assert, assertAlmostEquals, assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { compile, foresee, planned, put, values } from "../../backend/compile.ts";
import { type ProgramReport, withRoofs } from "../../backend/compiler/explain/explain.ts";
import { pageOf, textOf } from "../../backend/compiler/explain/report.ts";
import { capabilitiesOf, open } from "../../backend/open.ts";
import { roofsOf } from "../../backend/roofs.ts";
import { type DisplayBundle, displaySymbol } from "../../dsl/display/mod.ts";
import { contract, grad, silu, softmax, square, sum, type Tensor, tensor } from "../../dsl/mod.ts";
import { readConfig } from "../../recipes/convert/huggingface.ts";
import { profileStep } from "../../recipes/explain.ts";
import { xft as xftObjective } from "../../recipes/objectives/xft.ts";
import { testDevices, withTempDir, xft } from "../support.ts";
import { writeTinyModel } from "../fixtures/tiny_folder.ts";

type Weights = Tensor<"embed" | "hidden">;
type Rows = Tensor<"batch" | "embed">;

/** The line that it is called from, and those after it. */
const line = Number(/explain_test\.ts:(\d+)/.exec(new Error().stack!)![1]);
const loss = (w: Weights, x: Rows) => {
  const h = contract(x, w, "embed");
  const p = softmax(silu(h), "hidden");
  return sum(square(p));
};
const lines = { product: line + 2, softmax: line + 3, sum: line + 4 };

const w = tensor({ embed: 8, hidden: 16 }, Float32Array.from({ length: 128 }, (_, i) => Math.sin(i)));
const x = tensor({ batch: 4, embed: 8 }, Float32Array.from({ length: 32 }, (_, i) => Math.cos(i)));
const slope = (p: Weights, rows: Rows): Weights => grad(loss)(p, rows);

/** What holds of every report. */
function assertSound({ kernels, steps, flops, moved }: ProgramReport): void {
  const total = (f: (kernel: ProgramReport["kernels"][number]) => number): number =>
    kernels.reduce((sum, kernel) => sum + f(kernel), 0);
  assertAlmostEquals(total(({ share }) => share), 1, 1e-9);
  assertEquals([total(({ runs }) => runs), total((kernel) => kernel.flops)], [steps, flops]);
  assertEquals(total(({ reads, writes }) => reads + writes), moved);
  for (const { number, after } of kernels) assert(after.every((other) => other < number));
}

Deno.test("explain: every kernel has its lines, axes, FLOPs and bytes, its fusions and what stayed apart", async () => {
  using device = await open("cpu");
  const run = compile(slope, device, { sources: true });
  const report = run.report(put(w, device), put(x, device));
  assertSound(report);
  const short = report.kernels.map(({ kind, axes, sources, flops, reads, writes, after }) => ({
    kind,
    axes,
    lines: sources.map((source) => Number(source.split(":").at(-1))),
    flops,
    reads,
    writes,
    after,
  }));
  // 32-bit numbers: x and w in, the gradient of h out (h itself stays in the cache); then that and x in, w's gradient out.
  const [first, second] = short;
  assertEquals([short.length, first.kind, first.axes], [2, "contract", "batch:4 hidden:16"]);
  assertEquals([first.reads, first.writes, first.after], [4 * 160, 4 * 64, []]);
  assert(first.flops > 2 * 4 * 8 * 16);
  assert(first.lines.every((each) => Object.values(lines).includes(each)));
  assert(Object.values(lines).every((each) => first.lines.includes(each)));
  assertEquals(second, {
    kind: "contract",
    axes: "embed:8 hidden:16",
    lines: [lines.product],
    flops: 2 * 4 * 8 * 16,
    reads: 4 * 96,
    writes: 4 * 128,
    after: [0],
  });
  const { fused } = report.kernels[0];
  assert(fused.some((why) => why.startsWith("exp feeds the same batch hidden loop")));
  assert(fused.includes("contract hands its results on before they are in memory"));
  assertEquals(report.kernels[1].apart, ["contract has a kernel of its own"]);
  const text = run.explain(put(w, device), put(x, device));
  assertStringIncludes(text, `at explain_test.ts:${lines.product}`);
  assertStringIncludes(text, "1.0 kFLOP, reads 384 B, writes 512 B");
  assertStringIncludes(text, "shares of the step are predicted");
  assertEquals(JSON.parse(JSON.stringify(report)), report);
});

Deno.test("explain: once a program ran, the CPU device's shares are measured", async () => {
  using device = await open("cpu");
  const run = compile(slope, device, { sources: true });
  for (let i = 0; i < 20; i++) await run(w, x);
  const report = run.report(w, x);
  assertSound(report);
  assert(report.timed && report.kernels.every(({ seconds }) => seconds !== undefined && seconds > 0));
  assertStringIncludes(run.explain(w, x), "shares of the step are measured");
});

for (const name of testDevices()) {
  Deno.test(`explain on ${name}: a timed program's kernels are measured, or the report says why they are not`, async () => {
    const { timestamps } = await capabilitiesOf(name);
    using device = await open(name);
    const run = compile(slope, device, { sources: true, timed: true }),
      given = [put(w, device), put(x, device)] as const;
    const plain = await values(await compile(slope, device)(...given), device);
    for (let i = 0; i < 3; i++) assertEquals(await values(await run(...given), device), plain);
    const report = run.report(...given);
    assertSound(report);
    assertEquals([report.timed, report.untimed !== undefined], timestamps ? [true, false] : [false, true]);
    run.executable(...given).restart();
    assert(run.report(...given).kernels.every(({ seconds }) => (seconds ?? 0) === 0));
  });
}

Deno.test("explain: a kernel's roof is the one that would take longer, and its share that time by what it took", async () => {
  using device = await open("interpreter");
  const kernel = { number: 0, kind: "loop", runs: 1, axes: "", extent: "", operations: "", sources: [], fused: [] };
  const measured = { ...kernel, apart: [], after: [], share: 1, reads: 60, writes: 40, seconds: 2 };
  const empty = compile(slope, device).report(w, x), roofs = { flopsPerSecond: 100, bytesPerSecond: 100 };
  const roofOf = (flops: number) => withRoofs({ ...empty, timed: true, kernels: [{ ...measured, flops }] }, roofs);
  assertEquals(roofOf(40).kernels[0].roof, { bound: "bytes", reached: 50, share: 0.5 });
  assertEquals(roofOf(150).kernels[0].roof, { bound: "products", reached: 75, share: 0.75 });
  assertStringIncludes(textOf(roofOf(150)), "75.0% of the roof");
  assertStringIncludes(pageOf(roofOf(150)), "75.0% of the roof");
});

Deno.test("xft explain --profile: every kernel of a step measured, beside roofs that the cache keeps", () =>
  withTempDir(async (folder) => {
    await writeTinyModel(join(folder, "moe"), "mixture");
    const device = await open("cpu"), cpu = await capabilitiesOf("cpu");
    Deno.env.set("XFT_CACHE", folder);
    try {
      // As if measured before.
      const known = await roofsOf(device, { ...cpu, software: true });
      assert(known.flopsPerSecond > 0 && known.bytesPerSecond > 0);
      assertEquals(await roofsOf(device, { ...cpu, software: true }), known);
      const again = await roofsOf(device, { ...cpu, software: true }, { remeasure: true });
      assert(again.measured >= known.measured);
    } finally {
      Deno.env.delete("XFT_CACHE");
      device[Symbol.dispose]();
    }
    const config = readConfig(join(folder, "moe")), sizes = { batch: 2, seq: 16, optimizer: "adafactor" } as const;
    for (const step of ["loss", "train", "learn", "decode"] as const) {
      using fresh = await open("cpu");
      const report = await profileStep(config, fresh, { ...sizes, step, objective: xftObjective }, { runs: 2 });
      assertSound(report);
      assert(report.timed && report.kernels.length > 0);
    }
  }));

Deno.test("explain: the page needs no network, no script and no other file, and draws every kernel once", async () => {
  const report = foresee(
    slope,
    [planned({ embed: 8, hidden: 16 }), planned({ batch: 4, embed: 8 })] as [Weights, Rows],
    await capabilitiesOf("cpu"),
  );
  const page = pageOf(report, "a <step> & its kernels");
  assert(!/<script|\ssrc=|\shref=|@import|url\(/.test(page));
  assertEquals([...page.matchAll(/https?:\/\/[^"\s<]+/g)].map(([address]) => address), ["http://www.w3.org/2000/svg"]);
  assertStringIncludes(page, "<h1>a &lt;step&gt; &amp; its kernels</h1>");
  assertEquals([...page.matchAll(/<rect /g)].length, report.kernels.length);
  assertEquals([...page.matchAll(/<path /g)].length, report.kernels.flatMap(({ after }) => after).length);
});

Deno.test("a compiled function shows its kernels in a notebook", async () => {
  using device = await open("cpu");
  const run = compile((p: Weights) => softmax(p, "hidden"), device);
  await run(w);
  const shown = (run as unknown as Record<symbol, () => DisplayBundle>)[displaySymbol]();
  assertStringIncludes(shown["text/html"], "<svg ");
  assertStringIncludes(shown["text/plain"], "1 kernels run");
  using oracle = await open("interpreter");
  assertStringIncludes(textOf(compile(slope, oracle).report(w, x)), "the interpreter runs one primitive at a time");
});

Deno.test("xft explain: a step of a model as text, JSON and HTML, without its weights", () =>
  withTempDir(async (folder) => {
    await writeTinyModel(join(folder, "moe"), "mixture");
    Deno.removeSync(join(folder, "moe/model.safetensors"));
    for (const step of ["loss", "train", "learn"]) {
      const args = ["explain", "moe", "--step", step, "--batch", "2", "--seq", "16", "--device", "cpu"];
      const { code, stdout, stderr } = await xft([...args, "--json", "--out", `${step}.html`], folder);
      assertEquals(code, 0, stderr);
      const report: ProgramReport = JSON.parse(stdout.trim().split("\n").at(-1)!);
      assertSound(report);
      const sources = report.kernels.flatMap((kernel) => kernel.sources).join(" ");
      assertStringIncludes(sources, "recipes/model/llama.ts:");
      assertEquals(sources.includes(step === "learn" ? "recipes/merge/formula.ts:" : "recipes/model/moe.ts:"), true);
      assert(report.kernels.some(({ operations }) => operations === "contractAt") === (step !== "learn"));
      assertStringIncludes(Deno.readTextFileSync(join(folder, `${step}.html`)), "<svg ");
      const text = await xft(args, folder);
      assertStringIncludes(text.stdout, `${report.steps} kernels run`);
    }
    const decode = await xft(
      ["explain", "moe", "--step", "decode", "--seq", "16", "--device", "cpu", "--json"],
      folder,
    );
    const planned: ProgramReport = JSON.parse(decode.stdout.trim().split("\n").at(-1)!);
    assertSound(planned);
    assert(
      !planned.timed &&
        planned.kernels.some(({ sources }) => sources.some((at) => at.includes("recipes/generate/decode.ts"))),
    );
    const dense = await xft(["explain", "moe", "--step", "learn", "--objective", "uniform", "--device", "cpu"], folder);
    assertEquals(dense.code, 1);
    assertStringIncludes(dense.stderr, "this objective has no steps");
  }));

Deno.test("xft doctor --bench: a device's roofs, and what a training step reaches of them", () =>
  withTempDir(async (folder) => {
    const { code, stdout, stderr } = await xft(["doctor", "--bench", "--device", "cpu", "--json"], folder);
    assertEquals(code, 0, stderr);
    const [{ bench }] = JSON.parse(stdout.trim().split("\n").at(-1)!).devices;
    assert(bench.roof_flops_per_second > 0 && bench.roof_bytes_per_second > 0);
    assert(bench.step.flops_per_second > 0 && bench.step.bytes_per_second > 0 && bench.step.share_of_roof > 0);
  }));
