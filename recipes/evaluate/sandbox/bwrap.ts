/**
 * @file Runs one command that nobody has read in bubblewrap: no network, a read-only system, files in memory.
 *
 * Around the command stand (1) namespaces of its own for mounts, processes, network, IPC and names, (2) a user without
 * any right, (3) a seccomp filter, (4) limits of the kernel on processor time, processes, file sizes and, where wanted,
 * address space, (5) a watch from outside on wall-clock time, memory of all its processes together, and output. When it
 * ends, however it ends, its process namespace ends with it, and nothing it wrote outlives it.
 */
import { UserError } from "../../../dsl/errors.ts";
import { join } from "../bytes.ts";
import { seccompFilter } from "./seccomp.ts";

/** What a confined command gets and how far it may go. */
export interface Confinement {
  /** Files in the command's working folder (`/work`, in memory, writable), by relative path. */
  readonly files?: Readonly<Record<string, string | Uint8Array>>;
  /** Its standard input; a promise lets it start and wait, at no cost of its time. Default: empty. */
  readonly stdin?: string | Uint8Array | Promise<string | Uint8Array>;
  /** Called with what it writes, as it comes. */
  readonly onStdout?: (chunk: Uint8Array) => void;
  /** Ends it, for its time, when aborted. */
  readonly signal?: AbortSignal;
  /** Wall-clock limit, from when its input is there. Default 10. */
  readonly seconds?: number;
  /** Memory of all its processes together; its files may take half as much beside it. Default 1024. */
  readonly megabytes?: number;
  /**
   * Whether each process's address space is limited to `megabytes`, too: a large allocation then fails at once. Off for
   * runtimes that reserve more than they use (Java, Go, Deno). Default true.
   */
  readonly limitAddressSpace?: boolean;
  /** Processes and threads at the same time. Default 64. */
  readonly processes?: number;
  /** Bytes of each of the two outputs. Default 4 MiB. */
  readonly outputBytes?: number;
  /** Folders and files of the machine that it may read at the same place, beside the system's own. */
  readonly readable?: readonly string[];
  /** Environment variables; `PATH`, `HOME`, `TMPDIR` and `LANG` are set in any case. */
  readonly environment?: Readonly<Record<string, string>>;
}

/**
 * How a confined command ended. `why`: `ended` by itself (`code` is its own; 128 + n where signal n ended it), or was
 * ended for its `time`, `memory` or `output`.
 */
export interface Confined {
  /** Exit status; 137 where it was ended from outside. */
  readonly code: number;
  /** What it wrote, cut at the limit. */
  readonly stdout: Uint8Array<ArrayBuffer>;
  /** What it wrote to its error output, cut at the limit. */
  readonly stderr: Uint8Array<ArrayBuffer>;
  /** What ended it. */
  readonly why: "ended" | "time" | "memory" | "output";
  /** Wall-clock seconds. */
  readonly seconds: number;
}

const mebibyte = 2 ** 20;
/** Read-only parts of the system; those that are missing are left out. */
const system = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"].concat(
  ["alternatives", "ld.so.cache", "localtime", "ssl", "fonts", "php", "java-11-openjdk", "java-17-openjdk"]
    .map((name) => `/etc/${name}`),
);

/** Why no command can be confined here; undefined where it can. Asked once in a process. */
export function whyNotConfined(): Promise<string | undefined> {
  return answer ??= probe();
}
let answer: Promise<string | undefined> | undefined;

async function probe(): Promise<string | undefined> {
  if (Deno.build.os !== "linux") return `bubblewrap needs Linux, this is ${Deno.build.os}`;
  try {
    const { code, stderr } = await runConfined(["/bin/true"], { seconds: 30 });
    if (code === 0) return undefined;
    const text = new TextDecoder().decode(stderr).trim().split("\n")[0];
    return /bwrap.*not found/.test(text)
      ? "bubblewrap is not installed (Debian and Ubuntu: apt-get install bubblewrap)"
      : `bubblewrap cannot confine commands here: ${text || `exit status ${code}`}`;
  } catch (error) {
    return (error as Error).message;
  }
}

/**
 * Runs a command in bubblewrap. It never rejects for anything that the command does.
 *
 * @throws UserError without the permissions to run `/bin/sh` and to know the user, or for a file whose path leaves the working folder
 *
 * @example
 * ```ts ignore
 * import { runConfined } from "./bwrap.ts";
 * const { code, stdout, why } = await runConfined(["python3", "main.py"], {
 *   files: { "main.py": "print(sum(map(int, input().split())))" },
 *   stdin: "1 2 3\n",
 *   seconds: 5,
 *   megabytes: 256,
 * });
 * console.log(why, code, new TextDecoder().decode(stdout)); // ended 0 6
 * ```
 */
