"""How tests start bad_decoder.py."""

from __future__ import annotations

import sys
from pathlib import Path

from tasks.gate_child import DECODER


def bad_decoder(scratch: Path, *settings: str) -> tuple[str, ...]:
    """The command; what `scratch` gets is the mark of a child that died once. Settings are those of photo_worker."""
    program = Path(__file__).with_name("bad_decoder.py")
    return (sys.executable, "-I", str(program), DECODER[-1], str(scratch / "died"), *settings)
