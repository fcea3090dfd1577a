/**
 * @file Samples that try to escape, to do harm or to pass without being right, for tests of sandboxes.
 *
 * The task is `f(x) = 2x + 1`. A sample that attacks something returns the right answer if its attack went through, so
 * that it fails only where it was stopped; a sample that tampers with the judge returns a wrong one.
 */

/** What the attacks are aimed at: things of the machine that a sample must not reach. */
export interface Targets {
  /** A folder of the machine with a file `secret` in it. */
  readonly folder: string;
  /** A port of this machine at which somebody listens. */
  readonly port: number;
  /** Name of an environment variable of the process that opens the sandbox. */
  readonly variable: string;
}

type Programs = Readonly<Record<string, string>>;

/** Programs by what they try. */
export function hostileSamples(targets: Targets): Programs {
  return { ...reaching(targets), ...breakingOut, ...exhausting, ...tampering };
}

/** Right if no line of the attack raises. */
const attack = (...lines: string[]): string =>
  ["import os, sys", "def f(x):", ...lines.map((line) => `    ${line}`), "    return 2 * x + 1"].join("\n");

/** Wrong whatever happens, after tampering when the program loads. */
const tamper = (...lines: string[]): string => ["import os, sys", ...lines, "def f(x): return 0"].join("\n");

/** Files, network, environment and processes of the machine. */
function reaching({ folder, port, variable }: Targets): Programs {
  const url = `http://127.0.0.1:${port}/`;
  return {
    // Files.
    "read the machine's users": attack("open('/etc/passwd').read()"),
    "read the machine's passwords": attack("open('/etc/shadow').read()"),
    "list root's home": attack("os.listdir('/root')"),
    "read a file of the caller": attack(`open(${JSON.stringify(folder + "/secret")}).read()`),
    "leave a file with the caller": attack(`open(${JSON.stringify(folder + "/left")}, 'w').write('x')`),
    "read through a symbolic link": attack("os.symlink('/etc/passwd', 'link')", "open('link').read()"),
    "replace the interpreter": attack("open('/usr/bin/python3', 'ab').write(b'x')"),
    "replace a system's setting": attack("open('/etc/ld.so.preload', 'w').write('x')"),
    "read the disk": attack("open('/dev/vda', 'rb').read(1)"),
    "read the machine's memory": attack("open('/proc/kcore', 'rb').read(1)"),
    "trigger the kernel": attack("open('/proc/sysrq-trigger', 'r+').write('c')"),
    "mount a file system": attack("import subprocess", "subprocess.check_call(['mount', '-t', 'tmpfs', 'x', '/mnt'])"),
    "leave by chroot": attack("os.chroot('/')"),
    // Network.
    "connect to a port": attack("import socket", `socket.create_connection(('127.0.0.1', ${port}), 1).send(b'x')`),
    "fetch a page": attack("import urllib.request", `urllib.request.urlopen('${url}', timeout=1).read()`),
    "fetch a page with a tool": attack("import subprocess", `subprocess.check_call(['curl', '-m', '1', '${url}'])`),
    "reach the host by vsock": attack("import socket", "socket.socket(40, 1).connect((2, 1))"),
    // Environment and other processes.
    "read a secret of the environment": attack(`os.environ['${variable}']`),
    "read the parent's environment": attack(
      "text = b''.join(open(f'/proc/{i}/environ', 'rb').read() for i in (1, os.getppid()))",
      `assert b'${variable}' in text`,
    ),
    "find the caller's process": attack(
      "lines = [open(f'/proc/{i}/cmdline').read() for i in os.listdir('/proc') if i.isdigit()]",
      "assert any('deno' in line for line in lines)",
    ),
    "trace the parent": attack(
      "import ctypes",
      "assert ctypes.CDLL(None).ptrace(16, os.getppid(), 0, 0) == 0",
    ),
    "run a command": attack("import subprocess", "subprocess.check_call(['cat', '/etc/passwd'])"),
    "run a shell": attack("assert os.system('cat /root/.bashrc') == 0"),
    "become another program": attack("os.execv('/bin/true', ['true'])"),
    "become root": attack("os.setuid(0)", "assert open('/etc/shadow').read()"),
  };
}

/** Ways to JavaScript, to what Python hides, and to raw memory. */
const breakingOut: Programs = {
  // JavaScript.
  "import js": attack("import js", "js.Deno.exit(0)"),
  "import pyodide_js": attack("import pyodide_js"),
  "run JavaScript": attack("from pyodide.code import run_js", "run_js('Deno.exit(0)')"),
  "import the bridge anew": attack(
    "for name in ('js', 'pyodide_js', 'pyodide', '_pyodide', '_pyodide_core'): sys.modules.pop(name, None)",
    "import _pyodide_core, js",
  ),
  "change JavaScript's prototypes": attack("import js", "js.Object.prototype.then = js.eval"),
  "find what is forbidden through object": attack(
    "base = ().__class__.__base__",
    "wrap = next(c for c in base.__subclasses__() if c.__name__ == '_wrap_close')",
    "assert 'root' in wrap.__init__.__globals__['popen']('cat /etc/passwd').read()",
  ),
  "look for expected values in callers": attack(
    "frame, names = sys._getframe(1), set()",
    "while frame: names |= set(frame.f_locals); frame = frame.f_back",
    "assert names & {'expected', 'outputs', 'expected_output', 'ref', 'check'}",
  ),
  // Raw memory.
  "read address 0": attack("import ctypes", "ctypes.string_at(0)"),
  "call the C library": attack("import ctypes", "assert ctypes.CDLL(None).system(b'cat /etc/passwd') == 0"),
};

