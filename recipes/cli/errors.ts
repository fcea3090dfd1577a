/** @file What a failed command says, and the code it ends with. */
import { UserError } from "../../dsl/errors.ts";
import { Interrupted } from "./context.ts";

/** How a failed command ends. */
export interface Failure {
  /** Exit code: 1 failure, 2 usage, 130 interrupted. */
  readonly exitCode: number;
  /** One sentence. */
  readonly message: string;
  /** For our own errors: where it happened and where to report it. */
  readonly details?: string;
}

const NO_SPACE = /No space left on device|os error 28\b|ENOSPC|not enough space on the disk|os error 112\b/;

/** Explains an error: a user's mistake and the machine's refusals in one sentence, everything else with its stack. */
export function explainFailure(error: unknown): Failure {
  if (error instanceof UserError) return { exitCode: error.exitCode, message: oneLine(error.message) };
  if (error instanceof Interrupted) return { exitCode: 130, message: "interrupted; nothing half-written was left." };
  const message = error instanceof Error ? error.message : String(error);
  if (NO_SPACE.test(message)) {
    return {
      exitCode: 1,
      message: `there is no space left on the disk (${oneLine(message)}). Free some, then try again.`,
    };
  }
  if (error instanceof Deno.errors.NotFound) {
    return { exitCode: 1, message: `there is no such file (${oneLine(message)}).` };
  }
  if (error instanceof Deno.errors.PermissionDenied || error instanceof Deno.errors.NotCapable) {
    return { exitCode: 1, message: `it is not allowed (${oneLine(message)}).` };
  }
  if (error instanceof Deno.errors.IsADirectory || error instanceof Deno.errors.NotADirectory) {
    return {
      exitCode: 1,
      message: `a file was expected where a folder is, or a folder where a file is (${oneLine(message)}).`,
    };
  }
  const stack = error instanceof Error ? error.stack ?? message : message;
  return {
    exitCode: 1,
    message: `fault in xft: ${oneLine(message)}`,
    details:
      `${stack}\nThis is our fault, not yours. Please report it as README.md says, with these lines and the command.`,
  };
}

function oneLine(message: string): string {
  return message.replaceAll(/\s*\n\s*/g, " ");
}
