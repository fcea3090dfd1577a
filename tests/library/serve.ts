/** @file The checkout behind a URL, as a web server would have it. */
import { extname, join } from "node:path";
import { checkout } from "../support.ts";

const types: Readonly<Record<string, string>> = {
  ".ts": "application/typescript",
  ".json": "application/json",
};

/** What a server does to a file before it sends it; undefined: there is none. */
export type Change = (path: string, data: Uint8Array<ArrayBuffer>) => Uint8Array<ArrayBuffer> | string | undefined;

/** A running server. */
export interface Served extends AsyncDisposable {
  /** `127.0.0.1:` and its port. */
  readonly host: string;
  /** Address of `mod.ts`. */
  readonly mod: string;
  /** Paths that were asked for. */
  readonly asked: readonly string[];
}

/** Serves what a repository's host would: the code, not the folders that git ignores. */
export function serveCheckout(change: Change = (_, data) => data): Served {
  const asked: string[] = [];
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, (request) => {
    const path = decodeURIComponent(new URL(request.url).pathname).slice(1);
    asked.push(path);
    const isOurs = /^(mod\.ts|native_sources\.json|(dsl|backend|recipes)\/.+)$/.test(path) &&
      !path.includes("/target/");
    const data = isOurs ? change(path, readFile(path)) : undefined;
    if (data === undefined) return new Response("there is no such file", { status: 404 });
    return new Response(data, { headers: { "content-type": types[extname(path)] ?? "text/plain" } });
  });
  const host = `127.0.0.1:${server.addr.port}`;
  const stop = async (): Promise<void> => {
    await server.shutdown();
    await forget(server.addr.port);
  };
  return { host, mod: `http://${host}/mod.ts`, asked, [Symbol.asyncDispose]: stop };
}

/** Removes what Deno's own cache keeps of this server: its address is never used again. */
async function forget(port: number): Promise<void> {
  const { stdout } = await new Deno.Command(Deno.execPath(), { args: ["info", "--json"] }).output();
  const { modulesCache, typescriptCache } = JSON.parse(new TextDecoder().decode(stdout));
  for (const folder of [modulesCache, typescriptCache]) {
    try {
      Deno.removeSync(join(folder, "http", `127.0.0.1_PORT${port}`), { recursive: true });
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
}

const readFile = (path: string): Uint8Array<ArrayBuffer> => Deno.readFileSync(join(checkout("."), path));
