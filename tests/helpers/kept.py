"""A small shop as it should be (one job, its photo, one pass, one delivery), and every way to spoil it."""

from __future__ import annotations

import os
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from kept_lineage import FAR, JOB, UNET, SpoiltLineage
from places import Place
from sqlalchemy import delete, insert, update

from models.pictures import encode_png, with_png_text
from storage.artifacts import ArtifactStore
from storage.database import Database
from storage.digests import sha256_hex
from storage.ledger import Ledger
from storage.outputs import Outputs
from storage.records import Artifact, Claim, KeyParts, NewJob, RunFacts
from storage.settings import Settings
from storage.tables import artifact, cache_key_part, job_output, pass_execution, pass_input, pass_model, pass_output

__all__ = ["FAR", "JOB", "ON_A_DISK_ONLY", "OUT_OF_REACH", "PLANTS", "Kept", "png"]

READER = "decoder-1"
OUT_OF_REACH = "https://shop.example/final.png"


def png(shade: int) -> bytes:
    return encode_png(np.full((48, 64, 3), shade, dtype=np.uint8))


@dataclass(frozen=True)
class Kept(SpoiltLineage):
    """photo: read by the job; made: by its one pass, and delivered as its final picture."""

    database: Database
    settings: Settings
    store: ArtifactStore
    outputs: Outputs
    at: Place
    delivered_at: Place
    photo: Artifact
    made: Artifact

    @classmethod
    def new(cls, database: Database, url: str, at: Place) -> Kept:
        delivered_at = Place(f"{at.url}-delivered", at.endpoint, at.files)
        store = ArtifactStore(at.url, s3_endpoint_url=at.endpoint)
        settings = Settings(database_url=url, artifacts_url=at.url, outputs_url=delivered_at.url,
                            s3_endpoint_url=at.endpoint)
        kept = cls(database=database, settings=settings, store=store, at=at, delivered_at=delivered_at,
                   outputs=Outputs(delivered_at.url, s3_endpoint_url=at.endpoint),
                   photo=store.put(png(1), media_type="image/png", width=64, height=48),
                   made=store.put(png(2), media_type="image/png", width=64, height=48))
        kept._tell()
        return kept

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.database)

    @property
    def parts(self) -> KeyParts:
        return KeyParts(pass_name="mix", pass_version=1, params={"light": 0.5}, inputs={"photo": self.photo.digest},
                        weights={"unet": UNET})

    def claim(self, parts: KeyParts | None = None) -> Claim:
        answer = self.ledger.claim(parts or self.parts, job_id=JOB, worker="here:1", lease_seconds=60)
        assert isinstance(answer, Claim)
        return answer

    def _tell(self) -> None:
        self.ledger.open_job(NewJob(job_id=JOB, pipeline="omni-bg", profile="tiny", requested={"image": "a.jpg"},
                                    resolved={"document": {"seed": 7}}, schema_version=1))
        self.ledger.observe_source(JOB, "file:///a.jpg", "9-1", 9, 1.5, "0" * 64, self.photo, READER)
        self.make()
        self.deliver()
        self.ledger.close_job(JOB, "completed")

    def make(self) -> None:
        """What run_pass does when nothing answers for the key."""
        claim = self.claim()
        made = self.store.put(png(2), media_type="image/png", width=64, height=48)
        self.ledger.commit(claim, self.parts, {"lit": made}, RunFacts(seconds=1.0), job_id=JOB, at="mix", position=1,
                           reason="new")

    def deliver(self, job_id: str = JOB, role: str = "final", made: Artifact | None = None) -> str:
        """As tasks.jobs.publish does it."""
        picture = made or self.made
        stamp = {"backlot:job_id": job_id, "backlot:artifact": picture.digest}
        uri = self.outputs.put(job_id, f"{role}.png", with_png_text(self.store.get(picture.digest), stamp))
        self.ledger.record_output(job_id, role, picture, uri)
        return uri

    def name(self, of: Artifact) -> str:
        return f"sha256/{of.digest[:2]}/{of.digest}"

    def good_copies(self, digest: str) -> int:
        """How many files hold these very bytes, wherever in the store, or under whatever stamp in what is delivered."""
        held = [self.at.read(name) for name in self.at.names()]
        return sum(sha256_hex(data) == digest for data in held)

    def plant(self, name: str, data: bytes) -> None:
        """Write a file into the store, in a folder that may be new."""
        if self.at.endpoint is None:
            Path(f"{self.at.url}/{name}").parent.mkdir(parents=True, exist_ok=True)
        self.at.write(name, data)

    # Ways to spoil it. Each returns (the kind of finding, what `where` must hold).

    def lose_bytes(self) -> tuple[str, str]:
        self.at.remove(self.name(self.made))
        return "missing", self.made.digest

    def lose_photo(self) -> tuple[str, str]:
        self.at.remove(self.name(self.photo))
        return "missing", self.photo.digest

    def flip_a_bit(self) -> tuple[str, str]:
        data = self.at.read(self.name(self.made))
        self.at.write(self.name(self.made), data[:-1] + bytes([data[-1] ^ 1]))
        return "damaged", self.made.digest

    def truncate(self) -> tuple[str, str]:
        self.at.write(self.name(self.made), self.at.read(self.name(self.made))[:-9])
        return "damaged", self.made.digest

    def lie_about_the_size(self) -> tuple[str, str]:
        self._say(bytes=self.made.bytes + 1)
        return "wrong_size", self.made.digest

    def lie_about_the_width(self) -> tuple[str, str]:
        self._say(width=self.made.width + 1)
        return "wrong_facts", self.made.digest

    def lie_about_the_type(self) -> tuple[str, str]:
        self._say(media_type="image/jpeg")
        return "wrong_facts", self.made.digest

    def leave_an_orphan(self) -> tuple[str, str]:
        data = png(77)
        digest = sha256_hex(data)
        self.plant(f"sha256/{digest[:2]}/{digest}", data)
        return "orphan", digest

    def drop_a_stranger(self) -> tuple[str, str]:
        self.plant("sha256/ab/holiday.jpg", b"not ours")
        return "stray", "sha256/ab/holiday.jpg"

    def misplace(self) -> tuple[str, str]:
        other = f"sha256/{'ff' if self.made.digest[:2] != 'ff' else '00'}/{self.made.digest}"
        self.plant(other, png(2))
        return "stray", other

    def leave_a_draft(self) -> tuple[str, str]:
        name = f"{self.name(self.made)}.{'0' * 32}.draft"
        self.at.write(name, png(2)[:100])
        return "stale_draft", name

    def leave_a_half_delivery(self) -> tuple[str, str]:
        name = f"{JOB}/final.png.{'0' * 32}.draft"
        self.delivered_at.write(name, png(2)[:100])
        return "stale_draft", name

    def forget_outputs(self) -> tuple[str, str]:
        with self.database.write() as connection:
            exec_id = connection.execute(pass_execution.select()).one().exec_id
            connection.execute(delete(pass_output))
        return "no_outputs", exec_id

    def forget_the_key(self) -> tuple[str, str]:
        with self.database.write() as connection:
            connection.execute(delete(cache_key_part).where(cache_key_part.c.part == "params.light"))
        return "wrong_key", self.parts.key

    def forget_every_part(self) -> tuple[str, str]:
        with self.database.write() as connection:
            connection.execute(delete(cache_key_part))
        return "wrong_key", self.parts.key

    def deliver_out_of_reach(self) -> tuple[str, str]:
        with self.database.write() as connection:
            connection.execute(update(job_output).values(uri=OUT_OF_REACH))
        return "unreachable", OUT_OF_REACH

    def forget_the_delivery(self) -> tuple[str, str]:
        with self.database.write() as connection:
            connection.execute(delete(job_output))
        return "unfinished", JOB

    def take_the_delivery_away(self) -> tuple[str, str]:
        self.delivered_at.remove(f"{JOB}/final.png")
        return "undelivered", f"{JOB}/final.png"

    def replace_the_delivery(self) -> tuple[str, str]:
        self.delivered_at.write(f"{JOB}/final.png", with_png_text(png(5), {"backlot:artifact": self.made.digest}))
        return "other_delivery", f"{JOB}/final.png"

    def tear_the_delivery(self) -> tuple[str, str]:
        self.delivered_at.write(f"{JOB}/final.png", self.delivered_at.read(f"{JOB}/final.png")[:-5])
        return "other_delivery", f"{JOB}/final.png"

    def succeed_twice(self) -> tuple[str, str]:
        """As without the unique index that forbids it."""
        with self.database.write() as connection:
            connection.exec_driver_sql("DROP INDEX uq_one_success_a_generation")
            row = connection.execute(pass_execution.select()).one()._asdict()
            row |= {"fence": row["fence"] + 1, "exec_id": "f" * 32, "attempt": 2}
            connection.execute(insert(pass_execution).values(row))
            more = {"exec_id": "f" * 32}
            connection.execute(insert(pass_input).values(role="photo", digest=self.photo.digest, **more))
            connection.execute(insert(pass_model).values(role="unet", model_digest=UNET, **more))
            connection.execute(insert(pass_output).values(role="lit", ordinal=0, digest=self.made.digest, **more))
        return "twice", self.parts.key

    def unhinge(self) -> tuple[str, str]:
        """Remove an artifact's row under those that refer to it, as only a hand with the constraints off can."""
        remove = f"DELETE FROM artifact WHERE digest = '{self.made.digest}'"
        url = self.settings.database_url
        if url.startswith("sqlite"):
            with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
                connection.execute(remove)
            connection.close()
        else:
            with self.database.write() as session:
                session.exec_driver_sql("SET LOCAL session_replication_role = replica")
                session.exec_driver_sql(remove)
        return "dangling", f"pass_output.digest={self.made.digest}"

    def _say(self, **values: Any) -> None:
        with self.database.write() as connection:
            connection.execute(update(artifact).where(artifact.c.digest == self.made.digest).values(**values))

    def age_everything(self, hours: float) -> None:
        """On a local disk: all files of store and deliveries were written that long ago."""
        then = time.time() - hours * 3600
        for place in (self.at, self.delivered_at):
            for name in place.names():
                os.utime(f"{place.url}/{name}", (then, then))


PLANTS = ("lose_bytes", "lose_photo", "flip_a_bit", "truncate", "lie_about_the_size", "lie_about_the_width",
          "lie_about_the_type", "leave_an_orphan", "drop_a_stranger", "misplace", "leave_a_draft",
          "leave_a_half_delivery", "forget_outputs", "abandon", "forget_the_key", "forget_every_part",
          "forget_the_delivery", "take_the_delivery_away", "replace_the_delivery", "tear_the_delivery",
          "succeed_twice", "unhinge", "forget_the_inputs", "swap_an_input", "add_an_input", "forget_the_weights",
          "swap_the_weights", "rename_the_pass", "raise_the_version", "forget_the_passes", "lease_for_ever",
          "deliver_out_of_reach")
ON_A_DISK_ONLY = ("leave_a_half_delivery",)
"""An object store's put is whole, so deliveries are not searched for drafts there."""
