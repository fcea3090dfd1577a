/** @file Commands in bubblewrap: what they reach, what ends them, and that nothing stays. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { UserError } from "../../../dsl/errors.ts";
import { type Confined, type Confinement, runConfined, whyNotConfined } from "./bwrap.ts";

const reason = await whyNotConfined();
if (reason !== undefined) console.error(`not confined here, its tests are skipped: ${reason}`);

/**
 * A test that needs bubblewrap; skipped, with the reason above, where commands cannot be confined. It may run the shell,
 * know the user, and nothing else: limits hold for those, too, whom Deno does not let look at other processes.
 */
function confined(name: string, run: (test: Deno.TestContext) => Promise<void>): void {
  Deno.test({ name, ignore: reason !== undefined, permissions: { run: ["/bin/sh"], sys: ["uid"] }, fn: run });
}

const sleep = (milliseconds: number): Promise<void> => new Promise((done) => setTimeout(done, milliseconds));
const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
const shell = (script: string, more: Confinement = {}): Promise<Confined> =>
  runConfined(["/bin/sh", "-c", script], more);
const python = (code: string, more: Confinement = {}): Promise<Confined> =>
  runConfined(["/usr/bin/python3", "main.py"], { ...more, files: { "main.py": code } });

/** Processes of this machine whose command line holds the text, which is no part of the searching one's. */
async function processesWith(mark: string): Promise<string[]> {
  const args = ["-c", "grep -laFf - /proc/[0-9]*/cmdline 2>/dev/null"];
  const searching = new Deno.Command("/bin/sh", { args, stdin: "piped", stdout: "piped" }).spawn();
  const output = searching.output(), writer = searching.stdin.getWriter();
  await writer.write(new TextEncoder().encode(`${mark}\n`));
  await writer.close();
  return text((await output).stdout).split("\n").filter((path) => path !== "");
}

/** Fails where processes with the text stay; bubblewrap's end ends its namespace, and clearing that takes a moment. */
async function noneWith(mark: string): Promise<void> {
  for (let tries = 0; (await processesWith(mark)).length > 0 && tries < 100; tries++) await sleep(50);
  assertEquals(await processesWith(mark), []);
}

confined("a confined command gets files and input, and its outputs and status come back", async () => {
  const files = { "a b/c.txt": "one\n", "zeros": new Uint8Array(100_000) };
  const done = await shell("cat 'a b/c.txt'; wc -c < zeros; cat; echo bad >&2; exit 7", { files, stdin: "two" });
  assertEquals([done.why, done.code, text(done.stdout), text(done.stderr)], ["ended", 7, "one\n100000\ntwo", "bad\n"]);
  assertEquals((await shell("kill -9 $$")).code, 137);
  await assertRejects(() => shell("true", { files: { "../x": "" } }), UserError, "below its working folder");
});

confined("a confined command has no right, no network, no other's files and no other's processes", async () => {
  const status = text((await shell("cat /proc/self/status")).stdout);
  for (const line of [/CapEff:\s0+\n/, /CapBnd:\s0+\n/, /NoNewPrivs:\s1/, /Seccomp:\s2/]) {
    assert(line.test(status), `${line} in ${status}`);
  }
  const refused = [
    ...["touch /x", "touch /dev/x", "touch /usr/x", "touch /etc/x", "ls /root", "ls /home", "cat /etc/passwd"],
    ...["unshare -r true", "mount -t tmpfs none /work", "kill -9 1"],
  ];
  for (const command of refused) assert((await shell(command)).code !== 0, command);
  const seen = await shell("ls /proc | grep -c '^[0-9]'; grep -vc lo: /proc/net/dev; env");
  const [processes, interfaces, ...environment] = text(seen.stdout).trim().split("\n");
  assert(Number(processes) < 10, processes);
  assertEquals(interfaces, "2"); // the table's two lines of heads
  assertEquals(environment.map((line) => line.split("=")[0]).sort(), ["HOME", "LANG", "PATH", "PWD", "TMPDIR"]);
});

confined("the filter refuses calls that reach past namespaces", async () => {
  const code = `
import ctypes, socket
call = ctypes.CDLL(None, use_errno=True)
def errno_of(run):
    return ctypes.get_errno() if run() == -1 else 0
print(errno_of(lambda: call.ptrace(0, 0, 0, 0)), errno_of(lambda: call.unshare(0x10000000)),
      errno_of(lambda: call.memfd_create(b"x", 0)))
for family in (38, 40, 16, 17):
    try: socket.socket(family, socket.SOCK_STREAM if family == 40 else socket.SOCK_RAW); print("open")
    except OSError as error: print(error.errno)
socket.socket(socket.AF_INET)
try: socket.create_connection(("1.1.1.1", 53), 1)
except OSError as error: print(error.errno)
`;
  const { stdout, stderr } = await python(code);
  assertEquals(text(stdout), "1 1 1\n97\n97\n97\n97\n101\n", text(stderr));
});

