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
import array, ast, base64, bisect, calendar, cmath, collections, collections.abc, contextlib, copy, dataclasses, datetime
import decimal, enum, fractions, functools, hashlib, heapq, inspect, io, itertools, json, keyword, marshal, math, numbers
import operator, queue, random, re, statistics, string, struct, textwrap, time, timeit, traceback, types, typing
import unicodedata
import zlib

def _xft_prepare():
    dumps, loads, write, pack = marshal.dumps, marshal.loads, os.write, struct.pack
    clock, isfile, opener, unlink = time.perf_counter, os.path.isfile, os.open, os.unlink
    reading, writing, mold, digest = io.FileIO, os.O_WRONLY, types.ModuleType, hashlib.sha256
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
            return dumps(value, 2, allow_code=False)
        except (ValueError, TypeError):
            return dumps(plain(value), 2, allow_code=False)

    def told(error):
        try:
            text = str(error)[:500].encode("utf-8", "replace").decode()
        except BaseException:
            text = ""
        return dumps((type(error).__name__[:100], text), 2)

    def start():
        with reading("/home/job") as file:
            code, entry, inputs, stop, longest = loads(file.readall())
        unlink("/home/job")
        pipe = opener("/dev/xft", writing)
        os.chdir("/home/solution")
        try:
            module = mold("solution")
            sys.modules["solution"] = module
            exec(compile(code, "solution.py", "exec", dont_inherit=True), module.__dict__)
            function = module.__dict__[entry]
        except BaseException as error:
            write(pipe, b"x" + told(error))
            return
        for item in inputs:
            try:
                arguments = loads(item)
                write(pipe, b"b")
                began = clock()
                value = encode(function(*arguments))
                kind = b"v" if len(value) <= longest else b"h"
                if kind == b"h":
                    value = digest(value).digest()
                message = kind + pack("<d", clock() - began) + value
                del value
            except BaseException as error:
                message = b"e" + told(error)
            write(pipe, message)
            if stop and message[0] == 101:
                break
        write(pipe, b"d")
    return start

_xft_start = _xft_prepare()
del _xft_prepare, _name
import zipimport
sys.path_importer_cache.clear()
try:
    import xft_no_such_module
except ImportError:
    pass
gc.collect()
gc.freeze()
`;

/** Runs in every interpreter. */
export const startPython: string = `
(lambda start: (globals().pop("_xft_start"), start()))(_xft_start)
`;
