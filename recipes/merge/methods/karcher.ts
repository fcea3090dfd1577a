/**
 * @file karcher: the models' mean on the sphere (Karcher 1977), as long as they are on average.
 *
 * W = (Σ wᵢ·|Wᵢ|) · u, where u is the unit vector from which the ways to all Wᵢ / |Wᵢ| on the sphere, weighted, add up
 * to 0; weights are normalised. All that is computed stays a sum of the models, so that their inner products are enough.
 */
import { cosineOf, type Method, total } from "./method.ts";

/** Steps towards the mean at most, and below which length a way counts as none: mergekit's. */
const steps = 10, tolerance = 1e-5;

/** Each tensor as one vector; those of zeros have no direction and count for the length only. */
export const karcher: Method = {
  kind: "directed",
  summary: "mean direction on the sphere, and mean length",
  base: false,
  shares: (products, { weights }) => {
    const lengths = products.map((row, i) => Math.sqrt(row[i])), sum = total(weights);
    const length = total(lengths.map((each, i) => weights[i] / sum * each));
    const directed = lengths.flatMap((each, i) => each > tolerance ? [i] : []);
    if (directed.length === 0) return lengths.map(() => 0);
    const cosines = directed.map((i) => directed.map((j) => cosineOf(products, i, j)));
    const mean = meanDirection(cosines, directed.map((i) => weights[i]));
    const shares = new Map(directed.map((model, i) => [model, length * mean[i] / lengths[model]]));
    return lengths.map((_, i) => shares.get(i) ?? 0);
  },
};

/** The mean of unit vectors on the sphere, as what each of them is multiplied with. */
function meanDirection(cosines: readonly (readonly number[])[], weights: readonly number[]): readonly number[] {
  /** Inner products of Σ shares·vector with each of the vectors. */
  const towards = (shares: readonly number[]) => cosines.map((row) => total(row.map((x, i) => x * shares[i])));
  const lengthOf = (shares: readonly number[]) => Math.sqrt(total(towards(shares).map((x, i) => x * shares[i])));
  const scaled = (shares: readonly number[], by: number) => shares.map((share) => share * by);
  const sum = total(weights), parts = scaled(weights, 1 / sum), length = lengthOf(parts);
  let mean = length < tolerance ? weights.map((_, i) => i === 0 ? 1 : 0) : scaled(parts, 1 / length);
  for (let step = 0; step < steps; step++) {
    const way = weights.map(() => 0), here = towards(mean);
    parts.forEach((part, i) => {
      const cosine = Math.max(-1, Math.min(1, here[i])), angle = Math.acos(cosine);
      if (angle < tolerance) return;
      const stride = part * angle / Math.sin(angle);
      way[i] += stride;
      mean.forEach((share, j) => way[j] -= stride * cosine * share);
    });
    const distance = lengthOf(way);
    if (!(distance >= tolerance)) break;
    const next = mean.map((share, i) => Math.cos(distance) * share + Math.sin(distance) / distance * way[i]);
    mean = scaled(next, 1 / lengthOf(next));
  }
  return mean;
}
