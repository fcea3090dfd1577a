/** @file The authors' checkpoints: under our names and back again, bit for bit. */
import { join } from "node:path";
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { openCheckpoint } from "../../backend/checkpoint.ts";
import { UserError } from "../../dsl/errors.ts";
import { golden, withTempDir } from "../../tests/support.ts";
import { parseAuthorsConfig } from "./authors.ts";
import { parseCoefficients, readCoefficients } from "./coefficients.ts";
import { convert } from "./mod.ts";

/** Every tensor of the first is in the second, bit for bit. */
function assertContains(part: string, whole: string, skip: (name: string) => boolean = () => false): void {
  using a = openCheckpoint(part);
  using b = openCheckpoint(whole);
  for (const name of a.tensors.keys()) {
    if (!skip(name)) assertEquals(b.read(name), a.read(name), name);
  }
}

Deno.test("the authors' mixture comes back from ours", () =>
  withTempDir(async (folder) => {
    const [ours, theirs] = [join(folder, "ours"), join(folder, "theirs")];
    const report = await convert(golden("authors/moe"), ours);
    assertEquals([report.from, report.config?.kind, report.tokens], ["authors-moe", "moe", undefined]);
    assertEquals(report.config, {
      kind: "moe",
      vocabSize: 64,
      hiddenSize: 32,
      ffnSize: 48,
      layers: 2,
      heads: 4,
      kvHeads: 4,
      headDim: 8,
      maxPositions: 64,
      normEps: 1e-6,
      ropeTheta: 10000,
      ropeScaling: null,
      tied: false,
      experts: 8,
      active: 6,
      router: "mlp",
      normalised: true,
      noise: true,
      noiseEpsilon: 0.01,
      balanceWeight: 0.01,
    });
    {
      using original = openCheckpoint(golden("authors/moe"));
      using converted = openCheckpoint(ours);
      const prefix = "model.layers.1.mlp";
      for (
        const [mine, name] of [
          ["shared.up_proj", "calculator.experts.weight_up.0"],
          ["experts.0.gate_proj", "calculator.experts.weight_gate.1"],
          ["experts.6.down_proj", "calculator.experts.weight_down.7"],
          ["router.2", "gate.gate_network.2"],
          ["router.noise", "gate.weight_noise"],
        ]
      ) {
        assertEquals(converted.read(`${prefix}.${mine}.weight`), original.read(`${prefix}.${name}.weight`), mine);
      }
    }
    await convert(ours, theirs, { to: "authors" });
    assertContains(golden("authors/moe"), theirs);
    assertContains(theirs, golden("authors/moe"));
    const again = join(folder, "again");
    await convert(theirs, again);
    assertContains(ours, again);
  }));

Deno.test("the authors' coefficients come back from ours", () =>
  withTempDir(async (folder) => {
    const path = join(folder, "coefficients.json");
    const report = await convert(golden("authors/weighted"), path);
    assertEquals([report.from, report.parameters], ["authors-weighted", 14]);
    const { lambda, alpha, objective } = readCoefficients(path);
    assertEquals([lambda, objective, alpha.length, alpha[0].length], [0.75, "xft", 2, 7]);
    {
      using original = openCheckpoint(golden("authors/weighted"));
      assertEquals(Float32Array.from(alpha[1]), original.read("model.layers.1.mlp.average_weights"));
    }
    await assertRejects(() => convert(golden("authors/weighted"), path), UserError, "this file exists");
    await convert(golden("authors/moe"), join(folder, "moe"));
    await convert(join(folder, "moe"), join(folder, "theirs"), { to: "authors", coefficients: path });
    // Their FFNs are unused: random in the golden file, the shared expert's in ours.
    assertContains(golden("authors/weighted"), join(folder, "theirs"), (name) =>
      name.includes("_proj.weight") && name.includes(".mlp."));
    await convert(join(folder, "theirs"), join(folder, "again.json"));
    assertEquals(readCoefficients(join(folder, "again.json")), readCoefficients(path));
  }));

Deno.test("the authors' FFNs and their weighted model are the dense model that they make", () =>
  withTempDir(async (folder) => {
    const [moe, ffn, dense] = ["moe", "ffn", "dense"].map((name) => join(folder, name));
    await convert(golden("authors/moe"), moe);
    const report = await convert(moe, ffn, { to: "authors-ffn" });
    assertEquals([report.wrote, report.parameters], ["authors", 2 * 8 * 3 * 32 * 48]);
    assertContains(ffn, golden("authors/moe"));
    assertEquals([...Deno.readDirSync(ffn)].map(({ name }) => name).sort(), [
      "README.md",
      "ffn_layer_0.safetensors",
      "ffn_layer_1.safetensors",
    ]);
    assertEquals((await convert(golden("authors/weighted"), dense, { ffn })).config?.kind, "llama");
    using ours = openCheckpoint(dense);
    using theirs = openCheckpoint(golden("authors/dense_merged"));
    assertEquals([...ours.tensors.keys()].sort(), [...theirs.tensors.keys()].sort());
    for (const name of ours.tensors.keys()) {
      const want = theirs.read(name);
      ours.read(name).forEach((x, i) => assert(Math.abs(x - want[i]) <= 1e-6, `${name}: ${x}, theirs is ${want[i]}`));
    }
    await assertRejects(
      () => convert(moe, join(folder, "none"), { ffn }),
      UserError,
      "not the authors' weighted model",
    );
    await assertRejects(() => convert(ffn, join(folder, "none")), UserError, "these are FFNs alone");
  }));

Deno.test("the authors' pickled FFNs are refused with the way round: they are programs, and in the mixture", () =>
  withTempDir(async (folder) => {
    Deno.writeTextFileSync(join(folder, "ffn_layer_0.pt"), "");
    const out = join(folder, "out");
    await assertRejects(() => convert(folder, out), UserError, "The mixture holds all of them");
    await assertRejects(
      () => convert(golden("authors/weighted"), out, { ffn: folder }),
      UserError,
      "runs whatever program",
    );
  }));

Deno.test("settings of their code that we do not compute are refused", () => {
  const json = JSON.parse(Deno.readTextFileSync(golden("authors/moe/config.json")));
  parseAuthorsConfig(json, "c", true);
  for (const [name, value] of Object.entries({ gate_type: "TopKBalancedNoisyGate", add_weight_norm: true })) {
    assertThrows(() => parseAuthorsConfig({ ...json, [name]: value }, "c", true), UserError, name);
  }
});

Deno.test("impossible coefficients are refused in a sentence", () => {
  const good = { version: 1, objective: "xft", lambda: 0.75, alpha: [[1, 2], [3, 4]] };
  assertEquals(parseCoefficients(good, "c").alpha, [[1, 2], [3, 4]]);
  const cases: [Record<string, unknown>, string][] = [
    [{ version: 2 }, "version 2 is not supported"],
    [{ lambda: 1.4 }, "λ is a share, between 0 and 1"],
    [{ lambda: "0.5" }, "λ is a share"],
    [{ alpha: [] }, "one list per layer"],
    [{ alpha: [[1, 2], [1]] }, "layer 1"],
    [{ alpha: [[1, null]] }, "no list of numbers"],
    [{ objective: 3 }, "objective"],
  ];
  for (const [change, expected] of cases) {
    assertThrows(() => parseCoefficients({ ...good, ...change }, "c"), UserError, expected);
  }
});