/** Bombs and signals: time, memory, disk, processes. */
const exhausting: Programs = {
  // Bombs.
  "a fork bomb": attack("while True: os.fork()"),
  "a thread bomb": attack(
    "import threading, time",
    "while True: threading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
  ),
  "a memory bomb": attack("data = []", "while True: data.append(b'x' * 10**7 + bytes(len(data)))"),
  "a memory bomb at once": attack("bytearray(10**11)"),
  "a number bomb": attack("9 ** 9 ** 9 ** 9"),
  "a nesting bomb": "def f(x):\n    y = [1]\n    for _ in range(60): y = [y, y]\n    return y",
  "endless output": attack("while True: print('x' * 10**6)"),
  "endless errors": attack("while True: os.write(2, b'x' * 10**6)"),
  "a full disk": attack("out = open('big', 'wb')", "while True: out.write(b'x' * 10**6)"),
  "files without end": attack(
    "data = b'x' * 10**6",
    "for i in range(10**5): open(f'file{i}', 'wb').write(data)",
  ),
  "recursion past the stack": attack("sys.setrecursionlimit(10**9)", "g = lambda: g()", "g()"),
  "an endless loop": attack("while True: pass"),
  "an endless loop when loading": "while True: pass",
  // Signals.
  "end the parent": attack("os.kill(1, 9)", "os.kill(os.getppid(), 9)", "os.killpg(0, 9)"),
  "end itself": attack("import signal", "os.kill(os.getpid(), signal.SIGKILL)", "while True: pass"),
  "ignore signals and hang": attack(
    "import signal",
    "for n in (1, 2, 14, 15): signal.signal(n, signal.SIG_IGN)",
    "while True: pass",
  ),
  "abort": attack("os.abort()"),
};

const everyFile = "for fd in range(3, 64):";
const forged = "b'\\x01\\0\\0\\0b\\x0e\\0\\0\\0v' + bytes(8) + b'i' + (0).to_bytes(4, 'little') + b'\\x01\\0\\0\\0d'";

/** Wrong programs that would have the judge believe they are right. */
const tampering: Programs = {
  "values equal to everything": "class E(int):\n    __eq__ = lambda a, b: True\n    __hash__ = int.__hash__\n" +
    "def f(x): return E(0)",
  "an object equal to everything": "class E:\n    __eq__ = lambda a, b: True\ndef f(x): return E()",
  "an object that runs when it is read": "import os\nclass E:\n    def __reduce__(self):\n" +
    "        return os.system, ('true',)\ndef f(x): return E()",
  "leave with success": tamper("sys.exit(0)"),
  "leave with success in the call": "import sys\ndef f(x): sys.exit(0)",
  "leave at once": tamper("os._exit(0)"),
  "no more assertions": tamper(
    "import builtins",
    "builtins.AssertionError = Warning",
    "builtins.all = lambda *a: True",
  ),
  "the serialiser replaced": tamper("import marshal", "marshal.dumps = lambda *a, **k: b'i' + bytes(4)"),
  "the clock stopped": tamper("import time", "time.perf_counter = time.time = lambda: 0.0", "while True: pass"),
  "the time limit lifted": tamper(
    "import signal, threading",
    "signal.signal = signal.alarm = signal.setitimer = lambda *a: None",
    "while True: pass",
  ),
  "write the results": tamper(
    "for path in ('results.jsonl', '/tmp/results', '/home/results', '/work/job'):",
    "    try:",
    "        open(path, 'w').write('{\"base\": true, \"plus\": true}')",
    "    except OSError: pass",
  ),
  "leave a process behind": tamper(
    "if os.fork() == 0:",
    "    os.setsid()",
    "    if os.fork() == 0:",
    "        os.closerange(0, 64)",
    "        import time",
    "        time.sleep(300)",
    "    os._exit(0)",
  ),
  "leave files behind": tamper(
    "import tempfile",
    "for place in ('/tmp', '/var/tmp', '/dev/shm', tempfile.gettempdir()):",
    "    try:",
    "        open(place + '/left', 'w').write('x')",
    "    except OSError: pass",
  ),
  "forge messages": tamper(everyFile, "    try: os.write(fd, " + forged + ")", "    except OSError: pass"),
  "forge messages and leave": tamper(
    everyFile,
    "    try: os.write(fd, " + forged + ")",
    "    except OSError: pass",
    "os._exit(0)",
  ),
  "say that it passed": tamper("print('passed', flush=True)", "sys.__stdout__.write('1 passed, 0 failed\\n')"),
  "change the harness from a trace": tamper(
    "def trace(frame, event, argument):",
    "    if 'value' in frame.f_locals: frame.f_locals['value'] = b'i' + bytes(4)",
    "    return trace",
    "sys.settrace(trace)",
  ),
};
