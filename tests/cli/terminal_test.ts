/**
 * @file Text on a real terminal: it appears while it is written, characters whole, and ends where a stop text begins.
 * The terminal is that of util-linux' `script`.
 */
import { assert, assertEquals } from "@std/assert";
import { succeeds } from "../commands.ts";
import { writeRecitingModel } from "../fixtures/tiny_folder.ts";
import { checkout, withTempDir, xft } from "../support.ts";

const ignore = Deno.build.os !== "linux" || !await succeeds("script", ["-qec", "true", "/dev/null"]);
const SAID = "añ中🙂dж.", BYTES = [...new TextEncoder().encode(SAID)];

/** Starts a command on a terminal; what is written to its stdin is typed there. */
function onTerminal(args: readonly string[]): Deno.ChildProcess {
  const words = [Deno.execPath(), "run", "-A", "--quiet", checkout("recipes/cli/main.ts"), ...args];
  const line = words.map((word) => `'${word}'`).join(" ");
  return new Deno.Command("script", {
    args: ["-qefc", line, "/dev/null"],
    stdin: "piped",
    stdout: "piped",
    stderr: "null",
  }).spawn();
}

/** What a terminal has received when a command ends. */
async function shown(args: readonly string[]): Promise<string> {
  const { code, stdout } = await onTerminal(args).output();
  assertEquals(code, 0);
  return new TextDecoder().decode(stdout);
}

Deno.test(
  "generate on a terminal: text appears while it is written, characters whole, until Ctrl-C",
  { ignore },
  () =>
    withTempDir(async (folder) => {
      await writeRecitingModel(folder, BYTES, { max_position_embeddings: 2 ** 30 });
      // Nobody waits for its end: what appears, appears before it.
      const command = ["generate", folder, "--prompt", ">a", "--max-tokens", `${2 ** 30}`, "--device", "cpu"];
      await using terminal = onTerminal(command);
      const decoder = new TextDecoder(), whole = `>${SAID.repeat(1000)}`, typing = terminal.stdin.getWriter();
      let text = "", isInterrupted = false;
      for await (const chunk of terminal.stdout) {
        text += decoder.decode(chunk, { stream: true });
        if (isInterrupted || text.length <= 3 * SAID.length) continue;
        assert(whole.startsWith(text.slice(0, whole.length)), text);
        isInterrupted = true;
        await typing.write(Uint8Array.of(3));
      }
      assert(isInterrupted, text);
      assertEquals((await terminal.status).code, 130, text);
    }),
);

Deno.test(
  "generate: a stop text is cut off where it begins, on a terminal and elsewhere",
  { ignore },
  () =>
    withTempDir(async (folder) => {
      await writeRecitingModel(folder, BYTES);
      // Its first character has four tokens of its own.
      const args = ["generate", folder, "--prompt", "a", "--stop", "🙂d", "--max-tokens", "40", "--device", "cpu"];
      assertEquals(await shown(args), "añ中\r\n");
      assertEquals((await xft(args)).stdout, "añ中\n");
      const { stdout } = await xft([...args, "--json"]);
      const [{ text, finished }] = JSON.parse(stdout.trim().split("\n").at(-1)!).results;
      assertEquals([text, finished], ["ñ中", "stop"]);
      // A stop text that does not come in the end is shown.
      assertEquals(await shown(args.with(5, "🙂d!").with(7, "10")), "añ中🙂d\r\n");
    }),
);