const endings: Record<string, [code: string, more: Confinement, why: Confined["why"]]> = {
  "an endless loop": ["while True: pass", { seconds: 0.5 }, "time"],
  "a sleep that ignores signals": [
    "import signal, time\nfor n in (2, 15, 1): signal.signal(n, signal.SIG_IGN)\ntime.sleep(100)",
    { seconds: 0.5 },
    "time",
  ],
  "endless output": ["while True: print('x' * 10000)", {}, "output"],
  "endless errors": ["import os\nwhile True: os.write(2, b'x' * 10000)", {}, "output"],
  "a memory bomb": [
    "x = []\nwhile True: x.append(bytes(10**6))",
    { limitAddressSpace: false, megabytes: 128, seconds: 60 },
    "memory",
  ],
  "a memory bomb of many": [
    "import os, time\nfor _ in range(4):\n  if os.fork() == 0:\n    x = b'x' * (6 * 10**7)\n    time.sleep(60)\ntime.sleep(60)",
    { megabytes: 128, seconds: 60 },
    "memory",
  ],
};

confined("what does not end is ended, for a reason, with all its processes", async (test) => {
  for (const [name, [code, more, why]] of Object.entries(endings)) {
    await test.step(name, async () => {
      const mark = `mark-${crypto.randomUUID()}`;
      const ended = await runConfined(["/usr/bin/python3", "main.py", mark], { ...more, files: { "main.py": code } });
      assertEquals([ended.why, ended.code], [why, 137]);
      assert(ended.stdout.length <= 4 * 2 ** 20 && ended.stderr.length <= 4 * 2 ** 20);
      await noneWith(mark);
    });
  }
});

confined("limits of the kernel are errors inside: address space, processes, size of files", async () => {
  const code = `
import os, time
try: bytes(2 * 10**9)
except MemoryError: print("memory")
count = 0
try:
    while True:
        if os.fork() == 0: time.sleep(60); os._exit(0)
        count += 1
except OSError: print("processes", count < 64)
try:
    with open("/work/x", "wb") as file:
        while True: file.write(bytes(10**6))
except OSError: print("files")
`;
  const { why, stdout } = await python(code, { seconds: 60 });
  assertEquals([why, text(stdout)], ["ended", "memory\nprocesses True\nfiles\n"]);
});

confined("children that stay behind end with the command, and no file outlives it", async () => {
  const mark = `mark-${crypto.randomUUID()}`;
  const code = `
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0: time.sleep(1000)
    os._exit(0)
open("/tmp/left-${mark}", "w").write("x")
`;
  const { why, code: status } = await runConfined(["/usr/bin/python3", "main.py", mark], {
    files: { "main.py": code },
  });
  assertEquals([why, status], ["ended", 0]);
  await noneWith(mark);
  assertEquals((await shell(`ls /tmp/left-${mark}`)).code, 2);
});

confined("a command can be ended at any moment, while bubblewrap starts, too", async () => {
  const mark = `mark-${crypto.randomUUID()}`;
  for (let i = 0; i < 60; i++) {
    const ended = new AbortController();
    const ending = runConfined(["/bin/sh", "-c", `cat # ${mark}`], {
      stdin: new Promise(() => {}),
      seconds: 1e5,
      signal: ended.signal,
    });
    await sleep(i % 12);
    if (i === 11) assert((await processesWith(mark)).length > 0);
    ended.abort();
    const why = await Promise.race([ending.then(({ why }) => why), sleep(20_000).then(() => "it runs on")]);
    assertEquals(why, "time", `ended after ${i % 12} ms`);
  }
  await noneWith(mark);
});

Deno.test({
  name: "a confined command ends with the process that asked for it, however that ends",
  ignore: reason !== undefined,
  async fn() {
    const mark = `mark-${crypto.randomUUID()}`, module = import.meta.resolve("./bwrap.ts");
    const code = `import { runConfined } from "${module}";
      await runConfined(["/bin/sh", "-c", "while :; do :; done # ${mark}"], { seconds: 1e5 });`;
    // The code comes in by the standard input: the command line of this one is without the mark.
    const args = ["run", "--quiet", "--allow-run=/bin/sh", "--allow-sys=uid", "-"];
    const asking = new Deno.Command(Deno.execPath(), { args, stdin: "piped" }).spawn();
    const writer = asking.stdin.getWriter();
    await writer.write(new TextEncoder().encode(code));
    await writer.close();
    for (let tries = 0; (await processesWith(mark)).length === 0 && tries < 400; tries++) await sleep(50);
    assert((await processesWith(mark)).length > 0);
    asking.kill("SIGKILL");
    await asking.status;
    await noneWith(mark);
  },
});
