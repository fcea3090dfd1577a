/** @file Every validator lets a right result pass and catches one that was broken on purpose. */
import { assert, assertMatch, assertThrows } from "@std/assert";
import { add, contract, expand, mul, node, sum } from "../../../dsl/build.ts";
import type { Node } from "../../../dsl/node.ts";
import "../../../dsl/mod.ts";
import type { Capabilities } from "../../device.ts";
import { type Group, group, type Grouping, type LoopGroup } from "../group.ts";
import type { LoopKernel, Plan } from "../kernel.ts";
import { lower } from "../lower.ts";
import { pipeline } from "../pipeline.ts";
import { type Schedule, schedule, type Unit } from "../schedule.ts";
import { stepsOf } from "../steps.ts";
import type { Pass } from "./fault.ts";
import { validatePlan } from "./emit.ts";
import { validateGrouping } from "./group.ts";
import { validateLowered } from "./lower.ts";
import { validatePanels } from "./panels.ts";
import { type Placed, validatePlaces } from "./place.ts";
import { validateSchedule } from "./schedule.ts";

const variable = (shape: Readonly<Record<string, number>>): Node =>
  node("variable", [], { shape, dtype: "f32", name: "x" });

const x = variable({ a: 3, b: 4 }), w = variable({ b: 4, c: 5 }), rate = variable({});
const hidden = node("tanh", [contract(x, w, ["b"])], {});
const gradient = contract(x, mul(hidden, hidden), ["a"]);
const updated = add(w, mul(gradient, expand(rate, gradient.shape)));
/** A product, its use, and an update of w in place. */
const program = { parameters: [x, w, rate], results: [sum(hidden, ["a", "c"]), updated] };
const donated = new Set([w]), maxBindings = 8;
const lowered = lower(program.results, { maxBindings }),
  grouping = group(lowered, { maxBindings, fuse: "on" });
const scheduled = schedule(grouping, donated);
const cpu: Capabilities = {
  kind: "cpu",
  name: "test",
  maxBindings: 16,
  maxBindingBytes: 2 ** 30,
  maxBufferBytes: 2 ** 30,
  memoryBytes: 2 ** 30,
  software: false,
  maxWorkgroupSize: 256,
  workgroupMemoryBytes: 2 ** 14,
};
const { plan } = pipeline(program, {
  capabilities: cpu,
  fuse: "on",
  poison: false,
  donated: [false, true, false],
  hosted: [false, false, false],
});

/** The check must throw, and name the pass and what is wrong. */
function assertCaught(pass: Pass, words: RegExp, check: () => void): void {
  const { message } = assertThrows(check);
  assert(message.includes(`pass "${pass}"`), message);
  assertMatch(message, words);
}

Deno.test("validators: what the compiler makes passes all of them", () => {
  validateLowered(program.results, lowered);
  validateGrouping(grouping, maxBindings);
  validateSchedule(scheduled, { grouping, donated, maxBindings });
  validatePlan(plan, cpu);
});

Deno.test("validator of lower: another shape, two results in one, a type that does not hold, a function left", () => {
  const [total, weights] = lowered;
  const check = (...after: Node[]): () => void => () => validateLowered(program.results, after);
  assertCaught("lower", /tanh .* stands for result 1/, check(total, hidden));
  assertCaught("lower", /is two results at once/, () => validateLowered([updated, updated], [weights, weights]));
  assertCaught("lower", /is result 1, but no kernel computes it/, check(total, w));
  const wrong: Node = { ...node("neg", [weights], {}), shape: weights.shape, dtype: "i32" };
  assertCaught("lower", /neg .* should be f32/, check(total, { ...add(wrong, wrong), dtype: "f32" }));
  const call = { ...weights, op: "call" as const };
  assertCaught("lower", /was not inlined/, check(total, call));
  assertCaught("lower", /was made before its input/, check(total, { ...weights, id: -1 }));
  const scattered = node("contract", [node("pad", [x], { axis: "a", before: 1, after: 1 }), w], { over: ["b"] });
  assertCaught(
    "lower",
    /pad .* lies in no memory that contract could read/,
    () => validateLowered([scattered], [scattered]),
  );
});

