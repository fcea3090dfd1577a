/** @file `xft serve`: a local server with OpenAI's API. */
import { open } from "../../../backend/open.ts";
import { loadTokenizer } from "../../../backend/tokenizer.ts";
import { UserError } from "../../../dsl/errors.ts";
import { trainedPrompt } from "../../evaluate/benchmarks/trained_prompt.ts";
import { nameOf } from "../../hub/address.ts";
import { serve } from "../../serve/server.ts";
import type { commands } from "../commands.ts";
import type { Context, JsonResult } from "../context.ts";
import { loadAsTold } from "../inputs/mixture_weights.ts";
import type { Arguments } from "../flags/schema.ts";

/** Names of this machine that nobody else can reach. */
const LOOPBACK = /^(127(\.\d+){3}|::1|localhost)$/;

/** Runs the command: until it is interrupted. */
export async function run(args: Arguments<typeof commands.serve>, context: Context): Promise<JsonResult> {
  const { model, host, port, batch, name = nameOf(model) } = args;
  using tokenizer = loadTokenizer(model);
  using device = await open(args.device, context);
  const loaded = loadAsTold(model, device, args);
  const magicoder = trainedPrompt(model, tokenizer.chatTemplate !== undefined) === "magicoder";
  const options = { name, hostname: host, port, batch, magicoder, onRequest: (line: string) => context.note(line) };
  await using server = await listening(host, port, () => serve(loaded, tokenizer, device, options));
  if (!LOOPBACK.test(host)) {
    context.note(
      `xft: ${host} is not this machine alone: whoever reaches it can use the model, nobody is asked who he is.`,
    );
  }
  context.print(`${server.url}/v1 serves "${name}"; Ctrl-C ends it`);
  const interrupted = Promise.withResolvers<void>();
  context.signal.addEventListener("abort", () => interrupted.resolve());
  if (!context.signal.aborted) await Promise.race([interrupted.promise, server.finished]);
  context.signal.throwIfAborted();
  return { url: server.url, model: name };
}

async function listening<T>(host: string, port: number, start: () => Promise<T>): Promise<T> {
  try {
    return await start();
  } catch (error) {
    if (error instanceof Deno.errors.AddrInUse) {
      throw new UserError(`--port ${port}: another program listens there; choose another port.`);
    }
    if (error instanceof Deno.errors.AddrNotAvailable) {
      throw new UserError(`--host ${host}: this is no address of this machine.`);
    }
    throw error;
  }
}
