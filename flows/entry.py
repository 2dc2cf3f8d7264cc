"""What the `backlot` script starts: the program, also ended in an orderly way when Ctrl-C comes while it is loading."""

from __future__ import annotations

import sys


def main() -> None:
    try:
        from flows.cli import main as program

        program()
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted.\n")
        raise SystemExit(130) from None