Deno.test("validator of group: a value in two kernels, a stored one in none, a foreign axis, a circle, buffers", () => {
  const loops = grouping.groups.filter((each): each is LoopGroup => each.kind === "loop"), [first] = loops;
  const [member] = first.nodes,
    check = (broken: Partial<Grouping>, limit = maxBindings): () => void => () =>
      validateGrouping({ ...grouping, ...broken }, limit);
  assertCaught("group", /is computed by two kernels/, check({ groups: [...grouping.groups, first] }));
  const others = grouping.groups.filter((each) => each !== first);
  assertCaught("group", /is stored, but no kernel computes it/, check({ groups: others }));
  assertCaught("group", /is a result that nothing stores/, check({ stored: new Set() }));
  const shrunk: Group = { ...first, space: {}, nodes: [member] };
  assertCaught(
    "group",
    /has axis "\w", which its loop lacks/,
    check({ groups: [shrunk], groupOf: new Map([[member, shrunk]]) }),
  );
  // What a product reads and what is made of it in one kernel: it would wait for its own result.
  const product = grouping.groups.find((each) => each.kind === "template" && each.node.inputs[1].op !== "variable");
  assert(product?.kind === "template");
  const before = product.node.inputs[1], after = lowered[1];
  const joined: Group = { ...first, space: { a: 3, b: 4, c: 5 }, nodes: [before, after] };
  const touched = (each: Group): boolean =>
    each.kind !== "template" && [before, after].some((n) => each.nodes.includes(n));
  const groups = [...grouping.groups.filter((each) => !touched(each)), joined];
  const groupOf = new Map<Node, Group>([
    ...grouping.groups.flatMap((each) => each.nodes.map((one) => [one, each] as const)),
    [before, joined],
    [after, joined],
  ]);
  const made = new Set(groups.flatMap(({ nodes }) => nodes));
  const stored = new Set([...grouping.stored].filter((each) => made.has(each)));
  assertCaught(
    "group",
    /is part of a kernel that waits for itself/,
    check({ groups, groupOf, stored, roots: [after] }),
  );
  assertCaught("group", /is in a kernel of \d buffers, the device allows 2/, check({}, 2));
});

Deno.test("validator of panels: a slot without memory, too many slots, what nobody computed or filled before", () => {
  const limits = { maxBindings, maxBufferBytes: 2 ** 30, fuse: "on", handsOn: "rows", validate: false } as const;
  const { steps, inPlace } = stepsOf(lowered, limits, donated);
  validatePanels({ steps, inPlace }, maxBindings);
  const [first, ...rest] = steps;
  const bare = { ...first, slots: first.slots.slice(1) };
  assertCaught(
    "panels",
    /has (\d) slots, and memory for \d/,
    () => validatePanels({ steps: [bare, ...rest], inPlace }, maxBindings),
  );
  assertCaught("panels", /binds \d buffers, the device allows 2/, () => validatePanels({ steps, inPlace }, 2));
  const reversed = steps.toReversed();
  assertCaught("panels", /before it is computed/, () => validatePanels({ steps: reversed, inPlace }, maxBindings));
  // A row of a product is written; the rest stays where the product is, unless the product is nowhere.
  const start = node("variable", [], { shape: {}, dtype: "i32", name: "start" }), row = variable({ a: 1, c: 5 });
  const written = node("write", [contract(x, w, ["b"]), start, row], { axis: "a" });
  const partly = stepsOf(lower([node("tanh", [written], {})], { maxBindings }), limits, new Set());
  validatePanels(partly, maxBindings);
  const apart = { ...partly, inPlace: new Map() };
  assertCaught("panels", /is written into what nobody has filled/, () => validatePanels(apart, maxBindings));
});

