/** @file XFT's router: which experts a token goes to, and with which weight. The gates sum to one. */
import { complement, contract, max, mul, softmax, take, tanh, type Tensor, topk } from "../../dsl/mod.ts";
import type { Hidden } from "./llama.ts";

/** One matrix, or Linear → tanh → Linear; `noise` is the matrix of the noise's scale in training. */
export type Router =
  & ({ linear: Tensor<"expert" | "embed"> } | { first: Tensor<"inner" | "embed">; second: Tensor<"expert" | "inner"> })
  & { noise?: Tensor<"expert" | "embed"> };

/** One number per routed expert and token. */
export type PerExpert = Tensor<"batch" | "seq" | "expert">;

/** Where each token goes. */
export type Routing = {
  /** softmax(z) over the routed experts. */
  p: PerExpert;
  /** The chosen experts, the likeliest first. */
  expert: Tensor<"batch" | "seq" | "slot", "int">;
  /** Their gates. */
  gates: Tensor<"batch" | "seq" | "slot">;
  /** The shared expert's gate, 1 − max p. */
  rest: Tensor<"batch" | "seq">;
};

/** z(x), one per routed expert. */
export const score = (x: Hidden, router: Router): PerExpert =>
  "linear" in router
    ? contract(x, router.linear, "embed")
    : contract(tanh(contract(x, router.first, "embed")), router.second, "inner");

/** s = max p goes to the chosen experts, shared out by a second softmax; 1 − s to the shared one. */
export function route(z: PerExpert, chosen: number, normalised: boolean): Routing {
  const p = softmax(z, "expert"), s = max(p, "expert"), expert = topk(p, "expert", { slot: chosen });
  const top = take(p, "expert", expert);
  return { p, expert, gates: normalised ? mul(softmax(top, "slot"), s) : top, rest: complement(s) };
}
