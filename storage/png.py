"""As much of PNG as storage must know: how large a picture is, and a published copy without its stamp.

PNG specification, third edition, 5.2 (signature), 5.3 (chunks: length, kind, body, CRC), 11.2.1 (IHDR).
"""

from __future__ import annotations

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_STAMP = b"iTXt"
"""The kind of the chunks in which a published copy carries its job's facts; stored pictures have none."""


def png_size(data: bytes) -> tuple[int, int] | None:
    """(width, height) in pixels, None for anything but a PNG."""
    if data[:8] != _SIGNATURE or data[12:16] != b"IHDR":
        return None
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")


def unstamped(data: bytes) -> bytes | None:
    """A published PNG without its stamp: byte for byte the stored picture it was made from. None for what is no whole
    PNG, to its last chunk."""
    if data[:8] != _SIGNATURE:
        return None
    kept, at = [data[:8]], 8
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(data[at:at + 4], "big")
        kind = data[at + 4:at + 8]
        if end > len(data):
            return None
        if kind != _STAMP:
            kept.append(data[at:end])
        if kind == b"IEND":
            return b"".join(kept) if end == len(data) else None
        at = end
    return None


def stamped_digest(data: bytes) -> str | None:
    """The digest that a published copy's stamp names: the text of its chunk backlot:artifact."""
    before = b"iTXtbacklot:artifact\0\0\0\0\0"
    at = data.find(before)
    return None if at < 0 else data[at + len(before):at + len(before) + 64].decode("ascii", "replace")