export async function runConfined(command: readonly string[], confinement: Confinement = {}): Promise<Confined> {
  const files = Object.entries(confinement.files ?? {});
  for (const [path] of files) {
    if (path.startsWith("/") || path.split("/").some((part) => part === "" || part === "." || part === "..")) {
      throw new UserError(`${path}: a confined command's file is named by a path below its working folder.`);
    }
  }
  const { seconds = 10, megabytes = 1024, outputBytes = 4 * mebibyte } = confinement;
  let began = performance.now();
  const process = spawn(command, files, confinement);
  let gone = false;
  let why: Confined["why"] = "ended";
  const end = (reason: Exclude<Confined["why"], "ended">): void => {
    if (gone) return;
    if (why === "ended") why = reason;
    kill(process);
  };
  const late = (): void => end("time");
  confinement.signal?.addEventListener("abort", late);
  let timer: ReturnType<typeof setTimeout> | undefined;
  const begin = (): void => {
    began = performance.now();
    timer = setTimeout(late, seconds * 1000);
    watch();
  };
  const watch = async (): Promise<void> => {
    do await new Promise((done) => setTimeout(done, 50)); while (
      !gone && await memoryOf(process) <= megabytes * mebibyte
    );
    end("memory");
  };
  try {
    const writing = feed(process, files, confinement.stdin, begin);
    const [stdout, stderr, status] = await Promise.all([
      read(process.stdout, outputBytes, () => end("output"), confinement.onStdout),
      read(process.stderr, outputBytes, () => end("output")),
      process.status.finally(() => gone = true),
    ]);
    if (timer !== undefined) await writing;
    // The kernel counts processor time, too: where several threads spend it, its signal comes before ours.
    if (why === "ended" && status.code === 128 + 24) why = "time";
    const code = why === "ended" ? status.code : 137;
    return { code, stdout, stderr, why, seconds: (performance.now() - began) / 1000 };
  } finally {
    confinement.signal?.removeEventListener("abort", late);
    clearTimeout(timer);
  }
}

type Process = Deno.ChildProcess;

/**
 * Reads the files off the standard input, one after the other, then becomes the command, whose input the rest is.
 * (`head -c` reads not a byte more than it is told.) Arguments: count of files, (path, bytes) each, the command.
 */
const unpackAndRun = `
left=$1; shift
while [ "$left" -gt 0 ]; do
  case $1 in */*) mkdir -p "\${1%/*}" ;; esac
  head -c "$2" > "$1" || exit 125
  shift 2; left=$((left - 1))
done
exec "$@"`;

function spawn(
  command: readonly string[],
  files: readonly (readonly [string, string | Uint8Array])[],
  confinement: Confinement,
): Process {
  const isRoot = permitted(Deno.uid) === 0;
  // One user for each command: what others run is not counted against its processes, and it can signal none of them.
  const user = isRoot ? 100_000 + crypto.getRandomValues(new Uint32Array(1))[0] % 2 ** 30 : 65534;
  const identity = isRoot
    ? ["setpriv", `--reuid=${user}`, `--regid=${user}`, "--clear-groups", "--bounding-set=-all", "--inh-caps=-all"]
    : [];
  const inside = [
    ...[...identity, "prlimit", ...limitsOf(confinement), "--", "/bin/sh", "-c", unpackAndRun, "sh"],
    String(files.length),
    ...files.flatMap(([path, content]) => [`./${path}`, String(bytesOf(content).length)]),
    ...command,
  ];
  // The filter comes through a pipe on descriptor 3: no file has to lie anywhere.
  const filter = Array.from(seccompFilter(), (byte) => `\\${byte.toString(8).padStart(3, "0")}`).join("");
  const script = `exec 4<&0; printf '${filter}' | bwrap "$@" 3<&0 0<&4 4<&-`;
  // Whatever ends this process ends the shell, that bubblewrap, and that all within.
  const mortal = 'exec setpriv --pdeathsig KILL /bin/sh -c "$@"';
  const shell = new Deno.Command("/bin/sh", {
    args: ["-c", mortal, "sh", script, "sh", ...walls(confinement, isRoot, user), "--", ...inside],
    clearEnv: true,
    env: { PATH: programFolders },
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
    // A group of its own, so that one signal reaches all, and a session of its own, which has no terminal.
    detached: true,
  });
  return permitted(() => shell.spawn());
}

/** Does what needs a permission; where it is not given, the error names those that confined commands need. */
function permitted<T>(run: () => T): T {
  try {
    return run();
  } catch (error) {
    if (!(error instanceof Deno.errors.NotCapable)) throw error;
    throw new UserError("confined commands need --allow-run=/bin/sh and --allow-sys=uid", { cause: error });
  }
}

const programFolders = "/usr/local/bin:/usr/bin:/bin";

/** Bytes of files that a command may write. */
const fileBytesOf = ({ megabytes = 1024 }: Confinement): number => Math.ceil(megabytes / 2) * mebibyte;

