/**
 * @file loop: elementwise work, with reductions over inner axes.
 *
 * A workgroup is `rows` × `team` lanes: `team` lanes share a row (a power of two), 1 of them where there are rows
 * enough, a whole workgroup where rows are few and long. Lanes of a team take every `team`-th inner index; their
 * partial results are joined by a tree of fixed shape, so results do not depend on timing.
 */
import type { Affine, Instruction, LoopKernel } from "../../kernel.ts";
import type { Capabilities } from "../../../device.ts";
import { BodyPrinter, wordOf } from "./body.ts";
import { redirect, storesHalves, writeHalves } from "./half.ts";
import { type Dispatch, type Emitted, indent, product, shader, split } from "./shader.ts";
import { floorPower, tuningOf } from "./tuning.ts";

/** Sums of more terms than this are taken in blocks, which keeps rounding errors of long sums small. */
const BLOCK = 128;

/** How lanes are laid out over rows. */
export interface Team {
  readonly rows: number;
  readonly team: number;
}

/** Emits a loop kernel: one dispatch and one for each 16-bit tensor that must be packed; none if it writes nothing. */
export function loop(kernel: LoopKernel, capabilities: Capabilities): Emitted {
  if (kernel.sizes.slice(0, kernel.outer).includes(0)) return { dispatches: [], scratch: [] };
  if (kernel.body.some((instruction) => storesHalves(instruction) && instruction.access.gather)) {
    return { dispatches: [writeHalves(kernel, capabilities)], scratch: [] };
  }
  const { kernel: whole, packs, scratch } = redirect({ ...kernel, ...coalesce(kernel) });
  return { dispatches: [whole, ...packs].map((each) => one(each, capabilities)), scratch };
}

function one(kernel: LoopKernel, capabilities: Capabilities): Dispatch {
  const { sizes, outer, body } = kernel;
  const rowCount = product(sizes.slice(0, outer));
  const length = product(sizes.slice(outer));
  const reduces = body.some(({ op }) => op === "reduce") || outer < sizes.length;
  const layout = reduces
    ? teams(kernel, rowCount, length, capabilities)
    : { rows: tuningOf(capabilities).workgroup, team: 1 };
  return new LoopPrinter(kernel, layout, rowCount, length).dispatch();
}

/** Chooses lanes per row. Never depends on anything but sizes and the adapter's record. */
function teams(kernel: LoopKernel, rows: number, length: number, capabilities: Capabilities): Team {
  const { workgroup, team: most, rowsAlone } = tuningOf(capabilities);
  const inSoftware = capabilities.software;
  // lavapipe stops an invocation's loops after 65,535 rounds, without a word: lanes share long rows there.
  const alone = rows >= rowsAlone && (inSoftware ? length < 32768 : kernel.lanes === "outer");
  const team = alone
    ? 1
    : inSoftware
    ? (length < 64 ? 1 : most)
    : kernel.lanes === "outer"
    ? Math.min(floorPower(length / 16), floorPower(rowsAlone / rows), Math.max(1, most / 4))
    : length < 16
    ? 1
    : Math.min(floorPower(length / 2), most);
  const group = inSoftware && team === 1 ? Math.min(64, workgroup) : workgroup;
  return { rows: group / team, team };
}

/** Drops axes of size 1 and joins neighbours that every address walks in one stride. */
function coalesce(kernel: LoopKernel): Pick<LoopKernel, "sizes" | "outer" | "body"> {
  const addresses = kernel.body.flatMap((instruction): readonly Affine[] => {
    if (instruction.op === "index") return [instruction.index];
    if (instruction.op === "load" || instruction.op === "store") {
      return [instruction.access, ...instruction.access.guards ?? []];
    }
    return [];
  });
  // Kept axes: the stride of a joined axis is that of its innermost part.
  const kept: { size: number; level: boolean; axis: number }[] = [];
  kernel.sizes.forEach((size, axis) => {
    if (size === 1) return;
    const level = axis < kernel.outer;
    const last = kept.at(-1);
    if (
      last && last.level === level &&
      addresses.every(({ strides }) => strides[last.axis] === strides[axis] * size)
    ) {
      last.size *= size;
      last.axis = axis;
    } else kept.push({ size, level, axis });
  });
  const pick = <T extends Affine>(address: T): T => ({
    ...address,
    strides: kept.map(({ axis }) => address.strides[axis]),
  });
  const body = kernel.body.map((instruction): Instruction => {
    if (instruction.op === "index") return { ...instruction, index: pick(instruction.index) };
    if (instruction.op === "load" || instruction.op === "store") {
      const { guards } = instruction.access;
      return { ...instruction, access: { ...pick(instruction.access), ...(guards && { guards: guards.map(pick) }) } };
    }
    return instruction;
  });
  return { sizes: kept.map(({ size }) => size), outer: kept.filter(({ level }) => level).length, body };
}

