"""Named places where a test lets the process die, the disk fill up or another worker go first.

Each name is one line of storage or of run_pass between two effects that a crash could part. Nothing happens there
unless a test has installed a handler; a test holds that there are at most 15 names and that each of them is reached.
"""

from __future__ import annotations

from collections.abc import Callable

_handler: Callable[[str], None] | None = None


def point(name: str) -> None:
    """Tell the handler, if any, that the process is at `name`. The handler may raise, or kill the process."""
    if _handler is not None:
        _handler(name)


def install(handler: Callable[[str], None] | None) -> None:
    """From now on tell `handler` of every point; None goes back to doing nothing. For tests only."""
    global _handler
    _handler = handler
