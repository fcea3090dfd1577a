/**
 * @file `deno task test`: sets this machine up, builds the library, runs every test of both languages and ends with
 * one line that counts them.
 *
 * `--quick` leaves out the set-up, the Rust tests and, where no file is named, the slow ones (`quick.ts`). Further
 * arguments go to `deno test` (files, `--filter`).
 */
import { libraryPath } from "../backend/library/library.ts";
import { prepare, type Prepared } from "./setup.ts";
import { slow } from "./quick.ts";
import { checkout } from "./support.ts";

interface Counts {
  passed: number;
  failed: number;
  skipped: number;
}

/** Runs a command, shows what it prints, and returns its counts as `count` reads them off its text. */
async function run(
  command: string,
  args: string[],
  environment: Record<string, string>,
  count: (text: string) => Counts,
): Promise<Counts> {
  console.error(`\n$ ${[command === Deno.execPath() ? "deno" : command, ...args].join(" ")}`);
  const env = { NO_COLOR: "1", ...environment };
  let child: Deno.ChildProcess;
  try {
    child = new Deno.Command(command, { args, cwd: checkout("."), env, stdout: "piped", stdin: "null" }).spawn();
  } catch (error) {
    console.error(`${command} cannot be run: ${(error as Error).message}`);
    return { passed: 0, failed: 1, skipped: 0 };
  }
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of child.stdout) {
    for (let rest = chunk; rest.length > 0;) rest = rest.subarray(Deno.stdout.writeSync(rest));
    text += decoder.decode(chunk, { stream: true });
  }
  const { code, signal } = await child.status;
  const counts = count(text);
  if (code === 0 || counts.failed > 0) return counts;
  // A file that does not compile runs no test, and a process may die after its summary: failures, too.
  if (signal) console.error(`the test process was ended by ${signal}`);
  counts.failed = 1;
  return counts;
}

function countDeno(text: string): Counts {
  const number = (what: string): number => Number(new RegExp(`(\\d+) ${what}`).exec(summary)?.[1] ?? 0);
  const summary = text.trimEnd().split("\n").findLast((line) => /^(ok|FAILED) \| /.test(line)) ?? "";
  return { passed: number("passed"), failed: number("failed"), skipped: number("ignored") };
}

function countCargo(text: string): Counts {
  const total: Counts = { passed: 0, failed: 0, skipped: 0 };
  for (const [, passed, failed, ignored] of text.matchAll(/^test result: .* (\d+) passed; (\d+) failed; (\d+) ign/gm)) {
    total.passed += Number(passed);
    total.failed += Number(failed);
    total.skipped += Number(ignored);
  }
  return total;
}

const quick = Deno.args.includes("--quick");
const rest = Deno.args.filter((argument) => argument !== "--quick");
const { environment, swiftShader, missing }: Prepared = quick ? { environment: {}, missing: [] } : await prepare();
const results: Counts[] = [];
const library = libraryPath();
if (!quick) {
  const manifest = checkout("backend/native/Cargo.toml");
  const args = ["test", "--release", "--locked", "--quiet", "--manifest-path", manifest];
  results.push(await run("cargo", args, environment, countCargo));
  const translator = [
    "build",
    "--release",
    "--locked",
    "--quiet",
    "--manifest-path",
    checkout("tests/shaders/translate/Cargo.toml"),
  ];
  translator.push("--target-dir", checkout("backend/native/target"));
  results.push(await run("cargo", translator, environment, () => ({ passed: 0, failed: 0, skipped: 0 })));
}
const preload = `--preload=${checkout("tests/preload.ts")}`;
const variables = { ...environment, XFT_LIBRARY: library };
const testing = ["test", "--allow-all", "--quiet", preload, ...(quick ? [] : ["--doc"])];
const fast = `--ignore=${slow.map(checkout).join()}`;
// The fast tests come first: most mistakes are seen within a minute.
for (const chosen of rest.length > 0 ? [rest] : quick ? [[fast]] : [[fast], slow.map(checkout)]) {
  results.push(await run(Deno.execPath(), [...testing, ...chosen], variables, countDeno));
}
if (swiftShader && rest.length === 0) {
  // A slow driver: what tests kernels runs there too, with fewer random programs.
  const names = [
    "primitives/primitives",
    "shaders/half",
    "compiled/moe_step",
    "shaders/rules",
    "random/random_programs",
  ];
  const files = names.map((name) => checkout(`tests/${name}_test.ts`));
  const args = ["test", "--allow-all", "--quiet", preload, ...files, checkout("backend/compiler")];
  const onSwiftShader = { ...swiftShader, XFT_LIBRARY: library, XFT_RANDOM_PROGRAMS: "40" };
  results.push(await run(Deno.execPath(), args, onSwiftShader, countDeno));
}

const sum = (key: keyof Counts): number => results.reduce((total, counts) => total + counts[key], 0);
for (const line of missing) console.log(`not available here, its tests are skipped: ${line}`);
const skipped = sum("skipped") > 0 ? `, ${sum("skipped")} skipped` : "";
console.log(`${sum("passed")} passed, ${sum("failed")} failed${skipped}`);
Deno.exit(sum("failed") > 0 || sum("passed") === 0 ? 1 : 0);