/** prlimit's arguments. */
function limitsOf(confinement: Confinement): string[] {
  const { seconds = 10, megabytes = 1024, processes = 64, limitAddressSpace = true } = confinement;
  return [
    `--cpu=${Math.ceil(seconds * 4)}`,
    `--nproc=${processes}`,
    `--fsize=${fileBytesOf(confinement)}`,
    "--core=0",
    "--nofile=256",
    "--memlock=0",
    ...(limitAddressSpace ? [`--as=${megabytes * mebibyte}`] : []),
  ];
}

/** bubblewrap's arguments: what the command is cut off from, and what it sees. */
function walls(confinement: Confinement, isRoot: boolean, user: number): string[] {
  const { readable = [] } = confinement;
  const environment = {
    PATH: programFolders,
    HOME: "/work",
    TMPDIR: "/work",
    LANG: "C.UTF-8",
    ...confinement.environment,
  };
  return [
    ...["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"],
    ...["--die-with-parent", "--hostname", "confined", "--clearenv"],
    // Root needs no user namespace, which many containers forbid; it becomes another user inside.
    ...(isRoot
      ? ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID", "--cap-add", "CAP_SETPCAP"]
      : ["--unshare-user", "--uid", String(user), "--gid", String(user), "--cap-drop", "ALL"]),
    // What bubblewrap makes by itself on the way to a mount, only the user who started it can enter.
    ...["/etc", ...readable.flatMap(above)].flatMap((path) => ["--perms", "0755", "--dir", path]),
    ...system.flatMap((path) => ["--ro-bind-try", path, path]),
    ...readable.flatMap((path) => ["--ro-bind", path, path]),
    ...["--proc", "/proc", "--dev", "/dev", "--size", String(16 * mebibyte), "--perms", "0777", "--tmpfs", "/dev/shm"],
    ...["--size", String(fileBytesOf(confinement)), "--perms", "0777", "--tmpfs", "/work", "--symlink", "work", "/tmp"],
    ...["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/work", "--seccomp", "3"],
    ...Object.entries(environment).flatMap(([name, value]) => ["--setenv", name, value]),
  ];
}

/** The folders above a path, the outermost first. */
function above(path: string): string[] {
  const parts = path.split("/").slice(1, -1);
  return parts.map((_, i) => "/" + parts.slice(0, i + 1).join("/"));
}

function bytesOf(content: string | Uint8Array): Uint8Array {
  return typeof content === "string" ? new TextEncoder().encode(content) : content;
}

/** Writes the files and the input; a command that does not read them is no error. */
async function feed(
  process: Process,
  files: readonly (readonly [string, string | Uint8Array])[],
  stdin: Confinement["stdin"] = "",
  begin: () => void,
): Promise<void> {
  const writer = process.stdin.getWriter();
  try {
    for (const [, content] of files) await writer.write(bytesOf(content));
    const input = bytesOf(await stdin);
    begin();
    await writer.write(input);
    await writer.close();
  } catch {
    await writer.abort().catch(() => {});
  }
}

/** Reads a stream up to the limit; past it, calls `tooMuch` and reads no further. */
async function read(
  stream: ReadableStream<Uint8Array>,
  limit: number,
  tooMuch: () => void,
  onChunk?: (chunk: Uint8Array) => void,
): Promise<Uint8Array<ArrayBuffer>> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of stream) {
    chunks.push(chunk.subarray(0, limit - length));
    onChunk?.(chunks.at(-1)!);
    length += chunks.at(-1)!.length;
    if (chunk.length > chunks.at(-1)!.length) {
      tooMuch();
      break;
    }
  }
  return join(chunks);
}

/**
 * Ends the shell, bubblewrap and the first process of its namespace, which are one group: the kernel lets nobody fork out
 * of it meanwhile. Every other process there ends with that first one.
 *
 * The shell sends the signal: Deno would ask for the permission to run everything.
 */
function kill({ pid }: Process): void {
  shell('kill -s KILL -- "-$1"', pid).outputSync();
}

/** Adds up the pages of a process and of all below it; what ends meanwhile counts nothing. */
const addPages = `
pages=0
add() {
  { read -r _ held _ < "/proc/$1/statm"; } 2>/dev/null && pages=$((pages + held))
  for task in "/proc/$1/task/"*/children; do
    children=
    { read -r children < "$task"; } 2>/dev/null
    for child in $children; do add "$child"; done
  done
}
add "$1"
echo $((pages * 4096))`;

/** Bytes that a process and all below it hold in memory. The shell asks: Deno would want every permission there is. */
async function memoryOf({ pid }: Process): Promise<number> {
  const { stdout } = await shell(addPages, pid).output();
  return Number(new TextDecoder().decode(stdout));
}

/** A script of the shell about a process. */
function shell(script: string, processId: number): Deno.Command {
  return new Deno.Command("/bin/sh", { args: ["-c", script, "sh", String(processId)], clearEnv: true, stdin: "null" });
}
