"""The worker's side of `bench/processes.ts`: one line of JSON with the work, then one for each round."""

import json
import os
import sys
import time
from typing import Any, Callable, Optional

# Two libraries of threads in one process must not wait for each other by spinning.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

Run = Callable[[], Optional[tuple[float, float]]]
"""Does the work once; returns seconds, by the clock and computed, where it knows better than the clock around it."""


def held() -> int:
    """Bytes that this process holds: what its libraries take before any work."""
    try:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS"))
    except OSError:
        return 0


def serve(prepare: Callable[[dict[str, Any]], tuple[dict[str, Any], Run]]) -> None:
    """`prepare` makes the work ready and returns what to say about it (losses, about) and how to do it once."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer

    def say(answer: dict[str, Any]) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    try:
        work, base = json.loads(sys.stdin.readline()), held()
        ready, run = prepare(work)
        say({**ready, "baseBytes": base})
        for line in sys.stdin:
            seconds, began, best = json.loads(line)["seconds"], time.perf_counter(), float("inf")
            times, computed = 0, float("inf")
            while True:
                start, threads = time.perf_counter(), time.process_time()
                taken = run() or (time.perf_counter() - start, time.process_time() - threads)
                best, computed = min(best, taken[0]), min(computed, taken[1])
                times += 1
                if time.perf_counter() - began >= seconds:
                    break
            say({"seconds": best, "computed": computed, "times": times})
    except Exception as error:  # the other side prints it beside the contestant's name
        say({"error": f"{type(error).__name__}: {error}"})
