/**
 * @file The command line: reads it, runs one command, and ends with 0, 1 (failure), 2 (usage) or 130 (interrupted).
 *
 * stdout carries results (under `--json` one object as its last line), stderr everything else.
 */
import { UserError } from "../../dsl/errors.ts";
import { type CommandName, commands } from "./commands.ts";
import { type Context, createContext, Interrupted, type JsonResult, writeAll } from "./context.ts";
import { load } from "./dispatch.ts";
import { explainFailure } from "./errors.ts";
import { workingFolder } from "./inputs/files.ts";
import { parseCommandLine, type Parsed } from "./flags/optique.ts";
import type { Command } from "./flags/schema.ts";

/** Version of the project. */
export const VERSION = "0.1.0";

/** How long an interrupted command may tidy up. */
const GRACE_MILLISECONDS = 3000;

const PROGRAM = {
  name: "xft",
  version: VERSION,
  summary: "XFT: mixture-of-experts instruction tuning, merged back into a dense model (arXiv 2404.15247).",
};

/** Runs one command line and returns its exit code. */
export async function main(words: string[]): Promise<number> {
  const json = words.includes("--json");
  let control = createContext({ json });
  try {
    const parsed = parse(words);
    if (parsed.kind === "show") {
      writeAll(Deno.stdout, `${parsed.text}\n`);
      return 0;
    }
    control = createContext({ json: parsed.values.json === true });
    using _signals = listen(control);
    const result = await runCommand(parsed.name as CommandName, parsed.values, control.context);
    if (parsed.values.json === true) writeAll(Deno.stdout, `${JSON.stringify(result)}\n`);
    return 0;
  } catch (error) {
    const failure = explainFailure(control.context.signal.aborted ? control.context.signal.reason : error);
    if (failure.details) control.context.note(failure.details);
    control.context.note(`xft: ${failure.message}`);
    if (json) writeAll(Deno.stdout, `${JSON.stringify({ error: failure.message, exit_code: failure.exitCode })}\n`);
    return failure.exitCode;
  }
}

function parse(words: string[]): Parsed {
  const width = Deno.stdout.isTerminal() ? Math.max(60, Deno.consoleSize().columns) : 100;
  return parseCommandLine(commands, words, { program: PROGRAM, cwd: workingFolder(), width });
}

/** Commands that open connections. */
const CONNECTING: readonly CommandName[] = ["serve", "publish"];

async function runCommand(name: CommandName, values: Record<string, unknown>, context: Context): Promise<JsonResult> {
  const entry: Command = commands[name];
  try {
    entry.check?.(values);
  } catch (error) {
    throw error instanceof UserError ? new UserError(error.message, { usage: true }) : error;
  }
  const { fetchAddresses, fetchHubPaths, namesHub } = await import("./inputs/hub_paths.ts");
  const ready = namesHub(values) ? await fetchHubPaths(entry, values, context) : values;
  const { run, addresses } = await load[name]() as {
    run(values: unknown, context: Context): Promise<JsonResult>;
    addresses?(values: unknown): Promise<readonly string[]>;
  };
  const fetched = await fetchAddresses(await addresses?.(ready) ?? [], context);
  // What follows opens no connection, and cannot once the permission is gone.
  if (!CONNECTING.includes(name)) await Deno.permissions.revoke({ name: "net" });
  return await run(ready, { ...context, fetched });
}

/**
 * Ctrl-C and a polite kill: the command has a few seconds (or as long as it asked for) to stop and tidy up (half-written files are removed as the
 * program unloads, in any case); a second one ends it at once.
 */
function listen(control: ReturnType<typeof createContext>): Disposable {
  const handlers = new Map<Deno.Signal, () => void>();
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    if (Deno.build.os === "windows" && signal === "SIGTERM") continue;
    const handler = (): void => {
      const end = (): never => {
        control.context.note(`xft: ${explainFailure(new Interrupted()).message}`);
        Deno.exit(explainFailure(new Interrupted()).exitCode);
      };
      if (!control.interrupt()) end();
      const patience = control.patience();
      if (patience !== undefined) control.context.note(`xft: ${patience}`);
      else Deno.unrefTimer(setTimeout(end, GRACE_MILLISECONDS));
    };
    Deno.addSignalListener(signal, handler);
    handlers.set(signal, handler);
  }
  return {
    [Symbol.dispose]: () => handlers.forEach((handler, signal) => Deno.removeSignalListener(signal, handler)),
  };
}

if (import.meta.main) Deno.exit(await main(Deno.args));
