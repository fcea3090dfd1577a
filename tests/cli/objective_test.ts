/**
 * @file `xft learn --objective FILE.ts`, from outside: a file in a folder of the user's that imports the language and
 * the model by URL, so that two loads of them meet in one program.
 */
import { assert, assertEquals, assertLess, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { serveCheckout } from "../library/serve.ts";
import { checkout, type Ran, withTempDir, xft } from "../support.ts";
import { writeTinyData, writeTinyModel } from "../fixtures/tiny_folder.ts";

/** XFT's own objective, written by somebody else. */
const mine = (mod: string): string =>
  `import { crossEntropy, llama, type Loss, merged, swiglu } from "${mod}";

const mine: Loss = (coefficients, model, { tokens, labels }, config) =>
  crossEntropy(llama(config, merged(model, coefficients), tokens, swiglu).logits, labels);
export default mine;
`;

/** A user's folder: models and data here, objectives there, and the command called from a third place. */
async function withWorkplace(run: (folder: string, learn: (...args: string[]) => Promise<Ran>) => Promise<void>) {
  await withTempDir(async (folder) => {
    for (const name of ["objectives", "runs/today"]) Deno.mkdirSync(join(folder, name), { recursive: true });
    await writeTinyModel(join(folder, "moe"), "mixture");
    writeTinyData(join(folder, "data.jsonl"));
    const stage = ["--data", "../../data.jsonl", "--batch", "2", "--seq", "288", "--validation", "3"];
    const schedule = ["--steps", "4", "--lr", "0.2", "--device", "cpu", "--json"];
    await run(
      folder,
      (...args) => xft(["learn", "../../moe", ...stage, ...schedule, ...args], join(folder, "runs/today")),
    );
  });
}

const read = (path: string): Record<string, unknown> => JSON.parse(Deno.readTextFileSync(path));

Deno.test("learn --objective FILE.ts: a file that imports mod.ts by URL learns what the built-in objective learns", async () => {
  await using served = serveCheckout();
  const lock = Deno.readTextFileSync(checkout("deno.lock"));
  await withWorkplace(async (folder, learn) => {
    Deno.writeTextFileSync(join(folder, "objectives/mine.ts"), mine(served.mod));
    const own = await learn("--out", "mine.json", "--objective", "../../objectives/mine.ts");
    assertEquals(own.code, 0, own.stderr);
    const result = JSON.parse(own.stdout.trim().split("\n").at(-1)!);
    assertEquals(result.out, join(Deno.realPathSync(folder), "runs/today/mine.json"));
    assertLess(result.learned_loss, result.uniform_loss);
    assert(served.asked.includes("dsl/node.ts"), "the language was loaded a second time, by URL");

    const builtIn = await learn("--out", "xft.json", "--objective", "xft");
    assertEquals(builtIn.code, 0, builtIn.stderr);
    const [a, b] = ["mine.json", "xft.json"].map((name) => read(join(folder, "runs/today", name)));
    assertEquals([a.alpha, a.lambda], [b.alpha, b.lambda]);
  });
  assertEquals(Deno.readTextFileSync(checkout("deno.lock")), lock, "the checkout's lock file is not the user's");
});

Deno.test("learn --objective FILE.ts: packed documents are refused to an objective that does not heed them", async () => {
  await using served = serveCheckout();
  await withWorkplace(async (folder, learn) => {
    const file = join(folder, "objectives/mine.ts"),
      args = ["--pack", "documents", "--objective", "../../objectives/mine.ts"];
    Deno.writeTextFileSync(file, mine(served.mod));
    const refused = await learn("--out", "no.json", ...args);
    assertEquals(refused.code, 1);
    assertStringIncludes(refused.stderr, "mine.ts: it looks at batch.tokens alone");
    const heeding = mine(served.mod).replace("{ tokens, labels }", "{ tokens, labels, packing }");
    Deno.writeTextFileSync(file, heeding.replace("tokens, swiglu)", "tokens, swiglu, { packing })"));
    const own = await learn("--out", "mine.json", ...args);
    assertEquals(own.code, 0, own.stderr);
    const builtIn = await learn("--out", "xft.json", "--pack", "documents");
    assertEquals(builtIn.code, 0, builtIn.stderr);
    const [a, b] = ["mine.json", "xft.json"].map((name) => read(join(folder, "runs/today", name)));
    assertEquals(a.alpha, b.alpha);
  });
});

Deno.test("learn --objective FILE.ts: a mistake in the file is told as the file's, with its line", async () => {
  await using served = serveCheckout();
  await withWorkplace(async (folder, learn) => {
    const text = mine(served.mod).replace("labels);", "labels.slice());");
    Deno.writeTextFileSync(join(folder, "objectives/type.ts"), text);
    const wrong = mine(served.mod).replace("crossEntropy(", "contract(").replace("labels);", 'labels as never, "sea");')
      .replace("{ crossEntropy", "{ contract");
    Deno.writeTextFileSync(join(folder, "objectives/axis.ts"), wrong);
    for (const [name, message] of [["type", "labels.slice is not a function"], ["axis", '"sea"']]) {
      const { code, stderr } = await learn("--out", "x.json", "--objective", `../../objectives/${name}.ts`);
      const last = stderr.trim().split("\n").at(-1)!;
      assertEquals(code, 1);
      assertStringIncludes(last, `objectives/${name}.ts: `);
      assertStringIncludes(last, message);
      assert(!last.includes("fault in xft"), stderr);
    }
  });
});

Deno.test("learn --objective FILE.ts: another major version of the language is refused, both named", async () => {
  await using served = serveCheckout((path, data) => {
    if (path !== "dsl/shared.ts") return data;
    const text = new TextDecoder().decode(data), other = text.replace("const major = 0;", "const major = 1;");
    assert(other !== text);
    return other;
  });
  await withWorkplace(async (folder, learn) => {
    Deno.writeTextFileSync(join(folder, "objectives/mine.ts"), mine(served.mod));
    const { code, stderr } = await learn("--out", "x.json", "--objective", "../../objectives/mine.ts");
    assertEquals(code, 1);
    const last = stderr.trim().split("\n").at(-1)!;
    assertStringIncludes(last, "two versions of the language cannot mix");
    assertStringIncludes(last, served.mod);
    assertStringIncludes(last, `file://${checkout("mod.ts")}`);
  });
});