/** Prints one loop kernel with its layout of lanes. */
class LoopPrinter {
  readonly #names: readonly string[];
  readonly #printer: BodyPrinter;
  /** Workgroup arrays, by element type. */
  readonly #shared = new Set<string>();

  constructor(
    readonly kernel: LoopKernel,
    readonly layout: Team,
    readonly rowCount: number,
    readonly length: number,
  ) {
    this.#names = kernel.sizes.map((_, axis) => `i${axis}`);
    this.#printer = new BodyPrinter(kernel.body, this.#names);
  }

  dispatch(): Dispatch {
    const { kernel: { sizes, outer, lanes, stages, body }, layout: { rows, team }, rowCount } = this;
    const words = body.flatMap((instruction, register) => storesHalves(instruction) ? [register] : []);
    if (words.length > 0) return this.#pairs(words);
    const lines: string[] = [];
    const ragged = rowCount % rows !== 0;
    if (team === 1) {
      lines.push(`let row = group * ${rows}u + lane;`);
      if (ragged) lines.push(`if (row >= ${rowCount}u) { return; }`);
    } else {
      const [place, member] = rows === 1
        ? ["group", "lane"]
        : lanes === "outer"
        ? [`group * ${rows}u + lane % ${rows}u`, `lane / ${rows}u`]
        : [`group * ${rows}u + lane / ${team}u`, `lane % ${team}u`];
      lines.push(`let place = ${place};`, `let member = ${member};`);
      // Lanes without a row go along with the last one: barriers need them all.
      lines.push(ragged ? `let row = min(place, ${rowCount - 1}u);` : "let row = place;");
      if (ragged) lines.push(`let live = place < ${rowCount}u;`);
    }
    lines.push(...split("row", sizes.slice(0, outer), this.#names.slice(0, outer)));
    for (const stage of stages) {
      lines.push(...(stage.level === "outer" ? this.#outer(stage.registers) : this.#inner(stage.registers)));
    }
    return this.#shader(rowCount, lines);
  }

  #shader(invocations: number, lines: readonly string[]): Dispatch {
    const { layout: { rows, team } } = this;
    return shader({
      bindings: this.#printer.bindings,
      status: this.#printer.status,
      declarations: [
        ...this.#printer.declarations,
        ...[...this.#shared].sort().map((type) => `var<workgroup> shared_${type}: array<${type}, ${rows * team}>;`),
      ],
      workgroupSize: rows * team,
      groups: Math.ceil(invocations / rows),
      body: lines,
    });
  }

  /** A map that takes two neighbouring elements per invocation; `words` are its 16-bit stores. */
  #pairs(words: readonly number[]): Dispatch {
    const { kernel: { sizes, stages, body }, layout: { rows }, rowCount } = this;
    const pairs = Math.ceil(rowCount / 2);
    const place = (register: number): string => {
      const instruction = body[register];
      if (instruction.op !== "store") throw new Error("WGSL: not a store");
      return `b${instruction.access.slot}[pair] = ${wordOf(register)};`;
    };
    return this.#shader(pairs, [
      `let pair = group * ${rows}u + lane;`,
      ...(pairs % rows !== 0 ? [`if (pair >= ${pairs}u) { return; }`] : []),
      ...words.map((register) => `var ${wordOf(register)} = 0u;`),
      "for (var half = 0u; half < 2u; half++) {",
      ...indent([
        "let row = pair * 2u + half;",
        ...(rowCount % 2 !== 0 ? [`if (row >= ${rowCount}u) { break; }`] : []),
        ...split("row", sizes, this.#names),
        ...stages.flatMap(({ registers }) => this.#outer(registers)),
      ]),
      "}",
      ...words.map(place),
    ]);
  }

  /** Conditions under which this lane stores for its row. */
  #when(once: boolean): string | undefined {
    const { layout: { rows, team }, rowCount } = this;
    if (team === 1) return undefined;
    const parts = [...(rowCount % rows !== 0 ? ["live"] : []), ...(once ? ["member == 0u"] : [])];
    return parts.length > 0 ? parts.join(" && ") : undefined;
  }

  #outer(registers: readonly number[]): string[] {
    const isStore = (register: number) => this.kernel.body[register].op === "store";
    const stores = registers.filter(isStore);
    const lines = registers.filter((register) => !isStore(register)).flatMap((register) =>
      this.#printer.print(register)
    );
    if (stores.length === 0) return lines;
    // A store in place must not overtake the loads of the team's other lanes.
    if (this.layout.team > 1) lines.push("storageBarrier();");
    return [...lines, ...stores.flatMap((register) => this.#printer.print(register, { when: this.#when(true) }))];
  }

  #inner(registers: readonly number[]): string[] {
    const { kernel: { sizes, outer, body }, layout: { team }, length } = this;
    const printer = this.#printer;
    const reduces = registers.flatMap((register) => {
      const instruction = body[register];
      return instruction.op === "reduce" ? [{ register, instruction }] : [];
    });
    // Sums of many terms: a partial sum per block.
    const blocked = length / team > 4 * BLOCK &&
      reduces.some(({ instruction }) => instruction.by === "sum" && instruction.type === "f32");
    const lines: string[] = [];
    for (const { register, instruction: { by, type } } of reduces) {
      lines.push(`var s${register} = ${printer.identity(by, type)};`);
    }
    const steps: string[] = split("inner", sizes.slice(outer), this.#names.slice(outer));
    for (const register of registers) {
      const instruction = body[register];
      if (instruction.op === "reduce") {
        const { by, type } = instruction;
        const into = blocked ? `t${register}` : `s${register}`;
        steps.push(`${into} = ${printer.combine(by, type, into, printer.name(instruction.a))};`);
      } else steps.push(...printer.print(register, { when: this.#when(false) }));
    }
    const first = team === 1 ? "0u" : "member";
    const each = (start: string, end: string) => [
      `for (var inner = ${start}; inner < ${end}; inner += ${team}u) {`,
      ...indent(steps),
      "}",
    ];
    if (blocked) {
      lines.push(
        `for (var block = ${first}; block < ${length}u; block += ${team * BLOCK}u) {`,
        ...indent([
          ...reduces.map(({ register, instruction: { by, type } }) =>
            `var t${register} = ${printer.identity(by, type)};`
          ),
          ...each("block", `min(block + ${team * BLOCK}u, ${length}u)`),
          ...reduces.map(({ register, instruction: { by, type } }) =>
            `s${register} = ${printer.combine(by, type, `s${register}`, `t${register}`)};`
          ),
        ]),
        "}",
      );
    } else if (length > 0) lines.push(...each(first, `${length}u`));
    for (const { register } of reduces) lines.push(...this.#join(register));
    return lines;
  }

  /** Joins the team's partial results; afterwards all of its lanes have the result. */
  #join(register: number): string[] {
    const { kernel: { lanes, body }, layout: { rows, team } } = this;
    const instruction = body[register];
    if (instruction.op !== "reduce") throw new Error("WGSL: not a reduction");
    const name = this.#printer.name(register);
    if (team === 1) return [`let ${name} = s${register};`];
    const { by, type } = instruction;
    const shared = `shared_${type}`;
    this.#shared.add(type);
    const apart = lanes === "outer" ? rows : 1;
    const lines = ["workgroupBarrier();", `${shared}[lane] = s${register};`];
    for (let half = team / 2; half >= 1; half /= 2) {
      const both = this.#printer.combine(by, type, `${shared}[lane]`, `${shared}[lane + ${half * apart}u]`);
      lines.push("workgroupBarrier();", `if (member < ${half}u) { ${shared}[lane] = ${both}; }`);
    }
    const head = apart === 1 ? "lane - member" : `lane % ${rows}u`;
    return [...lines, "workgroupBarrier();", `let ${name} = ${shared}[${head}];`];
  }
}