Deno.test("validator of schedule: read before computed, computed twice or never, donated memory read too late", () => {
  const check = (broken: Partial<Schedule>, limit = maxBindings, given = donated): () => void => () =>
    validateSchedule({ ...scheduled, ...broken }, { grouping, donated: given, maxBindings: limit });
  const units = [...scheduled.units];
  assertCaught("schedule", /before it is computed/, check({ units: units.toReversed() }));
  assertCaught("schedule", /is computed twice/, check({ units: [units[0], ...units] }));
  assertCaught(
    "schedule",
    /is computed nowhere/,
    check({ units: units.slice(0, -1) }),
  );
  // The update comes first and takes the memory of w, which the product reads afterwards.
  const late: Unit = { group: units[0].group, reads: [w], writes: [variable({})] };
  assertCaught("schedule", /is read by kernel \d+ after add took its memory/, check({ units: [...units, late] }));
  assertCaught("schedule", /which nobody gave away/, check({}, maxBindings, new Set()));
  const [[result]] = scheduled.inPlace;
  assertCaught("schedule", /of another size or storage/, check({ inPlace: new Map([[result, x]]) }, 8, new Set([x])));
  assertCaught("schedule", /binds \d buffers, the device allows 1/, check({}, 1));
  const bare = units.map((unit): Unit => unit.body ? { ...unit, body: { ...unit.body, slots: [] } } : unit);
  assertCaught("schedule", /which has no slot for it/, check({ units: bare }));
});

Deno.test("validator of place: live values over each other, outside of their chunk, at an odd byte", () => {
  const value = (offset: number, name: string, chunk = 0): Placed => ({ chunk, offset, bytes: 300, name });
  const a = value(0, "a"), over = value(256, "over"), beside = value(512, "beside"), reused = value(0, "reused");
  validatePlaces([[a, beside], [beside, reused]], [1024]);
  assertCaught("place", /over lies over a while both are needed/, () => validatePlaces([[a], [over], [a]], [1024]));
  assertCaught("place", /beside ends at byte 812 of 768/, () => validatePlaces([[beside]], [768]));
  assertCaught("place", /lies in chunk 1/, () => validatePlaces([[value(0, "b", 1)]], [1024]));
  assertCaught("place", /starts at byte 100/, () => validatePlaces([[value(100, "c")]], [1024]));
});

Deno.test("validator of emit: reads of nothing, writes with holes, accesses out of range, limits of the device", () => {
  const caught = (words: RegExp, broken: Partial<Plan>, limits: Partial<Capabilities> = {}): void =>
    assertCaught("emit", words, () => validatePlan({ ...plan, ...broken }, { ...cpu, ...limits }));
  const steps = [...plan.steps], kernels = [...plan.kernels], buffers = [...plan.buffers];
  caught(/reads element \d+ of slot \d, which nothing wrote/, { steps: steps.toReversed() });
  caught(/runs kernel 99/, { steps: [{ ...steps[0], kernel: 99 }] });
  caught(/binds buffer 99/, { steps: [{ ...steps[0], buffers: [99] }] });
  caught(/binds \d buffers, the device allows 2/, {}, { maxBindings: 2 });
  caught(/bytes, the device allows 16/, {}, { maxBindingBytes: 16 });
  caught(/ends at byte \d+ of 0/, { arena: plan.arena.map(() => 0) });
  caught(/starts at byte 4/, { buffers: buffers.map((each) => ({ ...each, offset: 4, bytes: 0 })), steps: [] }, {
    kind: "wgpu",
  });
  caught(/touches elements .* which has 1/, { buffers: buffers.map((each) => ({ ...each, bytes: 4 })) });
  // The last kernel of a result writes one column less.
  const at = kernels.findIndex((kernel) => kernel.kind === "loop" && kernel.sizes.length > 1);
  const loop = kernels[at] as LoopKernel, first = kernels.findIndex((kernel) => kernel.kind === "contract");
  const short = { ...loop, sizes: loop.sizes.map((size, i) => i === 0 ? size - 1 : size) };
  caught(/which nothing wrote|nothing writes/, { kernels: kernels.with(at, short) });
  const product = kernels[first];
  assert(product.kind === "contract");
  const narrow = { ...product, n: { ...product.n, size: product.n.size - 1 } };
  caught(/reads element 4 of slot \d, which nothing wrote/, { kernels: kernels.with(first, narrow) });
  const backwards = {
    ...loop,
    stages: loop.stages.map((each) => ({ ...each, registers: each.registers.toReversed() })),
  };
  caught(/uses register \d+ in \d+ before it is computed/, { kernels: kernels.with(at, backwards) });
  caught(/never runs the store/, { kernels: kernels.with(at, { ...loop, stages: [] }) });
});
