/** @file What each kernel means, as plain loops in TypeScript: the tests' neighbour for shaders. Slow, f64 sums. */
import type { Access, Affine, Guard, Kernel, LoopKernel, RegisterType, Then } from "../kernel.ts";

/** Memory of one slot. Bools are u32 words. */
export type Memory = Float32Array | Int32Array | Uint32Array;

/** Runs a kernel on its slots, in place. Returns whether an index was out of range. */
export function reference(kernel: Kernel, slots: readonly Memory[]): boolean {
  if ("then" in kernel && kernel.then) {
    const { then, ...alone } = kernel, factors = kernel.kind === "contract" ? 2 : 3, behind = slots.slice(factors);
    const product = then.stored ? behind[then.slot] : new Float32Array(reach(then));
    if (!then.stored) behind[then.slot] = product;
    const wrong = reference(alone, [...slots.slice(0, factors), product]);
    return loop(then.loop, behind) || wrong;
  }
  switch (kernel.kind) {
    case "loop":
      return loop(kernel, slots);
    case "contract": {
      const [a, b, c] = slots;
      const { batch, m, n, k, offsets } = kernel;
      const deep = [...indices(k.map(({ size }) => size))].map((at) => [dot(k, "a", at), dot(k, "b", at)]);
      for (const at of indices(batch.map(({ size }) => size))) {
        for (const [i, j] of indices([m.size, n.size])) {
          const fromA = offsets.a + dot(batch, "a", at) + i * m.a;
          const fromB = offsets.b + dot(batch, "b", at) + j * n.b;
          const to = offsets.c + dot(batch, "c", at) + i * m.c + j * n.c;
          let total = kernel.accumulate ? c[to] : 0;
          for (const [stepA, stepB] of deep) total += a[fromA + stepA] * b[fromB + stepB];
          c[to] = total;
        }
      }
      return false;
    }
    case "order": {
      const [index, out] = slots;
      const { groups, positions } = kernel;
      const groupOf = (p: number) => index[p] >= 0 && index[p] < groups ? index[p] : groups;
      const sorted = Array.from({ length: positions }, (_, p) => p).sort((p, q) => groupOf(p) - groupOf(q) || p - q);
      out.set(sorted);
      for (let g = 0, before = 0; g <= groups; g++) {
        while (before < positions && groupOf(sorted[before]) < g) before++;
        out[positions + g] = before;
      }
      return index.slice(0, positions).some((value) => value < -1 || value >= groups);
    }
    case "grouped": {
      const [a, b, order, c] = slots;
      const { groups, k, n, group, offsets } = kernel;
      const all = [...indices(kernel.positions.map(({ size }) => size))];
      const groupOf = groupsFrom(order, all.length, groups);
      all.forEach((at, p) => {
        for (let j = 0; j < n.size; j++) {
          let total = 0;
          for (let i = 0; groupOf[p] !== undefined && i < k.size; i++) {
            total += a[offsets.a + dot(kernel.positions, "a", at) + i * k.a] *
              b[offsets.b + groupOf[p] * group + i * k.b + j * n.b];
          }
          c[offsets.c + dot(kernel.positions, "c", at) + j * n.c] = total;
        }
      });
      return false;
    }
    case "groupedInto": {
      const [a, b, order, c] = slots;
      const { groups, m, n, group, offsets } = kernel;
      const all = [...indices(kernel.positions.map(({ size }) => size))];
      const groupOf = groupsFrom(order, all.length, groups);
      for (const [g, i, j] of indices([groups, m.size, n.size])) {
        let total = 0;
        all.forEach((at, p) => {
          if (groupOf[p] !== g) return;
          total += a[offsets.a + dot(kernel.positions, "a", at) + i * m.a] *
            b[offsets.b + dot(kernel.positions, "b", at) + j * n.b];
        });
        c[offsets.c + g * group + i * m.c + j * n.c] = total;
      }
      return false;
    }
    case "scatter": {
      const [b, index, c] = slots;
      const { groups, columns, group, offsets } = kernel;
      const all = [...indices(kernel.positions.map(({ size }) => size))];
      for (const at of indices(columns.map(({ size }) => size))) {
        for (let v = 0; v < groups; v++) {
          let total = 0;
          all.forEach((position, p) => {
            if (index[p] === v) total += b[offsets.b + dot(kernel.positions, "b", position) + dot(columns, "b", at)];
          });
          c[offsets.c + v * group + dot(columns, "c", at)] = total;
        }
      }
      return index.slice(0, all.length).some((value) => value < -1 || value >= groups);
    }
    case "topk": {
      const [a, c] = slots;
      const { axis, offsets } = kernel;
      for (const at of indices(kernel.rows.map(({ size }) => size))) {
        const value = (i: number) => a[offsets.a + dot(kernel.rows, "a", at) + i * axis.a];
        const sorted = Array.from({ length: axis.size }, (_, i) => i).sort((i, j) => {
          if (Number.isNaN(value(i)) || Number.isNaN(value(j))) {
            return Number(Number.isNaN(value(i))) - Number(Number.isNaN(value(j))) || i - j;
          }
          return value(j) - value(i) || i - j;
        });
        for (let slot = 0; slot < kernel.slots.size; slot++) {
          c[offsets.c + dot(kernel.rows, "c", at) + slot * kernel.slots.c] = sorted[slot];
        }
      }
      return false;
    }
    case "copy":
      slots[1].set(slots[0].subarray(0, kernel.words));
      return false;
  }
}

