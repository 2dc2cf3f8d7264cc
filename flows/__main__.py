"""`python -m flows` is `backlot`."""

from flows.entry import main

main()
