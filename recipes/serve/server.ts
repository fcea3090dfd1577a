/**
 * @file A server that speaks OpenAI's API for one model: models, completions and chat completions, whole or streamed.
 * Requests that overlap are computed together.
 */
import type { Tokenizer } from "../../backend/tokenizer.ts";
import type { Device } from "../../backend/runtime.ts";
import { UserError } from "../../dsl/errors.ts";
import { chatRenderer, type Message } from "../data/chat.ts";
import { magicoderConversation } from "../data/magicoder.ts";
import { openEngine } from "../generate/engine.ts";
import { checkPrompt, endTokens } from "../generate/generate.ts";
import { sampleKey } from "../generate/sampling/draws.ts";
import { Sequence } from "../generate/sequence.ts";
import type { Loaded } from "../model/parameters.ts";
import { errorBody, Refusal } from "./errors.ts";
import { answer, type Choice, type Kind, logprobsOf, piece, usageOf } from "./answer.ts";
import { chatRequest, completionRequest, parseBody, type Wanted } from "./request.ts";
import { openRunner } from "./runner.ts";

/** What is served, and how. */
export interface ServeOptions {
  /** The name that clients see. */
  readonly name: string;
  /** Address to listen at. */
  readonly hostname: string;
  /** Port; 0: any that is free. */
  readonly port: number;
  /** Texts that are computed together. */
  readonly batch: number;
  /** Are conversations put in Magicoder's words, as the model was trained? (Default: its own chat template.) */
  readonly magicoder?: boolean;
  /** Called with each request's line for the log. */
  readonly onRequest?: (line: string) => void;
}

/** A server that runs. */
export interface Server extends AsyncDisposable {
  /** Where it listens. */
  readonly url: string;
  /** Ends when the server does. @throws what stopped it */
  readonly finished: Promise<void>;
}

/** Starts a server. Disposing it ends what is being generated, and waits for the connections to close. */
export async function serve(
  loaded: Loaded,
  tokenizer: Tokenizer,
  device: Device,
  { name, hostname, port, batch, magicoder = false, onRequest = () => {} }: ServeOptions,
): Promise<Server> {
  const { config } = loaded, created = Math.floor(Date.now() / 1000);
  const known = Math.min(tokenizer.vocabSize, config.vocabSize), ends = endTokens(loaded, tokenizer);
  const encodeChat = await chatEncoder(tokenizer, magicoder);
  const engine = openEngine(loaded, device, { batch, known });
  let fault: unknown;
  const runner = openRunner(engine, (error) => {
    fault = error;
    void server.shutdown();
  });

  /** A request's texts, started. */
  function start(
    kind: Kind,
    wanted: Wanted,
    prompts: readonly (readonly number[])[],
    onPiece: (choice: Choice, text: string) => void,
  ): Choice[] {
    const seed = wanted.seed ?? crypto.getRandomValues(new Uint32Array(1))[0];
    return prompts.flatMap((promptIds, prompt) =>
      Array.from({ length: wanted.n }, (_, sample): Choice => {
        const done = Promise.withResolvers<void>(), index = prompt * wanted.n + sample;
        const sequence: Sequence = new Sequence({
          promptIds,
          sampling: wanted.sampling,
          key: sampleKey(seed, promptIds, sample),
          maxTokens: wanted.maxTokens ?? config.maxPositions,
          ends,
          stop: wanted.stop,
          beginsAnew: kind === "chat",
          logprobs: wanted.logprobs,
          onText: (text) => onPiece(choice, text),
          onFinish: done.resolve,
        }, tokenizer);
        const choice: Choice = { index, prompt, sequence, done: done.promise };
        return choice;
      })
    );
  }

  async function respond(kind: Kind, request: Request): Promise<Response> {
    const body = parseBody(await request.text());
    const { wanted, prompts, echoes } = readRequest(kind, body, tokenizer, encodeChat);
    prompts.forEach((ids, i) => refusing(() => checkPrompt(`prompt ${i + 1}`, ids, config), "prompt"));
    if (typeof body.model === "string" && body.model !== name) {
      throw new Refusal(404, `the model "${body.model}" is not served here; "${name}" is.`, "model");
    }
    const head = { id: `${kind === "chat" ? "chatcmpl" : "cmpl"}-${crypto.randomUUID()}`, created, model: name };
    const events = new TextEncoder();
    let send: ((data: object | "[DONE]") => void) | undefined;
    const early: object[] = [], told = new Map<Choice, number>();
    /** Of the tokens that came since the last time. */
    const logprobs = (choice: Choice): object | null => {
      const { sequence } = choice, from = told.get(choice) ?? 0;
      if (wanted.logprobs === undefined || sequence.logprobs.length === from) return null;
      told.set(choice, sequence.logprobs.length);
      return logprobsOf(kind, sequence.logprobs, tokenizer, from);
    };
    const choices = start(kind, wanted, prompts, (choice, text) => {
      if (!wanted.stream) return;
      const next = piece(kind, head, choice, text, { logprobs: logprobs(choice) });
      if (send) send(next);
      else early.push(next);
    });
    const cancel = (): void => choices.forEach(({ sequence }) => sequence.finish("cancelled"));
    request.signal.addEventListener("abort", cancel);
    runner.add(choices.map(({ sequence }) => sequence));
    const all = Promise.all(choices.map(({ done }) => done));
    if (!wanted.stream) {
      await all;
      if (fault) throw new Refusal(500, "the model failed; the server's log says why.");
      return Response.json(answer(kind, head, choices, tokenizer, { echoes, wanted }));
    }
    const stream = new ReadableStream<Uint8Array>({
      async start(controller) {
        send = (data) => {
          const text = typeof data === "string" ? data : JSON.stringify(data);
          controller.enqueue(events.encode(`data: ${text}\n\n`));
        };
        for (const choice of choices) {
          if (kind === "chat" || echoes) {
            send(piece(kind, head, choice, echoes?.[choice.prompt] ?? "", { place: "first" }));
          }
          void choice.done.then(() => {
            if (choice.sequence.finished === "cancelled") return;
            send!(piece(kind, head, choice, "", { place: "last", logprobs: logprobs(choice) }));
          });
        }
        early.forEach(send);
        await all;
        // The last pieces of each choice are sent by its own promise, which was there first.
        await Promise.resolve();
        if (request.signal.aborted) return;
        if (wanted.streamUsage) send({ ...piece(kind, head, undefined, ""), usage: usageOf(choices) });
        send("[DONE]");
        controller.close();
      },
      cancel,
    });
    return new Response(stream, { headers: { "content-type": "text/event-stream", "cache-control": "no-cache" } });
  }

  async function handle(request: Request): Promise<Response> {
    const path = new URL(request.url).pathname.replace(/\/$/, ""),
      model = { id: name, object: "model", created, owned_by: "xft" };
    const route = `${request.method} ${path}`;
    switch (route) {
      case "GET /v1/models":
        return Response.json({ object: "list", data: [model] });
      case "POST /v1/completions":
        return await respond("text", request);
      case "POST /v1/chat/completions":
        return await respond("chat", request);
      case "GET /health":
        return Response.json({ status: "ok" });
    }
    if (request.method === "GET" && path.startsWith("/v1/models/")) {
      const asked = decodeURIComponent(path.slice("/v1/models/".length));
      if (asked === name) return Response.json(model);
      throw new Refusal(404, `the model "${asked}" is not served here; "${name}" is.`, "model");
    }
    throw new Refusal(404, `${route}: there is no such place; see /v1/models, /v1/completions, /v1/chat/completions.`);
  }

  const listener = { hostname, port, onListen: () => {} };
  const server = Deno.serve(listener, async (request) => {
    let response: Response;
    try {
      response = await handle(request);
    } catch (error) {
      const refusal = error instanceof Refusal ? error : new Refusal(500, "this is a fault of the server's.");
      if (!(error instanceof Refusal)) onRequest(String(error instanceof Error ? error.stack : error));
      response = Response.json(errorBody(refusal), { status: refusal.status });
    }
    onRequest(`${request.method} ${new URL(request.url).pathname} ${response.status}`);
    return response;
  });
  const shown = hostname.includes(":") ? `[${hostname}]` : hostname;
  return {
    url: `http://${shown}:${server.addr.port}`,
    finished: server.finished.then(() => {
      if (fault) throw fault;
    }),
    async [Symbol.asyncDispose]() {
      await runner.stop();
      await server.shutdown();
      engine[Symbol.dispose]();
    },
  };
}

