"""Where things are and what is allowed: the environment's BACKLOT_* variables, read here and nowhere else."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ModelWrapValidatorHandler, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from storage.errors import SettingsError, StorageError
from storage.redaction import redacted
from storage.s3_names import split_s3

PREFIX = "BACKLOT_"


class Settings(BaseSettings):
    """Read where a process starts, then passed along. Raises SettingsError for an unknown variable or a bad value."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="forbid",
                                      validate_default=True)

    home: Path = Field(default=Path(".backlot"), description="Folder of everything below that is not set itself")
    database_url: str = Field(
        default_factory=lambda known: f"sqlite:///{known['home']}/backlot.db", repr=False,  # may hold a password
        description="Jobs, executions, lineage")
    artifacts_url: str = Field(
        default_factory=lambda known: f"{known['home']}/artifacts", description="Stored pictures, by digest")
    outputs_url: str = Field(
        default_factory=lambda known: f"{known['home']}/outputs", description="Delivered pictures, a folder a job")
    weights_dir: Path = Field(
        default_factory=lambda known: known["home"] / "weights", description="Model files, laid out as published")
    profile: str = Field(default="tiny", description="Which weights serve which role, where a run does not say")
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$",
                        description="auto, cpu, cuda or cuda:N; auto takes a GPU where there is one")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto", description="What denoisers compute in; auto is bfloat16 on a GPU and float32 without one")
    compile: Literal["off", "regional", "whole"] = Field(
        default="off", description="torch.compile: off; regional, the blocks that repeat; whole, all of the nets. The "
        "first picture of each size and batch then takes minutes, later ones less")
    input_roots: Annotated[tuple[Path, ...], NoDecode] = Field(
        default=(), description=f"Folders a document may read photos from, separated by '{os.pathsep}'")
    input_buckets: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="Buckets, or bucket/prefix, that s3:// photos may come from, separated by ','")
    s3_endpoint_url: str | None = Field(
        default=None, pattern=r"^https?://[^\s@?#]+$",
        description="Address of an S3-compatible server; unset: AWS itself")
    hub_url: str | None = Field(
        default=None, pattern=r"^https?://[^\s@?#]+$",
        description="Where `backlot weights pull` fetches from; unset: the Hugging Face Hub")
    production: bool = Field(
        default=False, description="Refuse weights whose licence forbids commercial use, or does not say")
    licences_held: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="Repositories, as owner/name, separated by ',', for whose weights a licence was bought "
        "or cleared: production takes them")
    min_tile_ncc: float = Field(
        default=0.85, ge=-1, le=0.999, description="Least likeness of a picture's product to its own photo, tile by "
        "tile, at most 0.999: rounding leaves an intact product just below 1; below the limit a job ends needs_review; "
        "-1 lets everything through")
    spacing: Literal["karras", "ays"] = Field(
        default="karras", description="Noise levels of the sdxl passes: karras, or ays (Align Your Steps)")
    matting: Literal["auto", "classical", "neural"] = Field(
        default="auto", description="How a photo without alpha is cut out: classical, neural, or auto: neural where "
        "the profile's real matting weights are here")
    lines: Literal["canny", "canny_fixed", "lineart_standard", "teed"] = Field(
        default="canny", description="How lines are found: canny (its thresholds follow the product), canny_fixed, "
        "lineart_standard, or teed, which needs weights")
    lease_seconds: int = Field(default=90, ge=3, description="Seconds a silent worker keeps its claim, at least 3")

    @field_validator("home", "weights_dir")
    @classmethod
    def _absolute(cls, path: Path) -> Path:
        if "?" in str(path) or "#" in str(path):
            raise ValueError("the path holds '?' or '#', which mean something else in a database url")
        return path.expanduser().absolute()  # Prefect's workers change the working directory before a flow starts

    @field_validator("input_roots", mode="before")
    @classmethod
    def _split_paths(cls, value: Any) -> Any:
        return tuple(part for part in value.split(os.pathsep) if part) if isinstance(value, str) else value

    @field_validator("licences_held")
    @classmethod
    def _are_repositories(cls, repos: tuple[str, ...]) -> tuple[str, ...]:
        for repo in repos:
            if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo):  # it would clear nothing, without a word
                raise ValueError(f"{redacted(repo)!r} is none; write owner/name, as `backlot weights licences` does")
        return repos

    @field_validator("input_buckets", "licences_held", mode="before")
    @classmethod
    def _split_names(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("input_buckets")
    @classmethod
    def _are_names(cls, buckets: tuple[str, ...]) -> tuple[str, ...]:
        for bucket in buckets:
            try:
                split_s3(f"s3://{bucket}", "input_buckets")
            except StorageError:  # it would allow nothing, without a word
                raise ValueError(f"{redacted(bucket)!r} is none; write shop or shop/prefix, without s3://") from None
        return buckets

    @model_validator(mode="wrap")
    @classmethod
    def _in_one_line(cls, values: Any, handler: ModelWrapValidatorHandler[Settings]) -> Settings:
        _refuse_unknown_variables(cls.model_fields)
        try:
            return handler(values)
        except ValidationError as error:
            first = error.errors()[0]
            name = str(first["loc"][0])
            if first["type"] == "extra_forbidden":
                raise _unknown(name, name, first["input"], {known: known for known in cls.model_fields}) from None
            raise SettingsError(f"{PREFIX}{name.upper()}", redacted(str(first["input"])),
                                first["msg"].removeprefix("Value error, "),
                                f"It says: {cls.model_fields[name].description}") from None


def _refuse_unknown_variables(fields: Collection[str]) -> None:
    """A misspelt variable would otherwise be ignored, and the run go on with a default nobody chose."""
    for name in os.environ:  # without their values: what an unknown variable holds may be a secret
        field = name.lower().removeprefix(PREFIX.lower())
        if name.upper().startswith(PREFIX) and field not in fields:
            raise _unknown(name, field, "(not shown)", {known: f"{PREFIX}{known.upper()}" for known in fields})


def _unknown(name: str, field: str, value: object, known: Mapping[str, str]) -> SettingsError:
    """known: field -> how to write it where `name` was written."""
    near = get_close_matches(field, known, n=1)
    return SettingsError(name, value, "there is no such setting",
                         f"Did you mean {known[near[0]]}?" if near else f"There are {', '.join(known.values())}")


def make_folder(path: Path) -> None:
    """Make `path` and what is above it. Raises SettingsError naming BACKLOT_HOME where that cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError("BACKLOT_HOME", str(path), f"this folder cannot be made ({error.strerror})",
                            "Name a folder that can be written") from error
