"""Errors of what is remembered. `str()` of each is one line; each names a field, its value and a remedy."""

from __future__ import annotations

from typing import Any


class StorageError(Exception):
    """field: the setting, document field or thing at fault; value: what it was; remedy: what to try; message: what is
    wrong, without these."""

    def __init__(self, message: str, *, field: str, value: object, remedy: str) -> None:
        super().__init__(f"{field}={str(value)!r}: {message}. {remedy}")
        self.field = field
        self.value = value
        self.remedy = remedy
        self.message = message

    def __reduce__(self) -> tuple[Any, ...]:
        # The subclasses' constructors take other arguments than `args` holds, so the default would not unpickle; and
        # Prefect and process pools do pickle exceptions.
        return _restored, (type(self), self.args, self.__dict__)


def _restored(kind: type[StorageError], args: tuple[Any, ...], attributes: dict[str, Any]) -> StorageError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(attributes)
    return error


class ArtifactMissing(StorageError):
    """No bytes are stored under this digest. What made them can make them again."""

    def __init__(self, digest: str) -> None:
        super().__init__("its bytes are gone", field="artifact", value=digest,
                         remedy="Run the job again: what is lost is made anew, the rest reused")
        self.digest = digest


class ArtifactCorrupt(StorageError):
    """The stored bytes hash to something else than their name; they are now in quarantine."""

    def __init__(self, digest: str, found: str) -> None:
        super().__init__(f"its bytes are damaged: they hash to {found}", field="artifact", value=digest,
                         remedy="Run the job again: what is lost is made anew; the damaged bytes are in quarantine/")
        self.digest = digest
        self.found = found


class JobConflict(StorageError):
    """This job_id already belongs to another document. differs: the names of what is not the same."""

    def __init__(self, job_id: str, differs: tuple[str, ...]) -> None:
        super().__init__(f"is taken by a job that differs in {', '.join(differs)}", field="job_id", value=job_id,
                         remedy="Give another job_id, or run the very document it was first run with")
        self.differs = differs


class JobNotFound(StorageError):
    def __init__(self, job_id: str) -> None:
        super().__init__("there is no such job", field="job_id", value=job_id,
                         remedy="`backlot jobs` lists the recent ones")


class OutputNotFound(StorageError):
    """No job delivered such a picture, or this job none in this role."""

    def __init__(self, field: str, value: str, message: str) -> None:
        super().__init__(message, field=field, value=value, remedy="`backlot show JOB` lists what a job delivered")


class MaskNotFound(StorageError):
    """There is no such photo, or no mask counts for it."""

    def __init__(self, photo: str, message: str) -> None:
        super().__init__(message, field="PHOTO", value=photo,
                         remedy="`backlot mask list` shows every mask; a path or uri names any photo")


class MaskLost(StorageError):
    """The mask that counts for a job's photo is not in the store any more, or damaged."""

    def __init__(self, digest: str, version: int) -> None:
        super().__init__(f"the bytes of this photo's mask, version {version}, are gone or damaged", field="mask",
                         value=digest, remedy="Set the mask again (`backlot mask set`), or remove it")


class FencedOff(StorageError):
    """This worker's lease ran out and another took the execution over: nothing it made may be recorded."""

    def __init__(self, exec_id: str) -> None:
        super().__init__("was taken over by another worker after its lease ran out", field="execution", value=exec_id,
                         remedy="Ask for the pass again: the other worker's result will be reused")


class SourceError(StorageError):
    """The photo a document names cannot be read."""

    def __init__(self, image: str, message: str, remedy: str) -> None:
        super().__init__(message, field="image", value=image, remedy=remedy)


class SourceUnavailable(SourceError):
    """The photo cannot be read now: its server does not answer, or it is being written. Later it may be."""


class StoreUnavailable(StorageError):
    """The object store did not answer, or only with errors, through every retry of the one layer that retries.
    setting: artifacts_url, outputs_url or image; tried: what was done and how often, in a clause."""

    def __init__(self, setting: str, url: str, tried: str) -> None:
        super().__init__(f"the store does not answer ({tried})", field=setting, value=url,
                         remedy="Nothing is lost: run the job again once it does; `backlot doctor` checks it")


class NoBucket(StorageError):
    """The server knows no bucket of this name. Of a setting's url, not of a photo's: that is a SourceError."""


class DatabaseUnavailable(StorageError):
    """The database did not answer through every retry of the one layer that retries. url: without its password."""

    def __init__(self, url: str, tried: str) -> None:
        super().__init__(f"the database does not answer ({tried})", field="database_url", value=url,
                         remedy="Nothing is lost: run the job again once it does; `backlot doctor` checks it")


class SettingsError(StorageError):
    """An environment variable BACKLOT_* (or a setting given in code) is unknown or has no valid value."""

    def __init__(self, name: str, value: object, message: str, remedy: str) -> None:
        super().__init__(message, field=name, value=value, remedy=remedy)


class SchemaOutdated(StorageError):
    """The database's tables are of an older version of Backlot."""

    def __init__(self, url: str, found: str, wanted: str) -> None:
        super().__init__(f"its tables are at version {found}, this version of Backlot needs {wanted}",
                         field="database_url", value=url, remedy="Run `backlot db upgrade`")


class DatabaseNewer(StorageError):
    """The database's tables are not known to this version of Backlot: a newer version's, or another program's."""

    def __init__(self, url: str, found: str) -> None:
        super().__init__(f"its tables are at version {found}, which this version of Backlot does not know",
                         field="database_url", value=url,
                         remedy="Update Backlot (`backlot db upgrade` goes forward only), or name another database")
