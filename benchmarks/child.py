"""One contestant's process: arguments as JSON on stdin, seconds and counts as JSON on stdout."""

from __future__ import annotations

import importlib
import json
import logging
import sys
import time
import warnings


def main() -> None:
    """Import the contestant, call it, and tell how long the call took.

    It gives its counts, or what counts when the time has been taken.
    """
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    module, _, function = sys.argv[1].partition(":")
    for name in sys.argv[2:]:
        importlib.import_module(name)
    call = getattr(importlib.import_module(f"benchmarks.{module}"), function)
    arguments = json.load(sys.stdin)
    begun = time.perf_counter()
    counts = call(**arguments)
    seconds = time.perf_counter() - begun
    if callable(counts):
        counts = counts()
    print(json.dumps({"seconds": seconds, "counts": counts}))


if __name__ == "__main__":
    main()
