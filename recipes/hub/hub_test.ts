/** @file The hub, as a local server speaks it: what is fetched, what is not fetched again, and what is refused. */
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { join } from "node:path";
import { UserError } from "../../dsl/errors.ts";
import { withTempDir } from "../../tests/support.ts";
import { formatHubAddress, type HubAddress, hubSettings, nameOf, parseHubAddress } from "./address.ts";
import { download } from "./download.ts";

const COMMIT = "0123456789abcdef0123456789abcdef01234567";
const weights = Uint8Array.from({ length: 5000 }, (_, i) => (i * 7) % 251);
const text = (words: string): Uint8Array<ArrayBuffer> => new TextEncoder().encode(words);

const hex = (bytes: ArrayBuffer): string =>
  [...new Uint8Array(bytes)].map((byte) => byte.toString(16).padStart(2, "0")).join("");

interface Hub extends AsyncDisposable {
  readonly endpoint: string;
  /** `METHOD path range` of each request. */
  readonly asked: string[];
}

/**
 * A hub with one model; large files are elsewhere on it. `cut`: the first one ends after so many bytes. `whole`: it sends
 * all of a file whatever part is asked for.
 */
async function hub(files: Record<string, Uint8Array<ArrayBuffer>>, { cut, announced, whole }: {
  cut?: number;
  announced?: string;
  whole?: boolean;
} = {}): Promise<Hub> {
  const asked: string[] = [], sums = new Map<string, string>();
  let left = cut;
  for (const [name, data] of Object.entries(files)) {
    sums.set(name, hex(await crypto.subtle.digest(name.endsWith(".safetensors") ? "SHA-256" : "SHA-1", data)));
  }
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, (request) => {
    const { pathname } = new URL(request.url), wanted = request.headers.get("range") ?? "";
    asked.push(`${request.method} ${pathname} ${wanted}`.trim());
    const range = whole ? "" : wanted;
    if (pathname.startsWith("/api/models/org/secret")) return new Response(null, { status: 401 });
    if (pathname === "/api/models/org/tiny/revision/main") {
      return Response.json({ sha: COMMIT, siblings: Object.keys(files).map((rfilename) => ({ rfilename })) });
    }
    const name = new RegExp(`^/(?:org/tiny/resolve/${COMMIT}|lfs)/(.+)$`).exec(pathname)?.[1] ?? "";
    const data = files[name];
    if (!data) return new Response(null, { status: 404 });
    const etag = announced ?? sums.get(name)!;
    if (name.endsWith(".safetensors") && !pathname.startsWith("/lfs/")) {
      const headers = { location: `/lfs/${name}`, "x-linked-etag": `"${etag}"`, "x-linked-size": `${data.length}` };
      return new Response(null, { status: 302, headers: { ...headers, "x-repo-commit": COMMIT } });
    }
    const start = Number(/bytes=(\d+)-/.exec(range)?.[1] ?? 0);
    const headers = { etag: `"${etag}"`, "content-length": `${data.length - start}` };
    if (request.method === "HEAD") return new Response(null, { headers });
    if (left !== undefined && name.endsWith(".safetensors")) {
      const part = data.slice(0, left);
      left = undefined;
      let isSent = false;
      const body = new ReadableStream({
        pull(controller) {
          if (isSent) controller.close();
          else controller.enqueue(part);
          isSent = true;
        },
      });
      return new Response(body, { headers });
    }
    return new Response(data.slice(start), { status: range ? 206 : 200, headers });
  });
  return {
    endpoint: `http://127.0.0.1:${server.addr.port}`,
    asked,
    [Symbol.asyncDispose]: () => server.shutdown(),
  };
}

const model = {
  "config.json": text("{}"),
  "model.safetensors": weights,
  "pytorch_model.bin": text("pickle"),
  "onnx/model.json": text("other"),
};
const address = parseHubAddress("hf:org/tiny");

Deno.test("hub: a model's safetensors and texts are laid out as Python does, and not fetched twice", () =>
  withTempDir(async (cache) => {
    await using server = await hub(model);
    const settings = { endpoint: server.endpoint, cache };
    const folder = await download(address, settings), repo = join(cache, "models--org--tiny");
    assertEquals(folder, join(repo, "snapshots", COMMIT));
    assertEquals([...Deno.readDirSync(folder)].map(({ name }) => name).sort(), ["config.json", "model.safetensors"]);
    assertEquals(Deno.readFileSync(join(folder, "model.safetensors")), weights);
    assertEquals(Deno.readTextFileSync(join(repo, "refs", "main")), COMMIT);
    const sum = hex(await crypto.subtle.digest("SHA-256", weights));
    assertEquals(Deno.readLinkSync(join(folder, "model.safetensors")), join("..", "..", "blobs", sum));
    const before = server.asked.length;
    assertEquals(await download(address, settings), folder);
    assertEquals(server.asked.slice(before), ["GET /api/models/org/tiny/revision/main"]);
    // Nobody listens at this port: what is in the cache is enough.
    assertEquals(await download(address, { endpoint: "http://127.0.0.1:9", cache }), folder);
    const asked = server.asked.length, offline = { ...settings, offline: true };
    assertEquals(await download(address, offline), folder);
    await assertRejects(() => download(parseHubAddress("hf:org/none"), offline), UserError, "HF_HUB_OFFLINE");
    assertEquals(server.asked.length, asked);
  }));

Deno.test("hub: a download that broke goes on where it stopped", () =>
  withTempDir(async (cache) => {
    await using server = await hub(model, { cut: 2000 });
    const settings = { endpoint: server.endpoint, cache };
    await assertRejects(() => download(address, settings), UserError, "after 2000 of 5000 bytes");
    const folder = await download(address, settings);
    assert(server.asked.includes("GET /lfs/model.safetensors bytes=2000-"), server.asked.join("\n"));
    assertEquals(Deno.readFileSync(join(folder, "model.safetensors")), weights);
  }));

