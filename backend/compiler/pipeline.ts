/**
 * @file The compiler's table of contents: from a traced program to a plan that a device runs in one call.
 *
 * trace (compile.ts) → inline → simplify → tile → lower → group → schedule → panels → steps → place → emit
 */
import { standingForNobody } from "../../dsl/node.ts";
import { simplify } from "../../dsl/simplify.ts";
import type { Capabilities } from "../device.ts";
import type { Program } from "../runtime.ts";
import { type CompiledProgram, emit } from "./emit.ts";
import { targetOf } from "./emission/target.ts";
import { type Stopwatch, timed } from "./explain/stopwatch.ts";
import { inline } from "./inline.ts";
import { lower } from "./lower.ts";
import { stepsOf } from "./steps.ts";
import { tile } from "./tile.ts";
import { validateLowered } from "./validate/lower.ts";
import { validateTiled } from "./validate/tile.ts";

/** What the compiler is asked for. */
export interface PipelineOptions {
  readonly capabilities: Capabilities;
  readonly fuse: "on" | "off";
  readonly poison: boolean;
  /** For each parameter: may its memory be overwritten? */
  readonly donated: readonly boolean[];
  /** For each parameter: does it come from the host with every call? */
  readonly hosted: readonly boolean[];
  /** Bytes from which on an intermediate value is computed tile by tile (tests make it small). */
  readonly largeBytes?: number;
  /** Sums add up in an order that does not depend on how many there are of them. */
  readonly steady?: boolean;
  /** Bytes of the device that are taken already (default: none). */
  readonly usedBytes?: number;
  /** Check the result of every pass; a mistake of the compiler's then names the pass and the value. */
  readonly validate?: boolean;
  /** Told how long each pass takes. */
  readonly watch?: Stopwatch;
}

/** Bytes of an intermediate value from which on it is kept out of memory where that can be. */
const largeBytes = 8 * 2 ** 20;

/** Compiles a program. @throws UserError when a tensor is larger than the device can bind, or all is more than it has */
export const pipeline = (program: Program, options: PipelineOptions): CompiledProgram =>
  standingForNobody(() => passes(program, options));

function passes(program: Program, options: PipelineOptions): CompiledProgram {
  const { capabilities, fuse, watch } = options;
  const plain = timed(watch, "simplify", () => simplify(timed(watch, "inline", () => inline(program.results))));
  const { accumulates, windowAlignment, handsOn } = targetOf(capabilities);
  const limits = {
    largeBytes: options.largeBytes ?? largeBytes,
    accumulates,
    windowAlignment,
    // One binding is for the status word.
    maxBindings: capabilities.maxBindings - 1,
    steady: options.steady,
  };
  const { validate = false } = options, cut = fuse === "on" ? timed(watch, "tile", () => tile(plain, limits)) : plain;
  if (validate) validateTiled(plain, cut);
  const results = timed(watch, "lower", () => lower(cut, limits));
  if (validate) validateLowered(program.results, results);
  const donated = new Set(program.parameters.filter((_, i) => options.donated[i] && !options.hosted[i]));
  const { maxBufferBytes } = capabilities;
  const stepLimits = { ...limits, maxBufferBytes, fuse, handsOn: fuse === "on" ? handsOn : undefined, validate, watch };
  const steps = timed(watch, "steps", () => stepsOf(results, stepLimits, donated));
  return timed(watch, "emit", () => emit(program, results, steps, options));
}
