"""`python -m flows` is `backlot`."""

from flows.cli import main

main()