Deno.test("hub: from a server that sends all of a file again, all of it is taken again", () =>
  withTempDir(async (cache) => {
    await using server = await hub(model, { cut: 2000, whole: true });
    const settings = { endpoint: server.endpoint, cache };
    await assertRejects(() => download(address, settings), UserError, "after 2000 of 5000 bytes");
    const folder = await download(address, settings);
    assert(server.asked.includes("GET /lfs/model.safetensors bytes=2000-"), server.asked.join("\n"));
    assertEquals(Deno.readFileSync(join(folder, "model.safetensors")), weights);
  }));

Deno.test("hub: pickles, wrong contents, closed doors and silent hubs are refused in words", () =>
  withTempDir(async (cache) => {
    {
      await using server = await hub({ "config.json": text("{}"), "pytorch_model.bin": text("pickle") });
      await assertRejects(() => download(address, { endpoint: server.endpoint, cache }), UserError, "pickle");
    }
    await using server = await hub(model, { announced: "a".repeat(64) });
    const settings = { endpoint: server.endpoint, cache };
    await assertRejects(() => download(address, settings), UserError, "not what the hub announced");
    await assertRejects(() => download(parseHubAddress("hf:org/none"), settings), UserError, "no such model");
    await assertRejects(() => download(parseHubAddress("hf:org/secret"), settings), UserError, "HF_TOKEN");
    const nobody = { endpoint: "http://127.0.0.1:9", cache };
    await assertRejects(() => download(address, nobody), UserError, "cannot be reached");
  }));

Deno.test("hub: a whole repository has its folders' files, but no pickle and nothing outside of its folder", () =>
  withTempDir(async (cache) => {
    await using server = await hub({ ...model, "../evil.json": text("{}"), "/evil.json": text("{}") });
    const settings = { endpoint: server.endpoint, cache };
    const folder = await download(address, settings, { whole: true });
    assertEquals(Deno.readTextFileSync(join(folder, "onnx/model.json")), "other");
    assertEquals([...Deno.readDirSync(folder)].map(({ name }) => name).sort(), [
      "config.json",
      "model.safetensors",
      "onnx",
    ]);
    assert(!server.asked.some((line) => line.includes("evil") || line.includes("pytorch_model")));
    // A file alone, then from the cache without a hub.
    const one = { ...address, file: "onnx/model.json" }, nobody = { endpoint: "http://127.0.0.1:9", cache };
    assertEquals(await download(one, settings), join(folder, "onnx/model.json"));
    assertEquals(await download(one, nobody), join(folder, "onnx/model.json"));
    await assertRejects(() => download({ ...one, file: "b.json" }, settings), UserError, "no such file in it");
  }));

Deno.test("hub: addresses and the environment are read as Python reads them", () => {
  const addresses: Record<string, HubAddress> = {
    "hf:name": { kind: "model", repo: "name", revision: "main" },
    "hf:org/name@refs/pr/1": { kind: "model", repo: "org/name", revision: "refs/pr/1" },
    "hf:org/name/in/q4_0.gguf@v1": { kind: "model", repo: "org/name", revision: "v1", file: "in/q4_0.gguf" },
    "hf:datasets/org/name/data/a.jsonl.gz": {
      kind: "dataset",
      repo: "org/name",
      revision: "main",
      file: "data/a.jsonl.gz",
    },
  };
  for (const [word, address] of Object.entries(addresses)) {
    assertEquals(parseHubAddress(word), address);
    assertEquals(formatHubAddress(address), word);
  }
  for (
    const word of ["hf:", "hf:../x", "hf:a/b/c", "hf:a/b/c.bin", "hf:a/b/../c.json", "hf:org/name@../..", "hf:org/.."]
  ) {
    assertThrows(() => parseHubAddress(word), UserError, "org/name");
  }
  assertEquals(nameOf(join("/a", "models--org--name", "snapshots", COMMIT)), "org/name");
  assertEquals(nameOf(join("/a", "snapshots")), "snapshots");
  const read = (variables: Record<string, string>, files: Record<string, string> = {}) =>
    hubSettings({ variable: (name) => variables[name], text: (path) => files[path] });
  assertEquals(read({ HOME: "/h" }).cache, join("/h", ".cache", "huggingface", "hub"));
  assertEquals(read({ HOME: "/h", HF_HOME: "~/b" }).cache, join("/h", "b", "hub"));
  assertEquals(read({ HF_HOME: "/a", HF_HUB_CACHE: "/c" }).cache, "/c");
  assertEquals(read({ HF_HOME: "/a", HF_TOKEN: "t", HF_ENDPOINT: "http://h/" }, { [join("/a", "token")]: "f" }), {
    endpoint: "http://h",
    token: "t",
    cache: join("/a", "hub"),
    offline: false,
  });
  // What `hf auth login` wrote.
  assertEquals(read({ HF_HOME: "/a" }, { [join("/a", "token")]: "hf_file\n" }).token, "hf_file");
  assertEquals(read({ HF_HOME: "/a", HF_TOKEN_PATH: "/t" }, { [join("/a", "token")]: "a", "/t": "b" }).token, "b");
  assertEquals(read({ HF_HOME: "/a", HF_TOKEN: "" }).token, undefined);
  assertEquals(["1", "TRUE", "on", "0", ""].map((word) => read({ HF_HUB_OFFLINE: word }).offline), [
    true,
    true,
    true,
    false,
    false,
  ]);
});
