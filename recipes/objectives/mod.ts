/** @file Objectives by name, and from a user's own file. */
import { pathToFileURL } from "node:url";
import { resolve } from "node:path";
import { UserError } from "../../dsl/errors.ts";
import { adaMerging } from "./ada_merging.ts";
import { distill } from "./distill.ts";
import type { Batch } from "../model/batch.ts";
import type { Loss, Objective } from "./objective.ts";
import { routerFrequency } from "./router_frequency.ts";
import { uniform } from "./uniform.ts";
import { xft } from "./xft.ts";
import { xftLambda, xftOneLambda } from "./xft_lambda.ts";

export type { Loss, Measured, Objective } from "./objective.ts";

/** Objectives that `--objective` knows. */
export const objectives: Readonly<Record<string, Objective>> = {
  xft,
  "xft-lambda": xftLambda,
  "xft-one-lambda": xftOneLambda,
  distill,
  adamerging: adaMerging,
  "router-frequency": routerFrequency,
  uniform,
};

/**
 * An objective by name, or a user's own: a TypeScript file whose default export is a `Loss` or an `Objective`.
 * Such a file is code and runs with the command's permissions.
 *
 * @throws {UserError} if there is none of that name, or the file exports something else
 */
export async function loadObjective(nameOrPath: string): Promise<Objective> {
  const known = Object.hasOwn(objectives, nameOrPath) ? objectives[nameOrPath] : undefined;
  if (known) return known;
  if (!/\.[mc]?[jt]s$/.test(nameOrPath)) {
    const names = Object.keys(objectives).join(", ");
    throw new UserError(`--objective ${nameOrPath}: expected one of ${names}, or a .ts file of your own.`, {
      usage: true,
    });
  }
  const path = resolve(nameOrPath);
  let module: { readonly default?: unknown };
  try {
    module = await import(pathToFileURL(path).href);
  } catch (cause) {
    throw new UserError(
      `${nameOrPath}: this objective cannot be loaded: ${cause instanceof Error ? cause.message : cause}`,
      {
        cause,
      },
    );
  }
  const own = module.default;
  if (typeof own === "function") return blamed(nameOrPath, { kind: "loss", about: nameOrPath, loss: own as Loss });
  if (typeof own === "object" && own !== null && "kind" in own) return blamed(nameOrPath, own as Objective);
  throw new UserError(
    `${nameOrPath}: the default export must be a function (coefficients, model, batch, config) => loss.`,
  );
}

/** The objective, whose own mistakes (an axis that is not there) are told as its author's. */
function blamed(path: string, objective: Objective): Objective {
  const guard = <P extends unknown[], R>(f: (...args: P) => R) => (...args: P): R => {
    try {
      return f(...args);
    } catch (cause) {
      throw new UserError(`${path}: ${cause instanceof Error ? cause.message : cause}`, { cause });
    }
  };
  switch (objective.kind) {
    case "loss":
      return {
        ...objective,
        loss: guard((coefficients, model, batch, config) =>
          heedingPacking(batch, (given) => objective.loss(coefficients, model, given, config))
        ),
      };
    case "measure":
      return {
        ...objective,
        measure: guard((model, batch, config) =>
          heedingPacking(batch, (given) => objective.measure(model, given, config))
        ),
      };
    case "constant":
      return objective;
  }
}

/** What a function makes of a batch; if documents share its rows, the function must have asked which. */
function heedingPacking<R>({ packing, ...rest }: Batch, use: (batch: Batch) => R): R {
  if (!packing) return use(rest);
  let asked = false;
  const result = use({
    ...rest,
    get packing() {
      asked = true;
      return packing;
    },
  });
  if (asked) return result;
  throw new UserError(
    "it looks at batch.tokens alone, so packed documents would see each other: give llama the option " +
      "{ packing: batch.packing }, or do without --pack documents.",
  );
}
