/** @file Errors: one constructor for a user's mistakes, everything else is ours. */

/** How a user's mistake ends the command: 2 for wrong usage, 1 for everything else. */
export interface UserErrorOptions {
  /** The command line itself was wrong (exit code 2). */
  readonly usage?: boolean;
  /** The error behind it. */
  readonly cause?: unknown;
}

/**
 * A mistake of the user's, in one sentence: what, where, what was expected and how to mend it.
 * Commands print it without a stack.
 *
 * @example
 * ```ts
 * import { UserError } from "./errors.ts";
 * const error = new UserError("--lambda 1.4: λ is a share, between 0 and 1.", { usage: true });
 * console.assert(error.exitCode === 2);
 * ```
 */
export class UserError extends Error {
  /** The class's name. */
  override readonly name: string = "UserError";
  /** Exit code of a command that ends with this error. */
  readonly exitCode: number;

  /** Makes the error from its one sentence. */
  constructor(message: string, options: UserErrorOptions = {}) {
    super(message, { cause: options.cause });
    this.exitCode = options.usage ? 2 : 1;
  }
}
