"""The Hugging Face Hub as the pull needs it: what a repository holds at a commit, and one file's bytes, resumable.

Through huggingface_hub, which brings the token (HF_TOKEN, or `hf auth login`), proxies, redirects without the token and
the resuming of a broken connection. Its `hf_hub_download` keeps nothing of a file whose process was killed (2.4.0, its
issue 4228), so files are fetched by its `http_get`, which can go on where a file ends. Every failure ends in one
WeightsError that names repository, file and remedy.
"""

from __future__ import annotations

import errno
import logging
import random
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx2
from huggingface_hub import HfApi, constants, hf_hub_url
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]
from huggingface_hub.utils import logging as hub_logging

from models.errors import WeightsError

T = TypeVar("T")

WAITS = (1.0, 4.0, 15.0)
"""Seconds between the tries of what the Hub answered with "later" (429, 5xx) or cut short; each varied by a fifth."""


@dataclass(frozen=True, kw_only=True)
class Remote:
    """One file at one commit, as the Hub describes it.

    blob: git's id of it. sha256: of large files only; git keeps the small ones itself and knows them by `blob`.
    """

    size: int
    blob: str
    sha256: str | None


@dataclass(frozen=True, kw_only=True)
class Listing:
    """A repository at a commit. licence: what its page says, None where it says nothing."""

    repo: str
    commit: str
    licence: str | None
    files: Mapping[str, Remote]


class Hub:
    """url: None is huggingface_hub's own default (HF_ENDPOINT, else the public Hub)."""

    def __init__(self, url: str | None = None) -> None:
        self.url = url or constants.ENDPOINT
        self._api = HfApi(endpoint=self.url, library_name="backlot")
        # a part of a compressed answer could not be continued
        self._headers = {**build_hf_headers(library_name="backlot"), "Accept-Encoding": "identity"}
        hub_logging.set_verbosity(logging.ERROR)  # its warnings of each try would land in the progress bars

    def listing(self, repo: str, revision: str | None) -> Listing:
        """What the repository holds at a commit; revision None is the newest of its main branch."""
        def ask() -> Listing:
            info = self._api.model_info(repo, revision=revision, files_metadata=True)
            return Listing(repo=repo, commit=_commit(info.sha), files={
                one.rfilename: Remote(size=one.size, blob=one.blob_id, sha256=one.lfs.sha256 if one.lfs else None)
                for one in info.siblings or () if one.size is not None and one.blob_id is not None
            }, licence=info.card_data.license if info.card_data else None)

        try:
            return self._asked(repo, None, ask)
        except (ValueError, TypeError, KeyError, AttributeError) as error:  # somebody's page, or another kind of server
            raise WeightsError(f"{self.url} does not answer as a Hub does", field="weights", value=repo,
                               remedy="Check BACKLOT_HUB_URL, and what stands between it and this machine") from error

    def fetch(self, repo: str, commit: str, path: str, size: int, to: Path, arrived: Callable[[int], None]) -> None:
        """Append what is still missing of the file to `to`, up to `size` bytes.

        arrived: told the bytes of each chunk, less than 0 where the Hub began anew. What it raises ends the fetch.
        """
        url = hf_hub_url(repo, path, revision=commit, endpoint=self.url)

        def get() -> None:
            with to.open("ab") as opened:
                http_get(url, opened, resume_size=opened.tell(), headers=self._headers, expected_size=size,
                         tqdm_class=_teller(arrived))

        self._asked(repo, path, get)

    def _asked(self, repo: str, path: str | None, ask: Callable[[], T]) -> T:
        """The answer. What may pass is asked for again; http_get itself goes on after a broken connection."""
        for wait in WAITS:
            try:
                return self._once(repo, path, ask)
            except WeightsError as error:
                if not _may_pass(error.__cause__):
                    raise
            time.sleep(wait * random.uniform(0.8, 1.2))
        return self._once(repo, path, ask)

    def _once(self, repo: str, path: str | None, ask: Callable[[], T]) -> T:
        try:
            return ask()
        except (httpx2.HTTPError, OSError) as error:
            what, remedy = _words(error, self.url, repo)
            raise WeightsError(what, field="weights", value=f"{repo}/{path}" if path else repo,
                               remedy=remedy) from error


def _commit(sha: str | None) -> str:
    if not re.fullmatch("[0-9a-f]{40}", sha or ""):
        raise ValueError("no commit")
    return str(sha)


def _may_pass(error: BaseException | None) -> bool:
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code == 429 or error.response.status_code >= 500
    return "Consistency check failed" in str(error)  # the body ended early, and well-formed


def _words(error: Exception, url: str, repo: str) -> tuple[str, str]:
    """What is wrong, and what to do about it. The most particular class first."""
    token = "Set HF_TOKEN to a token that may read it, or log in with `hf auth login`"
    later = "Pull again later: what has arrived is kept"
    match error:
        case OfflineModeIsEnabled():
            return ("huggingface_hub was told to stay offline (HF_HUB_OFFLINE)",
                    "Unset it for the pull; or bring the files by hand and run `backlot weights pin`")
        case GatedRepoError():
            return ("its owners let in only those who accepted their terms",
                    f"Accept them on {url}/{repo}, then set HF_TOKEN to a token of that account")
        case RevisionNotFoundError():
            return "the commit it is pinned to is not there any more", _repin(repo)
        case RemoteEntryNotFoundError():
            return "there is no such file at this commit", _repin(repo)
        case RepositoryNotFoundError() | HfHubHTTPError(response=httpx2.Response(status_code=401)):
            return f"{url} knows no such repository, or shows it only to some ({_status(error)})", token
        case HfHubHTTPError(response=httpx2.Response(status_code=403)):
            return f"{url} refuses it ({_status(error)})", token
        case HfHubHTTPError() if _may_pass(error):
            return f"{url} answers {_status(error)}, to the last of {len(WAITS) + 1} tries", later
        case HfHubHTTPError():
            return f"{url} answers {_status(error)}", "Check BACKLOT_HUB_URL"
        case httpx2.HTTPError():
            return (f"{url} cannot be reached ({type(error).__name__})",
                    "Check the network, its proxy and BACKLOT_HUB_URL, then pull again: what has arrived is kept")
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            return "the disk is full", "Make room and pull again: what has arrived is kept"
        case OSError(errno=None):
            return f"fewer bytes came than {url} had announced, to the last of {len(WAITS) + 1} tries", later
    return f"it cannot be written ({error})", "Check the folder BACKLOT_WEIGHTS_DIR"


def _repin(repo: str) -> str:
    return f"To take the repository's newest files in its place: backlot weights pull --repin {repo}"


def _status(error: HfHubHTTPError) -> str:
    return f"HTTP {error.response.status_code}"


def _teller(arrived: Callable[[int], None]) -> Any:
    """A progress bar in the eyes of huggingface_hub, which only tells what came."""
    class Teller:
        def __init__(self, **described: object) -> None:
            pass

        def __enter__(self) -> Teller:
            return self

        def __exit__(self, *error: object) -> None:
            pass

        def update(self, received: int) -> None:
            arrived(received)

    return Teller
