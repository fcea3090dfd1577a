/** @file Finding the library: on copies of `library.ts` beside a crate of one file, with a cargo that only notes calls. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import { checkout, withTempDir } from "../../tests/support.ts";
import { manifest } from "./library.ts";
import { manifestOf } from "./manifest.ts";

const modules = [
  ...["library/library.ts", "library/build.ts", "library/manifest.ts", "cache.ts"].map((name) => `backend/${name}`),
  "dsl/errors.ts",
  "native_sources.json",
];

interface Place {
  /** Runs `libraryPath()` of a checkout; variables are added to an otherwise empty environment. */
  readonly find: (name: string, variables?: Record<string, string>) => Promise<{ out: string; err: string }>;
  /** How often cargo was called. */
  readonly builds: () => number;
  readonly folder: string;
}

/** Makes checkouts on demand, all with the same sources and one cache. */
async function withPlace(run: (place: Place) => Promise<void>): Promise<void> {
  await withTempDir(async (folder) => {
    const log = join(folder, "cargo.log");
    const bin = join(folder, "bin");
    Deno.mkdirSync(bin);
    // What follows --target-dir is where the library is to be.
    const script = '#!/bin/sh\necho call >> "$CARGO_LOG"\nwhile [ "$1" != --target-dir ]; do shift; done\n' +
      '/bin/mkdir -p "$2/release"\necho library > "$2/release/libxft_native.so"\n' +
      'echo library > "$2/release/libxft_native.dylib"\n';
    Deno.writeTextFileSync(join(bin, "cargo"), script, { mode: 0o755 });
    const make = (name: string): void => {
      for (const file of modules) {
        Deno.mkdirSync(join(folder, name, file, ".."), { recursive: true });
        Deno.copyFileSync(checkout(file), join(folder, name, file));
      }
      Deno.mkdirSync(join(folder, name, "backend/native/src"), { recursive: true });
      Deno.writeTextFileSync(join(folder, name, "backend/native/Cargo.toml"), '[package]\nversion = "9.9.9"\n');
      Deno.writeTextFileSync(join(folder, name, "backend/native/src/lib.rs"), "// one");
      const main = 'import { libraryPath } from "./library/library.ts";\nconsole.log(libraryPath());\n';
      Deno.writeTextFileSync(join(folder, name, "backend/main.ts"), main);
    };
    await run({
      folder,
      builds: () => Deno.readTextFileSync(log).trim().split("\n").length,
      async find(name, variables = {}) {
        try {
          Deno.statSync(join(folder, name));
        } catch {
          make(name);
        }
        const env = { PATH: bin, CARGO_LOG: log, XFT_CACHE: join(folder, "cache"), HOME: folder, ...variables };
        const main = join(folder, name, "backend/main.ts");
        const args = ["run", "--no-config", "--no-lock", "--allow-all", main];
        const result = await new Deno.Command(Deno.execPath(), { args, env, clearEnv: true }).output();
        const text = (data: Uint8Array): string => new TextDecoder().decode(data).trim();
        return { out: text(result.stdout), err: text(result.stderr) };
      },
    });
  });
}

const ignore = Deno.build.os === "windows";

Deno.test({
  name: "the library is built once, found again, rebuilt when a source changes, and shared with another checkout",
  ignore,
  fn: () =>
    withPlace(async ({ find, builds, folder }) => {
      const first = await find("one");
      assertMatch(first.out, /one\/backend\/native\/target\/release\/libxft_native\./);
      assertMatch(first.err, /Building the native library/);
      const again = await find("one");
      assertEquals([again.out, again.err, builds()], [first.out, "", 1]);
      // The same sources elsewhere: from the cache, under version, platform and hash.
      const second = await find("two");
      assertMatch(second.out, /cache\/native\/9\.9\.9-[^/]+-[0-9a-f]{24}\/libxft_native\./);
      assertEquals(builds(), 1);
      const source = join(folder, "one/backend/native/src/lib.rs");
      Deno.writeTextFileSync(source, "// two");
      Deno.utimeSync(source, new Date(), new Date(Date.now() + 60_000));
      await find("one");
      assertEquals(builds(), 2);
      // Only touched since: the contents decide.
      Deno.utimeSync(source, new Date(), new Date(Date.now() + 120_000));
      await find("one");
      assertEquals(builds(), 2);
    }),
});

Deno.test({
  name: "without cargo, or with a wrong XFT_LIBRARY, both ways to a library are named",
  ignore,
  fn: () =>
    withPlace(async ({ find, folder }) => {
      const none = await find("one", { PATH: join(folder, "nothing") });
      assertMatch(none.err, /cargo was not found\. Install Rust .* or set XFT_LIBRARY/);
      const wrong = await find("one", { XFT_LIBRARY: "/nowhere/lib.so" });
      assertMatch(wrong.err, /XFT_LIBRARY=\/nowhere\/lib\.so: there is no such file\. Install Rust/);
      const given = join(folder, "given.so");
      Deno.writeTextFileSync(given, "library");
      assertEquals((await find("one", { XFT_LIBRARY: given })).out, Deno.realPathSync(given));
    }),
});

Deno.test("native_sources.json lists the library's sources as they are: if not, run `deno task manifest`", () => {
  assertEquals(manifest, manifestOf(checkout("backend/native/")));
  assert(Object.keys(manifest.files).length > 50);
});
