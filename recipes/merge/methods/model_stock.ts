/**
 * @file model_stock: from the base towards the models' mean, the farther the more their changes agree (arXiv 2403.19522).
 *
 * W = t·mean(Wᵢ) + (1 − t)·W₀;   t = N·cos θ / (1 + (N − 1)·cos θ), where cos θ is the mean of the cosines between
 * every two of the N models' changes Wᵢ − W₀.
 */
import { type Method, total } from "./method.ts";

/** What a product of two lengths is taken for at least: mergekit's, so that models equal to their base leave it as it is. */
const smallest = 1e-6;

/** Each tensor as one vector. */
export const modelStock: Method = {
  kind: "directed",
  summary: "between the base and the models' mean, by how far their changes agree",
  base: true,
  models: { least: 2, most: Infinity },
  shares: (products) => {
    const count = products.length - 1, [base] = products;
    /** Inner product of the changes of models i and j. */
    const changes = (i: number, j: number) => products[i][j] - base[i] - base[j] + base[0];
    const cosines: number[] = [];
    for (let i = 1; i <= count; i++) {
      for (let j = i + 1; j <= count; j++) {
        const lengths = Math.sqrt(Math.max(0, changes(i, i)) * Math.max(0, changes(j, j)));
        cosines.push(Math.max(-1, Math.min(1, changes(i, j) / Math.max(lengths, smallest))));
      }
    }
    const cosine = total(cosines) / cosines.length, t = count * cosine / (1 + (count - 1) * cosine);
    return [1 - t, ...new Array<number>(count).fill(t / count)];
  },
};
