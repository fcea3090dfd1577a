/** @file What users get wrong. Every mistake must stay a type error; the line before it says what the message names. */
import {
  add,
  contract,
  contractAt,
  cumsum,
  expand,
  grad,
  jvp,
  key,
  mapTree,
  mean,
  mul,
  rename,
  type Scalar,
  softmax,
  sub,
  sum,
  take,
  type Tensor,
  topk,
  unflatten,
  uniform,
  until,
  vjp,
  where,
} from "../../dsl/mod.ts";

declare const x: Tensor<"batch" | "seq" | "embed">, w: Tensor<"embed" | "hidden">, other: Tensor<"hidden" | "out">;
declare const bias: Tensor<"hidden">, tokens: Tensor<"batch" | "seq", "int">, mask: Tensor<"seq" | "key", "bool">;
declare const q: Tensor<"seq" | "dim">, k: Tensor<"seq" | "dim">, experts: Tensor<"expert" | "embed" | "hidden">;
declare const choice: Tensor<"batch" | "seq" | "slot", "int">;

// the right operand lacks the axis | "embed"
export const m1 = contract(x, other, "embed");
// the left operand lacks the axis | "hidden"
export const m2 = contract(x, w, "hidden");
// accidental broadcasting | "hidden"
export const m3 = add(x, bias);
// operands swapped | "batch"
export const m4 = mul(bias, contract(x, w, "embed"));
// the key sequence was not renamed | "key"
export const m5 = softmax(where(mask, contract(q, k, "dim"), 0), "key");
// a misspelt axis | "embde"
export const m6 = sum(x, "embde");
// a real tensor as index | "real"
export const m7 = take(w, "embed", x);
// renaming an axis that is not there | sqe
export const m8 = rename(x, { sqe: "key" });
const ofHidden = (h: Tensor<"batch" | "seq" | "hidden">): Scalar => mean(h);
// another axis at a function's boundary | "embed"
export const m9 = ofHidden(x);
// too few axes at a function's boundary | "batch"
export const m10 = ofHidden(bias);
// the loss is no scalar | "hidden"
export const m11 = grad((p: { w: Tensor<"embed" | "hidden"> }) => mean(p.w, "embed"));
const ofEmbed = <A extends string>(h: Tensor<A | "embed">): Tensor<A | "embed"> => h;
// a generic function called without its axis | "embed"
export const m12 = ofEmbed(bias);
// the second of three operands is wrong | "hidden"
export const m13 = add(x, 1, bias, 2);
// unflattening an axis that is not there | "hidden"
export const m14 = unflatten(x, "hidden", { head: 2, dim: 4 });
// a number first | number
export const m15 = sub(1, x);
// the result's axes stated wrongly | "seq"
export const m16: Tensor<"batch" | "embed"> = contract(x, w, "embed");
// the chosen axis misspelt | exprt
export const m17 = contractAt(x, experts, { exprt: choice }, "embed");
// chosen by a real tensor | "real"
export const m18 = contractAt(x, experts, { expert: x }, "embed");
// a function that does not work for every leaf: its result has no axes | Tensor<never
export const m19 = mapTree((p, g) => sum(mul(p, g)), { w }, { w });
// trees of different axes | "batch"
export const m20 = mapTree((p, g) => sub(p, g), { w }, { w: x });
// the largest along an axis that is not there | "vocab"
export const m21 = topk(x, "vocab", { slot: 2 });
// arithmetic on a bool | "bool"
export const m22 = add(mask, 1);
// integers and reals mixed | "int"
export const m23 = add(x, tokens);
// a tensor where sizes are expected | number
export const m24 = expand(bias, { batch: bias });
// renaming onto an axis that exists | "batch"
export const m25 = rename(x, { seq: "batch" });
// the second axis misspelt | "sqe"
export const m26 = sum(x, "embed", "sqe");
// integers where a mask is expected | "int"
export const m27 = where(tokens, x, 0);
// a key where real numbers are expected | "int"
export const m28 = softmax(key(1), "word");
// no key, but a number | number
export const m29 = uniform(7, { seq: 2 });
// the tangent of another parameter | "embed"
export const m30 = jvp((p: Tensor<"hidden">) => mul(p, p))(bias, w);
// the cotangent is not like the result | "hidden"
export const m31 = vjp((p: Tensor<"embed" | "hidden">) => sum(p, "hidden"))(w).pull(bias);
// running sums along an axis that is not there | "vocab"
export const m32 = cumsum(x, "vocab");
// as many lengths as there are elements | "seq"
export const m33 = until(x, "seq", tokens);
