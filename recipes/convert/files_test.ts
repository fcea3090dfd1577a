/** @file Writing whole or not at all: after success, failure, interruption, and with something in the way. */
import { join } from "node:path";
import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { UserError } from "../../dsl/errors.ts";
import { withTempDir } from "../../tests/support.ts";
import { checkTarget, writeFile, writeFolder } from "./files.ts";

/** Names in a folder. */
function names(folder: string): string[] {
  return [...Deno.readDirSync(folder)].map(({ name }) => name).sort();
}

/** Fills a folder with a config of this content. */
function config(content: string): (folder: string) => void {
  return (folder) => Deno.writeTextFileSync(join(folder, "config.json"), content);
}

Deno.test("a folder appears when it is complete", () =>
  withTempDir(async (folder) => {
    const out = join(folder, "a", "b");
    await writeFolder(out, (temporary) => {
      assertEquals(names(join(folder, "a")).length, 1);
      config("1")(temporary);
    });
    assertEquals(names(join(folder, "a")), ["b"]);
    assertEquals(names(out), ["config.json"]);
    Deno.mkdirSync(join(folder, "empty"));
    await writeFolder(join(folder, "empty"), config("2"));
    assertEquals(names(join(folder, "empty")), ["config.json"]);
  }));

Deno.test("what exists is kept unless --overwrite, and until success", () =>
  withTempDir(async (folder) => {
    const out = join(folder, "model");
    const read = (): string => Deno.readTextFileSync(join(out, "config.json"));
    await writeFolder(out, config("old"));
    await assertRejects(() => writeFolder(out, config("new")), UserError, "not empty");
    const failing = async (temporary: string): Promise<void> => {
      config("new")(temporary);
      await Promise.resolve();
      throw new Error("disk on fire");
    };
    await assertRejects(() => writeFolder(out, failing, { overwrite: true }), Error, "disk on fire");
    assertEquals([read(), names(folder)], ["old", ["model"]]);
    // Nothing is there that could take the name.
    const losing = (temporary: string): void => Deno.removeSync(temporary);
    await assertRejects(() => writeFolder(out, losing, { overwrite: true }), Deno.errors.NotFound);
    assertEquals([read(), names(folder)], ["old", ["model"]]);
    await writeFolder(out, config("new"), { overwrite: true });
    assertEquals([read(), names(folder)], ["new", ["model"]]);
  }));

Deno.test("a failure names the folder by its own name", () =>
  withTempDir(async (folder) => {
    const out = join(folder, "model");
    const failing = (temporary: string): void => {
      throw new UserError(`${temporary}/model.safetensors: no space left on the disk.`);
    };
    const { message } = await assertRejects(() => writeFolder(out, failing), UserError);
    assertEquals(message, `${out}/model.safetensors: no space left on the disk.`);
  }));

Deno.test("an interrupt between two pieces of work leaves nothing", () =>
  withTempDir(async (folder) => {
    const controller = new AbortController();
    const work = writeFolder(join(folder, "model"), async (temporary, pause) => {
      config("1")(temporary);
      await pause();
      controller.abort(new Error("Ctrl-C"));
      await pause();
      throw new Error("the work went on");
    }, { signal: controller.signal });
    await assertRejects(() => work, Error, "Ctrl-C");
    assertEquals(names(folder), []);
  }));

Deno.test("a process that exits in the middle removes what is unfinished", () =>
  withTempDir(async (folder) => {
    const module = new URL("./files.ts", import.meta.url).href;
    const script = `
      import { writeFolder } from ${JSON.stringify(module)};
      await writeFolder(${JSON.stringify(join(folder, "model"))}, (temporary) => {
        Deno.writeTextFileSync(temporary + "/half", "written");
        Deno.exit(130);
      });`;
    const path = join(folder, "script.ts");
    Deno.writeTextFileSync(path, script);
    const args = ["run", "--quiet", "--no-check", "--allow-read", "--allow-write", path];
    const { code } = await new Deno.Command(Deno.execPath(), { args, stderr: "null" }).output();
    assertEquals(code, 130);
    assertEquals(names(folder), ["script.ts"]);
  }));

Deno.test("--overwrite does not replace a folder that is no model", () =>
  withTempDir((folder) => {
    Deno.writeTextFileSync(join(folder, "thesis.txt"), "years of work");
    assertThrows(() => checkTarget(folder, "folder", { overwrite: true }), UserError, "no config.json");
    checkTarget(folder, "folder", { overwrite: true, marks: ["thesis.txt"] });
    checkTarget(folder, "folder", { overwrite: true, marks: [] });
    assertThrows(() => checkTarget(join(folder, "thesis.txt"), "folder", { overwrite: true }), UserError, "is a file");
    assertThrows(() => checkTarget(folder, "file", { overwrite: true }), UserError, "is a folder");
    checkTarget(join(folder, "new"), "folder");
  }));

Deno.test("a file is replaced whole, and only when allowed", () =>
  withTempDir((folder) => {
    const path = join(folder, "sub", "c.json");
    writeFile(path, "é");
    assertThrows(() => writeFile(path, "new"), UserError, "this file exists");
    assertEquals(Deno.readTextFileSync(path), "é");
    writeFile(path, Uint8Array.of(110), { overwrite: true });
    assertEquals([Deno.readTextFileSync(path), names(join(folder, "sub"))], ["n", ["c.json"]]);
  }));
