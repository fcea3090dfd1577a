/** @file The command line from outside: exit codes, one-sentence errors, nothing half-written, Ctrl-C. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { dirname, join } from "node:path";
import { checkout, golden, smollm2Gguf, startXft, withTempDir, xft } from "../support.ts";

/** The one line that a failed command leaves on stderr. */
async function failure(args: string[], code: number, cwd?: string): Promise<string> {
  const ran = await xft(args, cwd);
  assertEquals(ran.code, code, `${args.join(" ")} ended with ${ran.code}: ${ran.stderr}`);
  assertEquals(ran.stderr.trim().split("\n").length, 1, `more than one line:\n${ran.stderr}`);
  assert(!ran.stderr.includes("    at "), `a stack trace:\n${ran.stderr}`);
  return ran.stderr.trim();
}

/** Names in a folder, hidden ones too. */
function names(folder: string): string[] {
  return [...Deno.readDirSync(folder)].map(({ name }) => name).sort();
}

Deno.test("usage mistakes end with 2 and one sentence", async () => {
  assertStringIncludes(await failure(["upcycle", "a", "--out", "b", "--expert", "4"], 2), "Did you mean --experts?");
  assertStringIncludes(
    await failure(["merge", "a", "--out", "b", "--lambda", "1.4"], 2),
    "λ is a share, between 0 and 1.",
  );
  const few = await failure(["upcycle", "a", "--out", "b", "--experts", "4", "--active", "6"], 2);
  assertStringIncludes(few, "--active 6: there are only 4 experts");
});

Deno.test("--json says a failure as an object too, on the last line of stdout", async () => {
  const { code, stdout } = await xft(["inspect", "/nowhere/at/all", "--json"]);
  assertEquals(code, 1);
  assertEquals(JSON.parse(stdout.trim().split("\n").at(-1)!), {
    error: "/nowhere/at/all: there is no such file or folder.",
    exit_code: 1,
  });
});

Deno.test("missing and truncated files are named, and nothing is written", () =>
  withTempDir(async (folder) => {
    assertStringIncludes(
      await failure(["convert", "missing.gguf", "--out", "m"], 1, folder),
      "missing.gguf: there is no",
    );
    const whole = Deno.readFileSync(golden("authors/dense0/model.safetensors"));
    const cut = join(folder, "cut");
    Deno.mkdirSync(cut);
    Deno.copyFileSync(golden("authors/dense0/config.json"), join(cut, "config.json"));
    Deno.writeFileSync(join(cut, "model.safetensors"), whole.subarray(0, 50_000));
    assertMatch(await failure(["convert", "cut", "--out", "m"], 1, folder), /cut short/);
    Deno.writeFileSync(join(folder, "half.gguf"), new TextEncoder().encode("GGUF\x03\0\0\0\x01"));
    assertMatch(await failure(["convert", "half.gguf", "--out", "m"], 1, folder), /half\.gguf: /);
    assertEquals(names(folder), ["cut", "half.gguf"]);
  }));

Deno.test("a tensor of another shape than config.json asks for is named with both shapes", () =>
  withTempDir(async (folder) => {
    const config = JSON.parse(Deno.readTextFileSync(golden("authors/dense0/config.json")));
    Deno.writeTextFileSync(join(folder, "config.json"), JSON.stringify({ ...config, intermediate_size: 40 }));
    Deno.copyFileSync(golden("authors/dense0/model.safetensors"), join(folder, "model.safetensors"));
    const message = await failure(["inspect", folder], 1);
    assertStringIncludes(message, "[32, 48]");
    assertStringIncludes(message, "[32, 40]");
  }));

Deno.test("a command that needs no network has no permission for it, nor have recipes and objectives that it loads", () =>
  withTempDir(async (folder) => {
    using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { port } = listener.addr;
    Deno.writeTextFileSync(
      join(folder, "recipe.ts"),
      `await Deno.connect({ hostname: "127.0.0.1", port: ${port} });\nexport default {};\n`,
    );
    const { code, stderr } = await xft(["run", "recipe.ts", "--out", "out"], folder);
    assertEquals(code, 1);
    assertMatch(stderr, /Requires net access to "127\.0\.0\.1/);
  }));

Deno.test("an --out with something in it is refused, and replaced only with --overwrite", () =>
  withTempDir(async (folder) => {
    const out = join(folder, "moe");
    Deno.mkdirSync(out);
    Deno.writeTextFileSync(join(out, "config.json"), "mine");
    const args = ["convert", golden("authors/moe"), "--out", "moe"];
    assertMatch(await failure(args, 1, folder), /moe: this folder is not empty.*--overwrite/);
    assertEquals(Deno.readTextFileSync(join(out, "config.json")), "mine");
    const { code, stdout } = await xft([...args, "--overwrite", "--json"], folder);
    assertEquals(code, 0);
    assertEquals(JSON.parse(stdout.trim().split("\n").at(-1)!).out, out);
    assertStringIncludes(Deno.readTextFileSync(join(out, "config.json")), "xft_moe");
    assertEquals(names(folder), ["moe"]);
  }));

Deno.test("--dry-run writes nothing", () =>
  withTempDir(async (folder) => {
    const { code, stdout } = await xft(["convert", golden("authors/moe"), "--out", "moe", "--dry-run"], folder);
    assertEquals([code, names(folder)], [0, []]);
    assertStringIncludes(stdout, "would read");
  }));

Deno.test("deno task xft takes relative paths from the folder it was called in", async () => {
  const cwd = dirname(golden("authors/dense0"));
  const args = ["task", "--quiet", "xft", "inspect", "dense0", "--json"];
  const env = { ...Deno.env.toObject() };
  delete env.INIT_CWD;
  const options = { args, cwd, env, clearEnv: true, stderr: "piped", stdout: "piped" } as const;
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), options).output();
  assertEquals(code, 0, new TextDecoder().decode(stderr));
  assertEquals(JSON.parse(new TextDecoder().decode(stdout)).parameters, 21664);
});

const gguf = smollm2Gguf();
Deno.test({
  name: "Ctrl-C ends a conversion with 130 and leaves nothing",
  ignore: !gguf || Deno.build.os === "windows",
  fn: () =>
    withTempDir(async (folder) => {
      const child = startXft(["convert", gguf!, "--out", "model"], folder);
      const started = Promise.withResolvers<void>();
      const watcher = Deno.watchFs(folder);
      const watching = (async () => {
        for await (const { paths } of watcher) {
          if (paths.some((path) => path.includes(".part"))) started.resolve();
        }
      })();
      await Promise.race([started.promise, child.status]);
      child.kill("SIGINT");
      const { code, stderr } = await child.output();
      watcher.close();
      await watching;
      assertEquals(code, 130);
      assertStringIncludes(new TextDecoder().decode(stderr), "interrupted");
      assertEquals(names(folder), []);
    }),
});

Deno.test("no file of the repository names a private registry or a build machine's path", () => {
  const lock = Deno.readTextFileSync(checkout("deno.lock"));
  assert(!/https?:\/\//.test(lock), "deno.lock names a host");
});
