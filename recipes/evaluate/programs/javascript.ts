/** @file Runs JavaScript and TypeScript in a Deno process that may do nothing: no files, network, processes, environment. */
import { withoutPermissions } from "../sandbox/child.ts";

/**
 * What runs in the process: it takes the program from its input and makes a function of it (as Node's CommonJS does: not
 * strict, with `require`, here of Node's own modules alone). The last line of the function calls `done`, whose name the
 * program cannot know; what it says is the verdict.
 */
const runner = `
import { createRequire } from "node:module";
import process from "node:process";
import "node:assert";
const input = JSON.parse(await new Response(Deno.stdin.readable).text());
const write = Deno.stdout.writeSync.bind(Deno.stdout), encode = TextEncoder.prototype.encode.bind(new TextEncoder());
const exit = Deno.exit.bind(Deno);
const say = (verdict) => { write(encode("\\n" + input.word + " " + verdict + "\\n")); exit(0); };
const native = createRequire("file:///");
const require = (name) => native(String(name).startsWith("node:") ? name : "node:" + name);
Object.defineProperty(Function.prototype, "toString", { value: () => "function", configurable: false });
try {
  const program = new Function("require", "module", "exports", "process", input.done, input.code + "\\n;" + input.done + "();");
  const module = { exports: {} };
  let finished = false;
  program(require, module, module.exports, process, () => { finished = true; });
  say(finished ? "passed" : "it ended before its tests did");
} catch (error) {
  let text = "an error";
  try { text = String(error?.name) + ": " + String(error?.message).slice(0, 300); } catch {}
  say(text.replace(/\\s+/g, " "));
}
`;

/** Runs a program; why it failed, or undefined where it passed. */
export async function runJavaScript(program: string, typed: boolean, seconds: number): Promise<string | undefined> {
  let code = program;
  if (typed) {
    const { checked } = await import("./typescript.ts");
    const result = checked(program);
    if ("error" in result) return result.error;
    code = result.code;
  }
  const word = crypto.randomUUID(), done = `done_${crypto.randomUUID().replaceAll("-", "")}`;
  const child = new Deno.Command(Deno.execPath(), {
    ...withoutPermissions(runner, ["--max-old-space-size=256"]),
    stdin: "piped",
    stdout: "piped",
    stderr: "null",
  }).spawn();
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    child.kill("SIGKILL");
  }, seconds * 1000);
  try {
    const writer = child.stdin.getWriter();
    const feed = writer.write(new TextEncoder().encode(JSON.stringify({ word, done, code }))).then(() =>
      writer.close()
    );
    const [text] = await Promise.all([tail(child.stdout), feed.catch(() => {})]);
    await child.status;
    if (late) return `it took more than ${seconds} s`;
    const verdict = text.split("\n").find((line) => line.startsWith(word))?.slice(word.length + 1);
    if (verdict === undefined) return "it ended its process";
    return verdict === "passed" ? undefined : verdict;
  } finally {
    clearTimeout(timer);
  }
}

/** The last characters of what is printed: the verdict comes at the end. */
async function tail(stream: ReadableStream<Uint8Array>): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of stream) text = (text + decoder.decode(chunk, { stream: true })).slice(-65536);
  return text;
}