/** Elements of a product from its memory's start to the last one that the loop behind it reads. */
function reach({ loop: { body, sizes }, slot }: Then): number {
  return Math.max(
    ...body.map((each) =>
      each.op === "load" && each.access.slot === slot
        ? sizes.reduce((end, size, axis) => end + (size - 1) * each.access.strides[axis], each.access.offset + 1)
        : 0
    ),
  );
}

/** All indices of a box, row-major. */
function* indices(sizes: readonly number[]): Generator<number[]> {
  const total = sizes.reduce((all, size) => all * size, 1);
  for (let flat = 0; flat < total; flat++) {
    let rest = flat;
    const index = sizes.map(() => 0);
    for (let axis = sizes.length - 1; axis >= 0; axis--) {
      index[axis] = rest % sizes[axis];
      rest = Math.floor(rest / sizes[axis]);
    }
    yield index;
  }
}

function dot<Key extends string>(axes: readonly Readonly<Record<Key, number>>[], key: Key, at: readonly number[]) {
  return axes.reduce((total, axis, i) => total + axis[key] * at[i], 0);
}

/** The group of every position, from an order and its offsets. */
function groupsFrom(order: Memory, positions: number, groups: number): (number | undefined)[] {
  const group: (number | undefined)[] = Array.from({ length: positions }, () => undefined);
  for (let g = 0; g < groups; g++) {
    for (let i = order[positions + g]; i < order[positions + g + 1]; i++) group[order[i]] = g;
  }
  return group;
}

const unary: Readonly<Record<string, (x: number) => number>> = {
  neg: (x) => -x,
  abs: Math.abs,
  exp: Math.exp,
  log: Math.log,
  recip: (x) => 1 / x,
  sqrt: Math.sqrt,
  sin: Math.sin,
  cos: Math.cos,
  tanh: Math.tanh,
  floor: Math.floor,
};

/** The number as its type holds it. */
function narrow(type: RegisterType, x: number): number {
  return type === "f32" ? Math.fround(x) : type === "i32" ? x | 0 : type === "u32" ? x >>> 0 : Number(x !== 0);
}

function saturate(x: number, low: number, high: number): number {
  return Number.isNaN(x) ? 0 : Math.min(high, Math.max(low, Math.trunc(x)));
}

