/** @file The files that a user's own objective is made of. */
import { existsSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { fileURLToPath } from "node:url";

/** What a module imports by a relative path. */
const IMPORTED = /\b(?:from|import)\s*\(?\s*["'](\.{1,2}\/[^"']+)["']/g;

/** This program's own modules: they are no part of what a user writes. */
const ROOM = new URL("../../", import.meta.url);
const own = ROOM.protocol === "file:" ? fileURLToPath(ROOM) : undefined;

/**
 * An objective's file and, one by one, what it imports by relative paths; this program's modules, and what comes from an
 * address, left out.
 */
export function filesOf(objective: string): string[] {
  const files = new Set([resolve(objective)]);
  for (const file of files) {
    for (const [, path] of Deno.readTextFileSync(file).matchAll(IMPORTED)) {
      const imported = resolve(dirname(file), path);
      if (!(own && imported.startsWith(own)) && existsSync(imported)) files.add(imported);
    }
  }
  return [...files];
}
