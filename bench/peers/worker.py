"""The worker's side of `bench/processes.ts`: one line of JSON with the work, then one for each round."""

import json
import os
import sys
import time
from typing import Any, Callable, Optional

# Two libraries of threads in one process must not wait for each other by spinning.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

Run = Callable[[], Optional[float]]
"""Does the work once; returns the seconds where it knows better than the clock around it."""


def serve(prepare: Callable[[dict[str, Any]], tuple[dict[str, Any], Run]]) -> None:
    """`prepare` makes the work ready and returns what to say about it (losses, about) and how to do it once."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer

    def say(answer: dict[str, Any]) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    try:
        ready, run = prepare(json.loads(sys.stdin.readline()))
        say(ready)
        for line in sys.stdin:
            seconds, began, best = json.loads(line)["seconds"], time.perf_counter(), float("inf")
            while True:
                start = time.perf_counter()
                own = run()
                best = min(best, time.perf_counter() - start if own is None else own)
                if time.perf_counter() - began >= seconds:
                    break
            say({"seconds": best})
    except Exception as error:  # the other side prints it beside the contestant's name
        say({"error": f"{type(error).__name__}: {error}"})