function loop(kernel: LoopKernel, slots: readonly Memory[]): boolean {
  const { sizes, outer, body, stages } = kernel;
  let wrong = false;
  const value: number[] = body.map(() => 0);
  const place = (address: Affine, at: readonly number[]) =>
    address.offset + address.strides.reduce((total, stride, axis) => total + stride * at[axis], 0);
  const locate = (access: Access, at: readonly number[]): number | undefined => {
    let where: number | undefined = place(access, at);
    for (const guard of access.guards ?? []) {
      const inside = place(guard as Guard, at);
      if (inside < 0 || inside >= guard.size) where = undefined;
    }
    if (access.gather && where !== undefined) {
      const { register, stride, size } = access.gather;
      const index = value[register];
      if (index >= 0 && index < size) return where + stride * index;
      if (index !== -1) wrong = true;
      return undefined;
    }
    return where;
  };
  const step = (register: number, at: readonly number[]): number => {
    const instruction = body[register];
    const { type } = instruction;
    switch (instruction.op) {
      case "load": {
        const where = locate(instruction.access, at);
        return where === undefined ? 0 : slots[instruction.access.slot][where];
      }
      case "store": {
        const where = locate(instruction.access, at);
        if (where !== undefined) slots[instruction.access.slot][where] = value[instruction.a];
        return 0;
      }
      case "index":
        return place(instruction.index, at);
      case "const": {
        const word = Uint32Array.of(instruction.bits).buffer;
        return type === "f32" ? new Float32Array(word)[0] : type === "i32" ? new Int32Array(word)[0] : instruction.bits;
      }
      case "select":
        return value[value[instruction.c] ? instruction.a : instruction.b];
      case "cast": {
        const x = value[instruction.a];
        if (type === "bool") return Number(x !== 0);
        if (body[instruction.a].type !== "f32") return narrow(type, x);
        if (type === "i32") return saturate(x, -(2 ** 31), 2 ** 31 - 1);
        return type === "u32" ? saturate(x, 0, 2 ** 32 - 1) : x;
      }
      case "not":
        return type === "bool" ? Number(!value[instruction.a]) : narrow(type, ~value[instruction.a]);
      case "reduce":
        throw new Error("reduce belongs to its stage");
      default: {
        if (!("b" in instruction)) {
          const x = unary[instruction.op](value[instruction.a]);
          // Not rounded to f32: the tests count units in the last place.
          return type === "f32" ? x : narrow(type, x);
        }
        const a = value[instruction.a];
        const b = value[instruction.b];
        switch (instruction.op) {
          case "add":
            return narrow(type, a + b);
          case "sub":
            return narrow(type, a - b);
          case "mul":
            return type === "f32" ? Math.fround(a * b) : narrow(type, Math.imul(a, b));
          case "max":
            return Math.max(a, b);
          case "min":
            return Math.min(a, b);
          case "less":
            return Number(a < b);
          case "equal":
            return Number(a === b);
          case "and":
            return narrow(type, a & b);
          case "or":
            return narrow(type, a | b);
          case "xor":
            return narrow(type, a ^ b);
          case "shl":
            return narrow(type, a << b);
          case "shr":
            return narrow(type, a >>> b);
        }
      }
    }
  };
  for (const row of indices(sizes.slice(0, outer))) {
    for (const { level, registers } of stages) {
      if (level === "outer") {
        for (const register of registers) {
          value[register] = step(register, [
            ...row,
            ...sizes.slice(outer).map(() => 0),
          ]);
        }
        continue;
      }
      const partial = new Map<number, number>();
      for (const register of registers) {
        const instruction = body[register];
        if (instruction.op === "reduce" && instruction.by === "sum") partial.set(register, 0);
      }
      for (const inner of indices(sizes.slice(outer))) {
        for (const register of registers) {
          const instruction = body[register];
          if (instruction.op !== "reduce") {
            value[register] = step(register, [...row, ...inner]);
            continue;
          }
          const before = partial.get(register);
          const next = value[instruction.a];
          const joined = before === undefined
            ? next
            : instruction.by === "sum"
            ? before + next
            : Math[instruction.by](before, next);
          partial.set(register, joined);
        }
      }
      for (const [register, total] of partial) value[register] = narrow(body[register].type, total);
    }
  }
  return wrong;
}
