/** @file The health of a mixture in training: how different its experts are, and warnings in words. */
import { add, div, mean, sqrt, square, stack, sub, sum, type Tensor } from "../../dsl/mod.ts";
import type { Device } from "../../backend/runtime.ts";
import type { ModelConfig, MoeConfig } from "../convert/config.ts";
import { openModel } from "../convert/huggingface.ts";
import type { Model } from "../model/llama.ts";
import type { Moe } from "../model/moe.ts";
import { type Loaded, tensorsOf } from "../model/parameters.ts";
import { widened } from "../model/storage.ts";

/** How far experts are from the mean of the routed ones, as a share of the mean's norm: 0 where all are alike. */
export type Spread = {
  readonly experts: Tensor<"layer" | "expert">;
  readonly shared: Tensor<"layer">;
};

type Weight = Tensor<"hidden" | "embed">;

/** Squared distances of one matrix, and the squared norm of the mean. */
function apart(routed: Tensor<"expert" | "hidden" | "embed">, shared: Weight) {
  const middle = mean(routed, "expert");
  return {
    experts: sum(square(sub(routed, middle)), "hidden", "embed"),
    shared: sum(square(sub(shared, middle))),
    middle: sum(square(middle)),
  };
}

/** A layer's routed experts and its shared one. */
export type Experts = Pick<Moe, "experts" | "shared">;

/** ‖Wᵢ − W̄‖ / ‖W̄‖ over gate, up and down together, layer by layer. */
export const spread = (model: Model<Moe>): Spread =>
  spreadOf(model.layers.map(({ ffn: { experts, shared } }) => widened({ experts, shared })));

/** The same of experts that are f32 already. */
export function spreadOf(blocks: readonly Experts[]): Spread {
  const layers = blocks.map(({ experts, shared }) => {
    const [gate, up, down] = (["gate", "up", "down"] as const).map((name) => apart(experts[name], shared[name]));
    const size = add(gate.middle, up.middle, down.middle);
    return {
      experts: sqrt(div(add(gate.experts, up.experts, down.experts), size)),
      shared: sqrt(div(add(gate.shared, up.shared, down.shared), size)),
    };
  });
  return {
    experts: stack("layer", layers.map((each) => each.experts)),
    shared: stack("layer", layers.map((each) => each.shared)),
  };
}

/**
 * How far each layer's experts have moved from where they were in a folder, as a share of their norm there: of a mixture
 * just upcycled, how far they are from the dense model's feed-forward block. One tensor at a time is in memory.
 *
 * @returns by layer; the shared expert first
 */
export async function movedFrom(folder: string, loaded: Loaded, device: Device): Promise<number[][]> {
  using origin = openModel(folder);
  const moved = new Map<number, Map<string, { changed: number; norm: number }>>();
  for (const { name, data } of tensorsOf(loaded, device)) {
    const found = /^model\.layers\.(\d+)\.mlp\.(shared|experts\.\d+)\./.exec(name);
    if (!found || typeof data !== "function" || !origin.checkpoint.tensors.has(name)) continue;
    const now = await data() as Float32Array, before = origin.checkpoint.read(name);
    const layer = moved.get(Number(found[1])) ?? new Map(), so = layer.get(found[2]) ?? { changed: 0, norm: 0 };
    now.forEach((x, i) => {
      so.changed += (x - before[i]) ** 2;
      so.norm += before[i] ** 2;
    });
    moved.set(Number(found[1]), layer.set(found[2], so));
  }
  const places = (layer: ReadonlyMap<string, unknown>): string[] => [...layer.keys()].filter((key) => key !== "shared");
  return [...moved.values()].map((layer) =>
    ["shared", ...places(layer)].map((key) => {
      const { changed, norm } = layer.get(key)!;
      return Math.sqrt(changed / norm);
    })
  );
}

