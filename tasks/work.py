"""A request made ready: its pass, its pinned weights and its key. Nothing is loaded."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

from models.errors import WeightsError
from models.params import PassParams
from models.passes import PASSES, PassSpec
from models.weights import PinnedModel
from storage.records import KeyParts
from storage.settings import PREFIX
from tasks.ladder import Place
from tasks.requests import PassRequest
from tasks.services import Services


@dataclass(frozen=True, kw_only=True)
class Work:
    """A request with everything its key needs."""

    request: PassRequest
    spec: PassSpec
    models: dict[str, PinnedModel]
    parts: KeyParts

    @property
    def refresh(self) -> bool:
        return bool({self.spec.name, self.request.at} & set(self.request.job.refresh))

    @property
    def kind(self) -> Hashable | None:
        """Equal for what may be computed as one batch: pass, weights, sizes of the inputs, and all parameters but those
        that pictures of a batch may differ in. None where the pass takes one at a time."""
        if self.spec.batch is None:
            return None
        sizes = frozenset((role, artifact.width, artifact.height) for role, artifact in self.request.inputs.items())
        weights = frozenset((role, model.digest) for role, model in self.models.items())
        return self.spec.name, weights, sizes, self.request.params.shared()

    @property
    def place(self) -> Place:
        """Equal for what takes the same memory."""
        sizes = [(artifact.width or 0, artifact.height or 0) for artifact in self.request.inputs.values()]
        width, height = max(sizes, key=lambda size: size[0] * size[1], default=(0, 0))
        return Place(pass_name=self.spec.name, width=width, height=height,
                     weights=frozenset(model.digest for model in self.models.values()))


def prepare(services: Services, request: PassRequest) -> Work:
    """Raises TypeError where the request is not one of its pass, WeightsError where the profile lacks weights."""
    spec = PASSES[request.pass_name]
    given = set(request.inputs)
    if not set(spec.roles) <= given <= {*spec.roles, *spec.optional_roles}:
        raise TypeError(f"the pass {spec.name} takes {spec.roles} and may take {spec.optional_roles}, "
                        f"got {sorted(given)}")
    if not isinstance(request.params, spec.params):
        raise TypeError(f"the pass {spec.name} takes {spec.params.__name__}, got {type(request.params).__name__}")
    models = weights_for(services, request.job.profile, spec, request.params, request.inputs.keys())
    parts = KeyParts(
        pass_name=spec.name, pass_version=spec.version, params=request.params.key_parts(),
        inputs={role: artifact.digest for role, artifact in request.inputs.items()},
        weights={role: model.digest for role, model in models.items()})
    return Work(request=request, spec=spec, models=models, parts=parts)


def weights_for(services: Services, profile: str, spec: PassSpec, params: PassParams, given: Collection[str],
                ) -> dict[str, PinnedModel]:
    """The pinned weights that the pass reads for these parameters and roles. Raises WeightsError where one is missing,
    naming the setting that asked for it where one did."""
    roles = spec.needs(params, given)
    if not roles:
        return {}
    pinned = services.pinned(profile)
    for role in roles:
        if role in pinned or role in spec.optional_weights:
            continue
        choice = spec.chosen_weights.get(role)
        if choice is None:
            raise WeightsError(f"has no weights for {role}, which the pass {spec.name} needs",
                               field="profile", value=profile, remedy="Choose a profile that has them")
        raise WeightsError(
            f"needs weights for {role}, and the profile {profile} has none here",
            field=f"{PREFIX}{choice.setting.upper()}", value=getattr(params, choice.parameter),
            remedy=f"Get them with `backlot weights pull --profile {profile} --only {role}`, or choose another way: "
                   f"pictures of {choice.idle_for} are the same by each")
    return {role: pinned[role] for role in roles if role in pinned}


@cache
def resolve_function(name: str) -> Callable[..., Any]:
    """The pass function behind "package.module:name". Imported here and late: a job of hits loads no torch."""
    module, _, attribute = name.partition(":")
    function: Callable[..., Any] = getattr(import_module(module), attribute)
    return function
