"""Where the process of the command begins: `sales-mart`, or `python -m sales_mart`."""

from __future__ import annotations

import signal
import sys

from sales_mart.private_memory import keep_memory_private

__all__ = ["main"]


def main() -> int:
    """Run the command line, and end without a traceback when Ctrl-C comes before it or after it.

    It takes a moment to import. Until it heeds signals itself, they end the process in the way of
    the system, which a shell reports as 130 and 143 too.
    """
    keep_memory_private()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from sales_mart import cli

    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
