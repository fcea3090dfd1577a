"""Roofs: what OpenBLAS takes for a work's products (through numpy), and how fast this machine copies bytes."""

import os
import threading
import time
from typing import Any, Callable

import numpy as np

from formula import uniform
from worker import Run, serve


Taken = tuple[float, float]
"""Seconds by the clock, and those that all threads computed."""


def product(pass_: str, m: int, n: int, k: int, together: int) -> Callable[[], Taken]:
    """Y = X·Wᵀ, dX = dY·W or dW = dYᵀ·X of a linear layer with weights [n × k] on m rows, into memory that is there."""
    def many(*shape: int) -> np.ndarray:
        return uniform("roof", (together, *shape), 1.0)

    x, w, y = many(m, k), many(n, k), many(m, n)
    operands = {
        "forward": (x, w.swapaxes(1, 2), y),
        "dX": (y, w, x),
        "dW": (y.swapaxes(1, 2), x, w),
    }[pass_]
    a, b, _ = (each.copy() if index < 2 and each is operands[2] else each for index, each in enumerate(operands))
    out = np.empty_like(operands[2])
    # One product at a time, as every program that is measured does them; small ones (attention's) as a stack.
    if together == 1:
        return lambda: timed(lambda: np.matmul(a[0], b[0], out=out[0]))
    return lambda: timed(lambda: np.matmul(a, b, out=out), together)


def timed(work: Callable[[], Any], times: int = 1) -> Taken:
    start, computed = time.perf_counter(), time.process_time()
    work()
    return (time.perf_counter() - start) / times, (time.process_time() - computed) / times


def products(listed: list[dict[str, Any]]) -> Run:
    """All products of a step: each shape is timed and counts as often as it occurs."""
    shapes: dict[tuple[str, int, int, int], float] = {}
    for each in listed:
        key = (each["pass"], each["m"], each["n"], each["k"])
        shapes[key] = shapes.get(key, 0) + each["count"] * each["share"]
    runs = [
        (product(*key, min(16, int(count)) if key[1] * key[2] * key[3] < 2**24 else 1), count)
        for key, count in shapes.items()
    ]
    for run, _ in runs:
        run()
    def once() -> Taken:
        taken = [(min(run(), run()), count) for run, count in runs]
        return sum(each[0] * count for each, count in taken), sum(each[1] * count for each, count in taken)

    return once


def copy(size: int) -> Run:
    """Seconds to read `size` bytes and to write them elsewhere, by all processors; memory that no cache holds."""
    threads = os.cpu_count() or 1
    words = min(max(size, 2**28), 2**29) // 4 // threads
    pairs = [(np.ones(words, np.float32), np.zeros(words, np.float32)) for _ in range(threads)]

    share = size / (words * 4 * threads)

    def run() -> Taken:
        def work() -> None:
            workers = [threading.Thread(target=np.copyto, args=(to, source)) for source, to in pairs]
            for each in workers:
                each.start()
            for each in workers:
                each.join()

        seconds, computed = timed(work)
        return seconds * share, computed * share

    run()
    return run


def files(inputs: list[str], out: str, size: int) -> Run:
    """Seconds to read files and to write one of `size` bytes, by ordinary calls, until it is on the disk."""

    def run() -> Taken:
        def work() -> None:
            buffer, left = bytearray(2**23), size
            with open(out, "wb", buffering=0) as target:
                for path in inputs:
                    with open(path, "rb", buffering=0) as source:
                        while count := source.readinto(buffer):
                            left -= target.write(memoryview(buffer)[: min(count, left)])
                os.fsync(target.fileno())
            os.remove(out)

        return timed(work)

    return run


def prepare(work: dict[str, Any]) -> tuple[dict[str, Any], Run]:
    if work["kind"] == "files":
        return {}, files(work["inputs"], work["out"], work["bytes"])
    run = copy(work["bytes"]) if work["kind"] == "copy" else products(work["products"])
    return {"about": f"numpy {np.__version__}"}, run


serve(prepare)
