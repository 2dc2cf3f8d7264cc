"""No secret is where somebody could read it (G28): canaries in the environment and in documents, real runs, a search.

Everything a run leaves or shows is searched: what it prints, its report, Prefect's API, the database's file, stored
artifacts and deliveries, logs, and the command line of every process it starts. What `backlot doctor` shows is searched
in tests/flows/test_doctor_command.py.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
import traceback
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import cv2
import numpy as np
import pytest
from s3 import DENIED, moto_server, new_bucket, proxy

from flows.documents import DocumentError
from flows.pipelines import pipeline
from flows.run_command import build_document
from storage.errors import SourceError
from tasks.classify import error_facts

CANARY = "CANARYq7Zk"
"""Begins every planted secret; letters and digits, so that no encoding of urls hides it."""

FIELDS = {
    "subject": "a box", "placed_on": "a table", "background": "a kitchen", "camera_orientation": "front",
    "camera_angle": "eye level", "main_light_direction": "left", "proposed_background": "", "proposed_brightness": 0.1,
    "width": 64, "height": 64, "seed": 7, "skip_second_pass": True, "skip_light_pass": True,
}
IMAGES = {
    "https with a password": f"https://shop:{CANARY}pw@pictures.example/box.png",
    "http with a password": f"http://shop:{CANARY}pw@pictures.example/box.png",
    "presigned https": "https://shop.s3.amazonaws.com/in/box.png?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential="
                       f"{CANARY}id%2F20261121&X-Amz-Signature={CANARY}sig&X-Amz-Security-Token={CANARY}token",
    "an Azure signature": f"https://shop.blob.core.windows.net/in/box.png?sv=2024-11-04&sig={CANARY}sig%3D",
    "s3 with a key": f"s3://AKIA{CANARY}:{CANARY}secret@shop/in/box.png",
    "presigned s3": f"s3://shop/in/box.png?X-Amz-Signature={CANARY}sig",
    "a password behind a slash": f"https://shop:{CANARY}/x@pictures.example/box.png",
    "a fragment": f"https://pictures.example/box.png#access_token={CANARY}tok",
    "a uri without its scheme": f"//shop:{CANARY}pw@pictures.example/box.png",
}
THROUGH_THE_COMMAND = {"https with a password": ["--json"], "presigned https": [], "s3 with a key": ["--json"]}
"""Some by the real command, with its flags; all by the door that it passes."""


@dataclass(eq=False)
class Found:
    """Everything readable: where -> its bytes."""

    things: dict[str, bytes] = field(default_factory=dict)

    def add(self, where: str, data: bytes | str) -> None:
        self.things[where] = data.encode() if isinstance(data, str) else data

    def holding(self, *secrets: str) -> list[str]:
        return sorted(where for where, data in self.things.items()
                      if any(form in data for secret in secrets for form in forms(secret)))


def forms(secret: str) -> Iterator[bytes]:
    """The secret as it is, and as it stands in base64 behind 0, 1 or 2 other bytes."""
    yield secret.encode()
    for before in range(3):
        coded = base64.b64encode(b"-" * before + secret.encode())
        yield coded[2 * before:].rstrip(b"=")[:-1] if before else coded.rstrip(b"=")[:-1]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    photo = np.full((120, 160, 3), 225, dtype=np.uint8)
    cv2.rectangle(photo, (50, 30), (110, 100), (40, 70, 160), -1)
    cv2.imwrite(str(folder / "box.png"), photo)
    return folder


def document(shop: Path, name: str, **changes: Any) -> str:
    """A document in a file, because a command line can be read by every user of the machine."""
    path = shop / "documents" / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({**FIELDS, "image": str(shop / "box.png"), "job_id": name, **changes}))
    return str(path)


@contextmanager
def command_lines(found: Found) -> Generator[None]:
    """Watch, while the block runs, which processes descend from this one and how they were called."""
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.01):
            for pid in _descendants(os.getpid()):
                try:
                    words = Path(f"/proc/{pid}/cmdline").read_bytes()
                except OSError:
                    continue  # it has ended meanwhile
                if words:
                    found.add(f"command line {words.split(bytes(1))[:3]}", words)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def _descendants(root: int) -> set[int]:
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, IndexError):
                continue
    family: set[int] = set()
    while new := {pid for pid, parent in parents.items() if parent in family | {root}} - family:
        family |= new
    return family


@dataclass(eq=False)
class Runs:
    """Starts the real command and keeps what it shows."""

    shop: Path
    environment: Mapping[str, str]
    found: Found
    codes: dict[str, int] = field(default_factory=dict)

    def __call__(self, name: str, *arguments: str, **environment: str) -> str:
        done = subprocess.run([sys.executable, "-m", "flows", *arguments], capture_output=True, text=True, timeout=300,
                              env={**self.environment, **environment}, cwd=self.shop, check=False)
        self.found.add(f"{name}: standard output", done.stdout)
        self.found.add(f"{name}: standard error", done.stderr)
        self.codes[name] = done.returncode
        return done.stdout


@pytest.fixture(scope="module")
def runs(shop: Path, prefect_server: str) -> Runs:
    """Every kind of run, once: the successful one with S3 as its store, the failing ones, and what tells of them."""
    found = Found()
    environment = {
        **os.environ, "BACKLOT_HOME": str(shop / "home"), "PREFECT_API_URL": prefect_server,
        "PREFECT_HOME": str(shop / "prefect"), "PREFECT_LOGGING_LEVEL": "DEBUG",
        "PREFECT_API_AUTH_STRING": f"shop:{CANARY}auth", "AWS_ACCESS_KEY_ID": "AKIASHOP",
        "AWS_SECRET_ACCESS_KEY": f"{CANARY}aws", "AWS_SESSION_TOKEN": f"{CANARY}session"}
    run = Runs(shop, environment, found)
    with moto_server() as endpoint, proxy(endpoint) as relay, command_lines(found):
        store = new_bucket(endpoint)
        relay.plan = lambda request: DENIED
        with_s3 = {"BACKLOT_ARTIFACTS_URL": f"{store.url}/cas", "BACKLOT_S3_ENDPOINT_URL": endpoint,
                   "BACKLOT_INPUT_BUCKETS": f"{store.bucket}/in"}
        run("good", "run", "omni-bg", document(shop, "good"), "--json", **with_s3)
        away = f"postgresql://shop:{CANARY}pw@127.0.0.1:1/shop?sslpassword={CANARY}ssl"
        with ThreadPoolExecutor(3) as at_once:
            at_once.submit(run, "no database", "run", "omni-bg", document(shop, "lost"), "--json",
                           BACKLOT_DATABASE_URL=away)
            at_once.submit(run, "denied", "run", "omni-bg", document(shop, "denied", seed=8),
                           **{**with_s3, "BACKLOT_S3_ENDPOINT_URL": relay.url})
            for name, flag in THROUGH_THE_COMMAND.items():
                at_once.submit(run, name, "run", "omni-bg", document(shop, name.replace(" ", "-"), image=IMAGES[name]),
                               *flag, **with_s3)
            at_once.submit(run, "show", "show", "good", **with_s3)
        run("show, json", "show", "denied", "--json", **with_s3)
        for name in store.names():
            found.add(f"object {name}", store.files.cat_file(f"{store.bucket}/{name}"))
    _collect(found, shop, prefect_server)
    return run


def _collect(found: Found, shop: Path, api: str) -> None:
    """Every file but the documents, which their authors wrote, and all that Prefect tells."""
    for path in shop.rglob("*"):
        if path.is_file() and not path.is_relative_to(shop / "documents"):
            found.add(f"file {path.relative_to(shop)}", path.read_bytes())
    for kind in ("flow_runs", "task_runs", "logs", "artifacts", "events", "flows", "deployments"):
        body: dict[str, Any] = {"filter": {}, "limit": 50} if kind == "events" else {"limit": 200}
        asked = Request(f"{api}/{kind}/filter", data=json.dumps(body).encode(),
                        headers={"Content-Type": "application/json"})
        with urlopen(asked, timeout=30) as answer:
            found.add(f"Prefect's {kind}", answer.read())


def test_the_runs_were_real_and_ended_as_they_should(runs: Runs) -> None:
    assert runs.codes == {"good": 0, "denied": 1, "no database": 1, "show": 0, "show, json": 0,
                          **dict.fromkeys(THROUGH_THE_COMMAND, 2)}


def test_what_is_searched_is_where_things_are(runs: Runs) -> None:
    """The search itself must be able to find: what is not secret stands in each of the places."""
    holding = runs.found.holding("a kitchen", "good")
    for place in ("good: standard output", "file home/backlot.db", "Prefect's flow_runs", "show: standard output"):
        assert place in holding, place
    assert any(where.startswith("object cas/sha256/") for where in runs.found.things)
    assert any(where.startswith("file home/outputs/good/final.png") for where in runs.found.things)
    lines = [where for where in runs.found.things if where.startswith("command line")]
    assert any("flows" in where for where in lines)
    assert any("-I" in where for where in lines), "the photo gate's child was not seen"


def test_no_canary_is_anywhere(runs: Runs) -> None:
    assert runs.found.holding(CANARY) == []


@pytest.mark.parametrize("image", IMAGES.values(), ids=IMAGES)
def test_a_document_with_a_secret_in_its_image_is_refused_at_the_door_without_repeating_it(
        shop: Path, image: str) -> None:
    with pytest.raises((DocumentError, SourceError), match="image=") as caught:
        build_document(pipeline("omni-bg"), Path(document(shop, "refused", image=image)), {})
    told = f"{caught.value}{json.dumps(error_facts(caught.value))}{''.join(traceback.format_exception(caught.value))}"
    assert CANARY not in told


@pytest.mark.parametrize("before", [b"", b"a", b"ab", b"abc"])
@pytest.mark.parametrize("behind", [b"", b"z", b"yz"])
def test_the_search_sees_through_base64(before: bytes, behind: bytes) -> None:
    found = Found()
    found.add("coded", base64.b64encode(before + CANARY.encode() + b"auth" + behind))
    found.add("plain", before + CANARY.encode() + behind)
    found.add("clean", base64.b64encode(b"nothing of the kind is here"))
    assert found.holding(CANARY) == ["coded", "plain"]
