"""prefect.yaml is checked strictly here, because Prefect ignores keys it does not know and never prunes."""

from importlib import import_module
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from prefect import Flow
from prefect.utilities.callables import parameter_schema

from flows.job import ProfileName
from tasks.profiles import names

FILE = yaml.safe_load((Path(__file__).parents[2] / "prefect.yaml").read_text())
TOP = {"name", "prefect-version", "deployments"}
DEPLOYMENT = {"name", "entrypoint", "description", "tags", "parameters", "enforce_parameter_schema", "work_pool",
              "pull", "schedules", "concurrency_limit", "triggers", "version"}
WORK_POOL = {"name", "work_queue_name", "job_variables"}
DEPLOYMENTS: list[dict[str, Any]] = FILE["deployments"]


def load(deployment: dict[str, Any]) -> Flow[..., Any]:
    module, _, name = deployment["entrypoint"].rpartition(".")
    found = getattr(import_module(module), name)
    assert isinstance(found, Flow)
    return found


def test_no_key_is_unknown() -> None:
    assert set(FILE) <= TOP
    for deployment in DEPLOYMENTS:
        assert set(deployment) <= DEPLOYMENT
        assert set(deployment["work_pool"]) <= WORK_POOL


def test_the_version_is_the_locked_one() -> None:
    lock = (Path(__file__).parents[2] / "requirements.txt").read_text()
    assert f"prefect=={FILE['prefect-version']}\n" in lock


def test_names_are_unique() -> None:
    found = [(load(deployment).name, deployment["name"]) for deployment in DEPLOYMENTS]
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda item: item["entrypoint"])
def test_static_parameters_fit_the_flow(deployment: dict[str, Any]) -> None:
    flow = load(deployment)
    schema = parameter_schema(flow)
    assert set(deployment["parameters"]) <= set(schema.properties)
    assert deployment["enforce_parameter_schema"] is True
    assert deployment["pull"] == []


def test_the_form_offers_exactly_the_profiles_there_are() -> None:
    assert get_args(ProfileName) == names()


def test_the_form_shows_the_41_fields_in_the_originals_order() -> None:
    schema = parameter_schema(load(DEPLOYMENTS[0]))
    fields = schema.definitions["OmniBgParams"]["properties"]
    assert [field["position"] for field in fields.values()] == list(range(41))
    assert list(fields)[:3] == ["job_id", "image", "subject"]