/** A request with its prompts as token ids. */
interface Asked {
  readonly wanted: Wanted;
  readonly prompts: readonly (readonly number[])[];
  /** What is repeated before the answers. */
  readonly echoes?: readonly string[];
}

/** Reads a body of one of the two APIs. @throws {Refusal} */
function readRequest(
  kind: Kind,
  body: ReturnType<typeof parseBody>,
  tokenizer: Tokenizer,
  encodeChat: EncodeChat | undefined,
): Asked {
  if (kind === "text") {
    const wanted = completionRequest(body);
    const prompts = wanted.prompts.map((prompt) => typeof prompt === "string" ? tokenizer.encode(prompt) : prompt);
    const texts = wanted.prompts.map((prompt) => typeof prompt === "string" ? prompt : tokenizer.decode(prompt));
    return { wanted, prompts, echoes: wanted.echo ? texts : undefined };
  }
  const wanted = chatRequest(body);
  if (!encodeChat) throw new Refusal(400, "this model has no chat template; use /v1/completions.", "messages");
  return { wanted, prompts: [refusing(() => encodeChat(wanted.messages), "messages")] };
}

/** The tokens of a conversation, up to where the next answer begins. */
type EncodeChat = (messages: readonly Message[]) => readonly number[];

/** How a model is talked with; nothing where it was not made for that. @throws {UserError} for a template of no sense */
async function chatEncoder(tokenizer: Tokenizer, isMagicoder: boolean): Promise<EncodeChat | undefined> {
  if (isMagicoder) return (messages) => tokenizer.encode(magicoderConversation(messages));
  if (tokenizer.chatTemplate === undefined) return undefined;
  const render = await chatRenderer(tokenizer, "chat");
  // A chat template writes its own beginning token.
  return (messages) => tokenizer.encode(render(messages, true), { special: false });
}

/** What a user's mistake is called here. */
function refusing<T>(act: () => T, param: string): T {
  try {
    return act();
  } catch (error) {
    if (error instanceof UserError) throw new Refusal(400, error.message, param);
    throw error;
  }
}
