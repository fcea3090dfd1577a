/** @file Every mistake in tests/mistakes is a type error on its own line, and the message names what is wrong. */
import { checkout } from "../support.ts";

/** Errors of `deno check`: the text that goes with each line number. */
function errorsByLine(output: string, file: string): Map<number, string> {
  const errors = new Map<number, string>();
  for (const block of output.split(/(?=TS\d+ \[ERROR\])/).filter((each) => each.startsWith("TS"))) {
    const line = Number(block.match(new RegExp(`${file}:(\\d+):\\d+`))?.[1]);
    errors.set(line, (errors.get(line) ?? "") + block);
  }
  return errors;
}

Deno.test("mistakes with axes and kinds are type errors that name the axis", async () => {
  const path = checkout("tests/mistakes/axes.ts");
  const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["check", "--quiet", "--no-config", "--no-lock", path],
    env: { NO_COLOR: "1" },
  }).output();
  const errors = errorsByLine(new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr), "axes.ts");
  const lines = Deno.readTextFileSync(path).split("\n"), wrong: string[] = [];
  let mistakes = 0;
  lines.forEach((line, i) => {
    const expected = line.match(/^\/\/ (.*) \| (.*)$/);
    if (!expected) return;
    mistakes++;
    // The error may stand on any line of the statement that follows.
    const message = errors.get(i + 2);
    if (!message) wrong.push(`line ${i + 2}, ${expected[1]}: no type error`);
    else if (!message.includes(expected[2])) {
      wrong.push(`line ${i + 2}, ${expected[1]}: the message does not name ${expected[2]}:\n${message}`);
    }
    errors.delete(i + 2);
  });
  for (const [line, message] of errors) wrong.push(`line ${line} has an error that is no mistake of ours:\n${message}`);
  if (mistakes < 20 || wrong.length > 0) throw new Error(wrong.join("\n"));
});
