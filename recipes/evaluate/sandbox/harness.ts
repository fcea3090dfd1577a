/**
 * @file The Python that runs inside an interpreter: prepared once into the memory image, started once per sample.
 *
 * It knows code, an entry point and inputs. It never knows what is expected: it reports what every call returned, and
 * whoever holds the expected values judges outside. Values travel as `marshal` (version 2): written in C, exact for
 * every built-in type, and refused for anything else.
 */

/** C modules an interpreter does without: bridges to JavaScript and raw memory. `import js` has no module behind it. */
export const withheldModules: readonly string[] = ["_pyodide_core", "_ctypes", "_ctypes_test", "_testcapi"];

/**
 * Runs when the image is made. Modules that solutions use often are imported here, so that a sample finds them ready.
 * Messages on `/dev/xft`, one `os.write` each: `b` a call begins; `v` + float64 seconds + marshal of the value; `h` + the
 * same with the SHA-256 of the marshal, for values longer than the job wants to see; `e` + marshal of (type, message): the call raised; `x` + the same: the code did not load; `d` all is done.
 */
export const preparePython: string = `
import sys, os, gc
for _name in ("js", "pyodide_js", "pyodide", "_pyodide", "_pyodide_core"):
    sys.modules.pop(_name, None)
    sys.modules[_name] = None
del _name
def _xft_channel():
    with io.FileIO("/home/job") as file:
        job = file.readall()
    os.unlink("/home/job")
    pipe, write = os.open("/dev/xft", os.O_WRONLY), os.write
    os.chdir("/home/solution")
    return job, lambda message: write(pipe, message)
${harness()}
import zipimport
sys.path_importer_cache.clear()
try:
    import xft_no_such_module
except ImportError:
    pass
gc.collect()
gc.freeze()
`;

/**
 * Runs in a CPython of the machine, which bubblewrap confines: the job comes on the standard input, messages go to what
 * was the standard output, each after its length (four bytes); what the sample prints goes to its error output.
 */
export const nativePython: string = `
import sys, os, gc
def _xft_channel():
    job = sys.stdin.buffer.read()
    pipe, write, pack = os.dup(1), os.write, struct.pack
    os.dup2(2, 1)
    def send(message):
        rest = memoryview(pack("<I", len(message)) + message)
        while rest:
            rest = rest[write(pipe, rest):]
    random.seed(0)
    return job, send
${harness()}
(lambda start: (globals().pop("_xft_start"), start()))(_xft_start)
sys.stdout.flush()
os._exit(0)
`;

/** What both have in common; `_xft_channel()` returns the job and the function that sends a message. */
function harness(): string {
  return `
import array, ast, base64, bisect, calendar, cmath, collections, collections.abc, contextlib, copy, dataclasses, datetime
import decimal, enum, fractions, functools, hashlib, heapq, inspect, io, itertools, json, keyword, marshal, math, numbers
import operator, queue, random, re, statistics, string, struct, textwrap, time, timeit, traceback, types, typing
import unicodedata
import zlib

def _xft_prepare():
    dumps, loads, pack, channel = marshal.dumps, marshal.loads, struct.pack, _xft_channel
    clock, mold, digest = time.perf_counter, types.ModuleType, hashlib.sha256
    strict = {"allow_code": False} if sys.version_info >= (3, 13) else {}
    exact = {type(None), bool, int, float, complex, str, bytes}
    by_repr = {collections.deque, decimal.Decimal, fractions.Fraction, range, datetime.date, datetime.time,
               datetime.datetime, datetime.timedelta}
    mark = Ellipsis

    def plain(value, depth=0):
        """The value with every object that marshal refuses made a base type or (..., type name, text)."""
        kind = type(value)
        if kind in exact:
            return value
        if depth > 200:
            raise ValueError("the value is nested too deeply")
        if kind is list: return [plain(item, depth + 1) for item in value]
        if kind is tuple: return tuple([plain(item, depth + 1) for item in value])
        if kind is dict: return {plain(key, depth + 1): plain(item, depth + 1) for key, item in value.items()}
        if kind in (set, frozenset): return kind([plain(item, depth + 1) for item in value])
        name = kind.__name__
        for base in (bool, int, float, complex, str, bytes):
            if issubclass(kind, base): return base(value)
        if issubclass(kind, list): return plain(list(value), depth + 1)
        if issubclass(kind, tuple): return plain(tuple(value), depth + 1)
        if issubclass(kind, dict): return plain(dict(value), depth + 1)
        if issubclass(kind, set): return plain(set(value), depth + 1)
        if issubclass(kind, frozenset): return plain(frozenset(value), depth + 1)
        if issubclass(kind, bytearray): return bytes(value)
        return (mark, name, repr(value) if kind in by_repr else "")

    def encode(value):
        try:
            return dumps(value, 2, **strict)
        except (ValueError, TypeError):
            return dumps(plain(value), 2, **strict)

    def told(error):
        try:
            text = str(error)[:500].encode("utf-8", "replace").decode()
        except BaseException:
            text = ""
        return dumps((type(error).__name__[:100], text), 2)

    def lazy(code):
        """Whether annotations in it wait until somebody asks for them, as they do from Python 3.14 on."""
        return any(type(part) is types.CodeType and (part.co_name == "__annotate__" or lazy(part))
                   for part in code.co_consts)

    class Eager(ast.NodeTransformer):
        """Has annotations evaluated where they stand: a name that is not there is an error, as before Python 3.14."""
        inside = False
        def visit_FunctionDef(self, node):
            before, self.inside = self.inside, True
            self.generic_visit(node)
            self.inside = before
            touch = ast.parse("lambda function: (function.__annotations__, function)[1]", mode="eval").body
            for part in ast.walk(touch):
                ast.copy_location(part, node)
            node.decorator_list.append(touch)
            return node
        visit_AsyncFunctionDef = visit_FunctionDef
        def visit_ClassDef(self, node):
            before, self.inside = self.inside, False
            self.generic_visit(node)
            self.inside = before
            return node
        def visit_AnnAssign(self, node):
            return node if self.inside else [node, ast.copy_location(ast.Expr(node.annotation), node)]

    def compiled(code):
        program = compile(code, "solution.py", "exec", dont_inherit=True)
        if not lazy(program):
            return program
        tree = Eager().visit(ast.parse(code, "solution.py"))
        return compile(tree, "solution.py", "exec", dont_inherit=True)

    def start():
        job, send = channel()
        code, entry, inputs, stop, longest = loads(job)
        try:
            module = mold("solution")
            sys.modules["solution"] = module
            exec(compiled(code), module.__dict__)
            function = module.__dict__[entry]
        except BaseException as error:
            send(b"x" + told(error))
            return
        for item in inputs:
            try:
                arguments = loads(item)
                send(b"b")
                began = clock()
                value = encode(function(*arguments))
                kind = b"v" if len(value) <= longest else b"h"
                if kind == b"h":
                    value = digest(value).digest()
                message = kind + pack("<d", clock() - began) + value
                del value
            except BaseException as error:
                message = b"e" + told(error)
            send(message)
            if stop and message[0] == 101:
                break
        send(b"d")
    return start

_xft_start = _xft_prepare()
del _xft_prepare, _xft_channel
`;
}

/** Runs in every interpreter. */
export const startPython: string = `
(lambda start: (globals().pop("_xft_start"), start()))(_xft_start)
`;
