"""What tests do to a toy worker's world: time that passes, bytes that rot, and code that is wrong on purpose."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from sqlalchemy import select, update

from storage.dialect import now
from storage.digests import sha256_hex
from storage.errors import JobNotFound
from storage.records import Artifact
from storage.tables import pass_execution, pass_output
from tasks.services import Services


def let_leases_run_out(here: Services) -> None:
    """As if every worker had been silent for a second longer than its lease."""
    with here.database.write() as connection:
        connection.execute(update(pass_execution).where(pass_execution.c.state == "running").values(
            lease_until=now() - 1))


def completed(here: Services, job_id: str) -> bool:
    try:
        return here.lineage.job(job_id).state == "completed"
    except JobNotFound:
        return False


def damage_what_is_shared(here: Services) -> None:
    """Flip the last byte of the picture that the first pass made, on a local disk."""
    with here.database.read() as connection:
        digest = connection.execute(
            select(pass_output.c.digest).join_from(pass_output, pass_execution)
            .where(pass_execution.c.pass_name == "toy_shift")).scalars().first()
    path = Path(here.store.uri(str(digest)).removeprefix("file://"))
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def row_before_bytes() -> None:
    """Commit an execution before its picture is stored."""
    from models.pictures import encode_png
    from storage.digests import sha256_hex
    from storage.ledger import Ledger
    from tasks import run_pass

    pending: list[tuple[Services, Any, Artifact]] = []

    def only_name_it(services: Services, picture: Any) -> Artifact:
        data = encode_png(picture)
        artifact = Artifact(digest=sha256_hex(data), media_type="image/png", bytes=len(data),
                            width=picture.shape[1], height=picture.shape[0])
        services.remember(artifact, picture)
        pending.append((services, data, artifact))
        return artifact

    commit = Ledger.commit

    def commit_first(self: Ledger, *args: Any, **named: Any) -> Any:
        done = commit(self, *args, **named)
        for services, data, artifact in pending:
            services.store.put(data, media_type=artifact.media_type, width=artifact.width, height=artifact.height)
        pending.clear()
        return done

    run_pass.put_picture = only_name_it  # type: ignore[assignment]
    Ledger.commit = commit_first  # type: ignore[method-assign]


def row_before_delivery() -> None:
    """Record a delivery before the file is there."""
    from storage.ledger import Ledger
    from storage.outputs import Outputs

    record, put = Ledger.record_output, Outputs.put
    pending: list[tuple[Any, ...]] = []

    def promise(self: Outputs, job_id: str, name: str, data: bytes) -> str:
        pending.append((self, job_id, name, data))
        return f"file://{self.path(job_id, name)}"

    def keep(self: Ledger, *args: Any, **named: Any) -> None:
        record(self, *args, **named)
        put(*pending.pop())

    Outputs.put = promise  # type: ignore[method-assign]
    Ledger.record_output = keep  # type: ignore[method-assign]


def no_fence() -> None:
    """Let whoever finishes commit, whoever holds the key by then."""
    from storage import claims

    claims._held = lambda claim: claims._run.exec_id == claim.exec_id


def spoil(here: Services) -> None:
    """On a disk: lost bytes, rotten ones, an orphan, a torn draft, a delivery gone, one replaced; all of it old."""
    pictures = sorted(Path(here.settings.artifacts_url).glob("sha256/*/*"))
    gone, rotten = pictures[0], pictures[1]
    gone.unlink()
    rotten.write_bytes(rotten.read_bytes()[:-1])
    orphan = b"nobody names this"
    name = sha256_hex(orphan)
    folder = pictures[2].parent
    (folder.parent / name[:2]).mkdir(exist_ok=True)
    (folder.parent / name[:2] / name).write_bytes(orphan)
    (folder / f"{pictures[2].name}.{'0' * 32}.draft").write_bytes(b"torn")
    delivered = sorted(Path(here.settings.outputs_url).glob("*/*.png"))
    delivered[0].unlink()
    delivered[1].write_bytes(b"retouched")
    long_ago = time.time() - 90_000
    for path in (*Path(here.settings.artifacts_url).rglob("*"), *Path(here.settings.outputs_url).rglob("*")):
        os.utime(path, (long_ago, long_ago))


def repair(here: Services) -> int:
    """What `backlot verify --repair` does; 0 if everything was healed."""
    from tasks.verify import check, heal

    faults = check(here, read_data=True, progress=lambda done, total: None).faults
    return 0 if all(one.healed for one in heal(here, faults)) else 5
