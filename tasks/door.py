"""What is asked at the door, before a document is stored anywhere. Loads neither torch nor prefect."""

from __future__ import annotations

from storage.images import check_image as _check


def check_image(image: str) -> None:
    """Refuse a uri that carries a secret, or that is never read: both documents are stored before their photo is read.

    Raises SourceError, which does not repeat the secret.
    """
    _check(image)
