/**
 * @file `deno task test:peers`: one cache for Python's huggingface_hub and for us. What either fetched, the other one
 * finds without asking the hub; both show the token that a login left there.
 */
import { basename, join } from "node:path";
import { assertEquals } from "@std/assert";
import { hubSettings } from "../../recipes/hub/address.ts";
import { startLocalHub } from "../fixtures/local_hub.ts";
import { writeTinyModel } from "../fixtures/tiny_folder.ts";
import { withTempDir, xft } from "../support.ts";
import { ask, python } from "./python.ts";

interface Answer {
  readonly fetched: string;
  readonly found: string;
  readonly token: string;
}

Deno.test(
  "Python's huggingface_hub and we share a cache and a token",
  { ignore: !python },
  () =>
    withTempDir(async (work) => {
      await using hub = startLocalHub({ token: "hf_mine", large: 4000 });
      for (const kind of ["dense", "mixture"] as const) {
        const folder = join(work, kind);
        await writeTinyModel(folder, kind);
        const names = [...Deno.readDirSync(folder)].map(({ name }) => name);
        hub.repositories.set(
          `models/me/${kind}`,
          new Map(names.map((name) => [name, Deno.readFileSync(join(folder, name))])),
        );
      }
      const home = join(work, "home"), variables = { HF_ENDPOINT: hub.endpoint, HF_HOME: home };
      Deno.mkdirSync(home);
      Deno.writeTextFileSync(join(home, "token"), "hf_written\n");

      const sizes = async (model: string, more: Record<string, string> = {}): Promise<unknown> => {
        const { code, stdout, stderr } = await xft(["inspect", model, "--json"], work, { ...variables, ...more });
        assertEquals(code, 0, stderr);
        const { path: _, ...report } = JSON.parse(stdout.trim().split("\n").at(-1)!);
        return report;
      };
      await sizes("hf:me/dense");
      const python = { ...variables, HF_HUB_OFFLINE: "0" };
      const theirs = await ask<Answer>("hub_peer.py", { fetch: "me/mixture", find: "me/dense" }, work, python);
      // Theirs is used by us, ours is found by them: the same places, and nobody asks.
      const asked = hub.asked.length;
      assertEquals(await sizes("hf:me/mixture", { HF_HUB_OFFLINE: "1" }), await sizes(theirs.fetched));
      assertEquals(await sizes(theirs.found), await sizes(join(work, "dense")));
      assertEquals(hub.asked.length, asked);
      assertEquals(basename(join(theirs.found, "..", "..")), "models--me--dense");
      // Files that are there are not fetched again by us.
      await sizes("hf:me/mixture");
      assertEquals(hub.asked.slice(asked).filter((line) => line.includes("/resolve/") && line.startsWith("GET")), []);
      const variable = (name: string): string | undefined => ({ ...variables } as Record<string, string>)[name];
      assertEquals(hubSettings({ variable, text: Deno.readTextFileSync }).token, theirs.token);
      assertEquals(theirs.token, "hf_written");
    }),
);
