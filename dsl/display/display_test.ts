/** @file What tensors and programs show in a notebook. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import fc from "fast-check";
import { node } from "../build.ts";
import { add, contract, log, mul, type Tensor, tensor } from "../mod.ts";
import { tensorOf } from "../tensor.ts";
import { type Box, drawGraph, placeBoxes } from "./graph.ts";
import { type DisplayBundle, displaySymbol } from "./mod.ts";
import { spanOf, tableOf } from "./values.ts";

/** What a notebook would do. */
const displayed = (x: unknown): Promise<DisplayBundle> =>
  (x as Record<symbol, () => Promise<DisplayBundle>>)[displaySymbol]();

Deno.test("a tensor shows its axes, sizes and values; infinities and NaN are counted apart", async () => {
  const x = tensor({ row: 2, column: 3 }, [[1, -2.5, NaN], [Infinity, 1e-9, 4]]);
  const { "text/plain": text, "text/html": html } = await displayed(x);
  assertStringIncludes(text, "Tensor f32[row:2 column:3]\n6 values from -2.5 to 4, mean 0.625; 1 NaN; 1 infinite");
  assertStringIncludes(html, "<th>row \\ column</th><th>0</th><th>1</th><th>2</th>");
  assertStringIncludes(html, "<tr><th>0</th><td>1</td><td>-2.5</td><td>NaN</td></tr>");
  assertEquals(spanOf([1, 0, 1], "bool"), "3 values, 2 true");
});

Deno.test("a long table is cut at its edges, an outer axis stands at 0, and one without axes is one value", () => {
  const table = tableOf({ layer: 2, row: 20, column: 30 }, Float64Array.from({ length: 1200 }, (_, i) => i), "f32");
  assertStringIncludes(table, "at layer:0");
  assertEquals([...table.matchAll(/<td>\d+<\/td>/g)].length, 8 * 10);
  assertStringIncludes(table, "<td>9</td><td>…</td></tr><tr><th>1</th><td>30</td>");
  assertEquals(tableOf({}, [7], "f32"), "<table><tr><th></th><td>7</td></tr></table>");
});

Deno.test("an expression shows its program as a graph, and its values where they can be known", async () => {
  const x = tensor({ row: 2, column: 2 }, [[1, 2], [3, 4]]),
    y = add(contract(x, tensor({ column: 2 }, [1, 1]), "column"), 1);
  const known = await displayed(y);
  assertStringIncludes(known["text/plain"], "[4, 8]");
  assertStringIncludes(known["text/plain"], "= contract ");
  assertMatch(known["text/html"], /<svg [^]*>contract<\/text>[^]*>add 1<\/text>/);
  const variable = tensorOf<"row", "real">(node("variable", [], { shape: { row: 2 }, dtype: "f32", name: "<rate>" }));
  const unknown = await displayed(mul(variable, 2));
  assert(!unknown["text/plain"].includes("values from"));
  assertStringIncludes(unknown["text/html"], "&lt;rate&gt;");
  let long: Tensor<"row"> = variable;
  for (let i = 0; i < 200; i++) long = log(add(long, i));
  const big = (await displayed(long))["text/html"];
  assert(!big.includes("<svg") && big.includes("operations"));
});

/** Graphs whose arrows come from earlier boxes. */
const graphs = fc.array(fc.array(fc.nat(50), { maxLength: 3 }), { minLength: 1, maxLength: 25 }).map((lists) =>
  lists.map((inputs, i): Box => ({
    id: String(i),
    lines: ["op".repeat(1 + i % 5), "f32[a:2]"],
    tone: "work",
    inputs: i === 0 ? [] : inputs.map((input) => String(input % i)),
  }))
);

Deno.test("graphs: no two boxes overlap, every arrow points down, and the picture is well-formed", () => {
  fc.assert(
    fc.property(graphs, (boxes) => {
      const placed = placeBoxes(boxes), byId = new Map(placed.map((each) => [each.box.id, each]));
      assertEquals(placed.length, boxes.length);
      for (const [i, a] of placed.entries()) {
        for (const input of a.box.inputs) assert(byId.get(input)!.y + byId.get(input)!.height < a.y);
        for (const b of placed.slice(i + 1)) {
          const apart = a.x + a.width < b.x || b.x + b.width < a.x || a.y + a.height < b.y || b.y + b.height < a.y;
          assert(apart, `${a.box.id} lies over ${b.box.id}`);
        }
      }
      const open: string[] = [];
      for (const [, end, name, self] of drawGraph(boxes).matchAll(/<(\/?)([a-z]+)[^>]*?(\/?)>/g)) {
        if (end) assertEquals(open.pop(), name);
        else if (!self) open.push(name);
      }
      assertEquals(open, []);
    }),
    { numRuns: 200, seed: 7 },
  );
});