/** What is watched of a step: see the fields of the same names in `TrainLine`. */
export interface HealthLine {
  readonly load?: readonly (readonly number[])[];
  readonly routerEntropy?: readonly number[];
  readonly sharedGate?: readonly number[];
  readonly expertSpread?: readonly (readonly number[])[];
}

/** Below this part of an even share an expert starves. */
const starving = 0.1;
/** From this part of all choices that one expert can have at most, the routers have collapsed. */
const collapsed = 0.9;
/** Below this distance experts are as good as equal. */
const alike = 1e-4;

const average = (rows: readonly (readonly number[])[]): number[] =>
  rows[0].map((_, i) => rows.reduce((total, row) => total + row[i], 0) / rows.length);

/**
 * What some steps' health calls for in words: experts that starve, routers that send all to the same ones, a shared
 * expert that does everything or nothing, experts that stay alike.
 *
 * @param lines of the steps since it was last asked; `expertSpread` of the last one that has it
 */
export function healthWarnings(lines: readonly HealthLine[], config: MoeConfig): string[] {
  const warnings: string[] = [], routed = config.experts - 1, active = config.active - 1;
  const seen = lines.filter((line) => line.load !== undefined);
  for (let layer = 0; layer < config.layers && seen.length > 0; layer++) {
    const load = average(seen.map((line) => line.load![layer]));
    const [gate] = average(seen.map((line) => [line.sharedGate?.[layer] ?? 0.5]));
    const hungry = load.flatMap((share, expert) => share < starving / routed ? [expert] : []);
    const most = Math.max(...load) * active;
    if (active < routed && hungry.length >= routed - active && most >= collapsed) {
      warnings.push(
        `layer ${layer}: the router has collapsed, the same ${active} experts of ${routed} take nearly all tokens; ` +
          "a larger balance weight, noise or a smaller rate of the router (--rates router=0.1) may help.",
      );
    } else if (hungry.length > 0) {
      const names = hungry.length === 1 ? `expert ${hungry[0]} starves` : `experts ${hungry.join(", ")} starve`;
      warnings.push(`layer ${layer}: ${names}, with less than a tenth of an even share of the tokens.`);
    }
    if (gate > 0.99) {
      warnings.push(`layer ${layer}: the shared expert does all the work (its gate is ${gate.toFixed(3)}).`);
    }
    if (gate < 0.01) warnings.push(`layer ${layer}: the shared expert does nothing (its gate is ${gate.toFixed(3)}).`);
  }
  const last = lines.findLast((line) => line.expertSpread !== undefined)?.expertSpread;
  const same = last?.flatMap((layer, i) => Math.max(...layer) < alike ? [i] : []) ?? [];
  if (seen.length > 0 && same.length > 0) {
    warnings.push(
      `layer${same.length === 1 ? "" : "s"} ${
        same.join(", ")
      }: the experts are still alike (less than ${alike} apart), ` +
        "so that any merge of them is the same; train longer, or with a larger rate.",
    );
  }
  return warnings;
}

/** Watches a training's lines; nothing is said of a dense model. */
export interface HealthWatch {
  /** Notes a line. */
  see(line: HealthLine): void;
  /** Says what the steps seen since the last time call for; what was said then is not said again. */
  warn(): void;
}

/** Begins a watch. */
export function healthWatch(config: ModelConfig, onWarning: (warning: string) => void): HealthWatch {
  let recent: HealthLine[] = [], said: ReadonlySet<string> = new Set();
  return {
    see: (line) => void recent.push(line),
    warn() {
      if (config.kind !== "moe" || recent.every(({ load }) => load === undefined)) return;
      const warnings = healthWarnings(recent, config);
      // A gate's figure is another one each time.
      const kind = (warning: string): string => warning.replaceAll(/\d+\.\d+/g, "");
      for (const warning of warnings) if (!said.has(kind(warning))) onWarning(warning);
      said = new Set(warnings.map(kind));
      recent = [];
    },
  };
}
