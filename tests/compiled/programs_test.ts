/**
 * @file Programs as text: printing and reading are inverse, and what the method's programs look like is kept in
 * tests/golden/programs. `XFT_UPDATE_GOLDEN=1` writes those files anew; look at the difference before committing it.
 */
import fc from "fast-check";
import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  add,
  checkpoint,
  customVjp,
  exp,
  grad,
  item,
  leavesIn,
  mul,
  parse,
  read,
  type Scalar,
  show,
  sigmoid,
  tensor,
  UserError,
  valueAndGradWith,
} from "../../dsl/mod.ts";
import { node } from "../../dsl/build.ts";
import { isOp, type Node, topological } from "../../dsl/node.ts";
import { nodeOf } from "../../dsl/tensor.ts";
import { entriesOf, leavesOf, refill } from "../../dsl/tree.ts";
import { openInterpreter } from "../../backend/interpreter.ts";
import { lossFor } from "../../recipes/model/loss.ts";
import { makeBatch, toBatch } from "../../recipes/model/batch.ts";
import type { Model } from "../../recipes/model/llama.ts";
import { type Moe, moe, routed } from "../../recipes/model/moe.ts";
import { route } from "../../recipes/model/router.ts";
import { objectives } from "../../recipes/objectives/mod.ts";
import { programOf } from "../random/generate.ts";
import { golden } from "../support.ts";
import { tinyDense, tinyMixture, tinyModel, tinySamples } from "../fixtures/tiny.ts";

const device = openInterpreter(), config = tinyMixture({ num_hidden_layers: 1 });

/** The same tree with a variable for every leaf, named after its path. */
const named = <P>(tree: P, name: string): P =>
  refill(
    tree,
    entriesOf(tree).map(([path, { shape, dtype }]) =>
      node("variable", [], { shape, dtype, name: path ? `${name}.${path}` : name })
    ),
  );

const model = named(tinyModel(config, device).model, "weight");
const batch = named(toBatch(makeBatch(tinySamples(2, 1, 5), 5)), "batch");
const hidden = named(tensor({ batch: 2, seq: 3, embed: 8 }, new Float32Array(48)), "hidden");
const [{ ffn }] = model.layers;

const programs: Record<string, () => unknown> = {
  router: () => {
    const { p, expert, gates, rest } = route(routed(hidden, ffn, config).clean, config.active - 1, true);
    return { p, expert, gates, rest };
  },
  "moe-forward": () => moe(config)(hidden, ffn, 0),
  "moe-backward": () =>
    grad((weights: Moe, x: typeof hidden) => {
      const out = moe(config)(x, weights, 0);
      return node("sum", [nodeOf(mul(out, out))], { over: ["batch", "seq", "embed"] }) as unknown as Scalar;
    })(ffn, hidden),
};
for (const [name, objective] of Object.entries(objectives)) {
  const alpha = [named(tensor({ expert: 3 }, [0, 0, 0]), "alpha")], logit = [named(tensor({}, [0]), "logit")];
  const lambda = logit.map(sigmoid);
  if (objective.kind === "loss") {
    programs[`objective-${name}`] = () => ({ loss: objective.loss({ alpha, lambda }, model, batch, config) });
  } else if (objective.kind === "measure") {
    programs[`objective-${name}`] = () => objective.measure(model, batch, config);
  }
}

for (const [name, program] of Object.entries(programs)) {
  Deno.test(`the program ${name} is as in tests/golden/programs`, () => {
    const text = `${show(program())}\n`, path = golden(`programs/${name}.txt`);
    if (Deno.env.get("XFT_UPDATE_GOLDEN")) Deno.writeTextFileSync(path, text);
    assertEquals(text, Deno.readTextFileSync(path));
  });
}

/** Printed and read with its leaves, a program is the same nodes; read without, the text of the same program. */
function checkRoundTrip(tree: unknown): void {
  const text = show(tree), roots = leavesOf(tree, undefined);
  const same = parse(text, leavesIn(tree)).results;
  assert(same.every(([, result], i) => nodeOf(result) === roots[i]), `other nodes:\n${text}`);
  const selfContained = topological(roots).every((each) => !isOp(each, "data") || each.attributes.values.length <= 16);
  if (!selfContained) return;
  const again = Object.fromEntries(parse(text).results.map(([path, result]) => [path, result]));
  assertEquals(show(again[""] ?? again), text);
}

for (const [name, program] of Object.entries(programs)) {
  Deno.test(`the program ${name} is read as it was printed`, () => checkRoundTrip(program()));
}

Deno.test("random programs and their gradients are read as they were printed", () =>
  fc.assert(
    fc.property(fc.array(fc.nat(10_000), { minLength: 4, maxLength: 60 }), (list) => {
      checkRoundTrip(programOf(list).results);
    }),
    { numRuns: 200, seed: 20261123 },
  ));

Deno.test("whole training steps of Llama and mixture are read as they were printed", () => {
  const data = toBatch(makeBatch(tinySamples(2, 1, 5), 5));
  for (const each of [tinyDense(), tinyMixture()]) {
    const parameters = named(tinyModel(each, device).model, "weight") as Model;
    checkRoundTrip(valueAndGradWith(lossFor(each))(parameters, data, null));
  }
});

Deno.test("text keeps numbers, names and functions exactly", () => {
  const x = tensor({ "an axis": 2, "[odd]:": 1 }, [-0, 1e-40]);
  const value = add(mul(x, -0), 1e300), [[, back]] = parse(show(value)).results;
  assertEquals(Array.from(read(back as typeof x)), Array.from(read(value)));
  for (const number of [-0, NaN, Infinity, -Infinity, 1e-7, 0.1 + 0.2]) {
    const [[, same]] = parse(show(add(tensor({}, [0]), number))).results;
    assert(Object.is(item(same as Scalar), item(add(tensor({}, [0]), number))));
  }
  const kept = checkpoint((y: Scalar) => exp(mul(y, 2))), at = tensor({}, [0.5]);
  const [[, called]] = parse(show(kept(at))).results;
  assertEquals(show(called), show(kept(at)));
  assert(show(kept(at)).includes("call %0 : f32[] checkpoint(%0) {\n  %0 = variable"));
  // A checkpoint that was read still has its gradient.
  const variable = nodeOf(parse('%0 = variable name="x" : f32[]\nreturn %0').variables[0]);
  checkRoundTrip({ value: kept(at), slope: grad(kept)(at), variable: variable as unknown as Scalar });
});

Deno.test("what is wrong with a text is said with line and column", () => {
  const wrong = (text: string, message: string): void => void assertThrows(() => parse(text), UserError, message);
  wrong(
    '%0 = iota axis="a" size=3 : i32[a:3]\n%1 = neg %7 : i32[a:3]\nreturn %1',
    "line 2 of the program, column 12: %7 is not defined",
  );
  wrong("%0 = frobnicate 1 : f32[]\nreturn %0", 'there is no operation "frobnicate"');
  wrong('%0 = iota axis="a" size=3 : i32[a:4]\nreturn %0', "iota gives i32[a:3], the text says i32[a:4]");
  wrong('%0 = iota axis="a" size=3 : i32[a:3]', "cut short");
  const large = tensor({ a: 20 }, new Float32Array(20)), custom = customVjp((x: Scalar) => exp(x), (g) => [g]);
  wrong(show(mul(large, 2)), "give its leaves to parse");
  wrong(show(custom(tensor({}, [1]))), "its gradient is no part of the text");
  checkRoundTrip([mul(large, 2), custom(tensor({}, [1]))] as unknown as Node[]);
});
