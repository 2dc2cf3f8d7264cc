"""Where finished pictures are delivered: one folder a job, by names that cannot escape it."""

from __future__ import annotations

import re
from typing import Any

from storage.faults import point
from storage.files import open_files, put_whole

_JOB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_NAME = re.compile(r"[a-z0-9_]{1,64}\.[a-z]{2,5}")


class Outputs:
    """Published copies under `url`/<job_id>/<name>. Publishing the same name again replaces it whole."""

    def __init__(self, url: str, *, s3_endpoint_url: str | None = None) -> None:
        self._fs: Any
        self._fs, self._root = open_files(url, "outputs_url", s3_endpoint_url=s3_endpoint_url)

    def path(self, job_id: str, name: str) -> str:
        """The one builder of output paths. ValueError for any id or name that is not a plain word."""
        if not _JOB_ID.fullmatch(job_id):
            raise ValueError(f"job_id={job_id!r}: not a plain id. Use letters, digits, '.', '_' and '-', at most 128")
        if not _NAME.fullmatch(name):
            raise ValueError(f"name={name!r}: not a plain file name. Use lower-case letters, digits and '_'")
        return f"{self._root}/{job_id}/{name}"

    def put(self, job_id: str, name: str, data: bytes) -> str:
        """Write `data` and return its uri, file:// or s3://. Of two writers of one name the last one stays.

        A put whose answer was lost is sent again until it is acknowledged: it is the same picture under the same name.
        """
        path = self.path(job_id, name)
        put_whole(self._fs, path, data)
        point("output.stored")
        return str(self._fs.unstrip_protocol(path))

    def remove(self, job_id: str, name: str) -> None:
        """No picture by this name any more; none is no error. Asked first: not every worker may delete in a bucket."""
        path = self.path(job_id, name)
        try:
            self._fs.info(path)
            self._fs.rm_file(path)
        except FileNotFoundError:
            return
