/** @file The page that leads through the code names files that are there, and each way only goes on. */
import { assert, assertEquals } from "@std/assert";
import { checkout } from "../support.ts";

const page = Deno.readTextFileSync(checkout("docs/architecture.md"));

Deno.test("docs/architecture.md: every file and folder that is named is there", () => {
  const named = [...page.matchAll(/`((?:dsl|backend|recipes|tests|bench)\/[^`\s]*)`/g)].map(([, path]) => path);
  assert(named.length > 40);
  const missing = named.filter((path) => {
    try {
      return Deno.statSync(checkout(path)).isDirectory !== path.endsWith("/");
    } catch {
      return true;
    }
  });
  assertEquals(missing, []);
});

Deno.test("docs/architecture.md: the compiler's passes stand there in the pipeline's order", () => {
  const order = Deno.readTextFileSync(checkout("backend/compiler/pipeline.ts")).match(/trace .*→ emit/)![0]
    .split(" → ").slice(1).join(", ");
  assert(page.replaceAll(/\s+/g, " ").includes(order), order);
});
