/** @file The uniform merge: the control that every learned one has to beat. */
import type { Objective } from "./objective.ts";

/** Every routed expert weighs the same. */
export const uniform: Objective = { kind: "constant", about: "all experts alike, no training" };
