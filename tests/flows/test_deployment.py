"""prefect.yaml deployed to a real server and run once through a real process worker."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.exceptions import PrefectHTTPStatusError

from storage.database import open_database
from storage.lineage import Lineage
from storage.settings import Settings

ROOT = Path(__file__).parents[2]


def prefect(server: str, *arguments: str, **environment: str) -> str:
    """A prefect command in a process of its own, against the test's server."""
    done = subprocess.run(
        [Path(sys.executable).with_name("prefect"), "--no-prompt", *arguments], cwd=ROOT, capture_output=True,
        text=True, timeout=300,
        env={**os.environ, "PREFECT_API_URL": server, "PREFECT_WORKER_QUERY_SECONDS": "1", **environment})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def deployment(prefect_server: str) -> Any:
    prefect(prefect_server, "work-pool", "create", "gpu", "--type", "process")
    prefect(prefect_server, "deploy", "--all")
    with get_client(sync_client=True) as client:
        return client.read_deployment_by_name("omni-bg/adhoc")


def parameters(image: Path, **changes: object) -> dict[str, Any]:
    return {"profile": "tiny", "params": {
        "job_id": "deployed", "image": str(image), "subject": "a box", "placed_on": "a table",
        "background": "a kitchen", "camera_orientation": "front", "camera_angle": "eye level",
        "main_light_direction": "left", "proposed_background": "", "proposed_brightness": 0.1, "width": 64,
        "height": 64, "seed": 7, "skip_second_pass": True, "skip_light_pass": True, **changes}}


def test_the_deployment_carries_the_documents_schema(deployment: Any) -> None:
    schema = deployment.parameter_openapi_schema
    assert schema["definitions"]["OmniBgParams"]["properties"]["light_mix_scale"]["maximum"] == 1
    assert schema["definitions"]["OmniBgParams"]["additionalProperties"] is False
    assert deployment.enforce_parameter_schema is True
    assert (deployment.work_pool_name, deployment.work_queue_name) == ("gpu", "adhoc")


@pytest.mark.parametrize("changes", [{"light_mix_scale": 2}, {"first_pass_steps": 9}, {"light_mix_scal": 0.5},
                                     {"subject": None}])
def test_the_server_refuses_a_bad_document_before_a_run_exists(deployment: Any, changes: dict[str, object]) -> None:
    with get_client(sync_client=True) as client:
        before = len(client.read_flow_runs())
        with pytest.raises(PrefectHTTPStatusError, match="409"):
            client.create_flow_run_from_deployment(deployment.id, parameters=parameters(ROOT / "a.png", **changes))
        assert len(client.read_flow_runs()) == before


def test_a_process_worker_runs_the_deployment(prefect_server: str, deployment: Any, tmp_path: Path) -> None:
    photo = np.full((120, 160, 3), 225, dtype=np.uint8)
    cv2.rectangle(photo, (50, 30), (110, 100), (40, 70, 160), -1)
    cv2.imwrite(str(tmp_path / "box.png"), photo)
    home = tmp_path / "home"
    with get_client(sync_client=True) as client:
        run = client.create_flow_run_from_deployment(deployment.id, parameters=parameters(tmp_path / "box.png"))
        prefect(prefect_server, "worker", "start", "--pool", "gpu", "--limit", "1", "--run-once",
                BACKLOT_HOME=str(home), BACKLOT_INPUT_ROOTS=str(tmp_path))
        assert _state_of(client, run.id) == "Completed"

    lineage = Lineage(open_database(Settings(home=home).database_url))
    assert lineage.job("deployed").state == "completed"
    assert lineage.job("deployed").flow_run_id == str(run.id)
    [(role, artifact, uri)] = lineage.outputs("deployed")
    assert (role, artifact.width, artifact.height) == ("final", 64, 64)
    assert Path(uri.removeprefix("file://")).is_file()


def _state_of(client: SyncPrefectClient, run_id: Any) -> str | None:
    return client.read_flow_run(run_id).state_name
