"""The doctor's question to the weights: is everything that the profile needs here, as it was pinned?"""

from __future__ import annotations

from collections.abc import Sequence

from models.errors import WeightsError
from models.licences import check_production
from models.missing import pull_command
from models.passes import PASSES
from models.profiles import Profile, profile
from models.safetensors_check import check_file
from models.weights import resolve, verify
from storage.settings import PREFIX, Settings
from tasks.diagnosis import Line, failed, ok, warning


def weights(settings: Settings, name: str, *, full: bool) -> Sequence[Line]:
    """Raises what the table of weights raises: WeightsError, InputError for an unknown profile. full: hash them too."""
    chosen = profile(name)
    if chosen.is_tiny:
        return [ok("weights", f"{name}: drawn in memory, nothing to fetch. {chosen.notice}")]
    pinned = resolve(chosen, settings.weights_dir)
    lines = []
    for model in pinned.values():
        try:
            for file in model.spec.files:
                check_file(model.path(file), file)
            if full:
                verify(model)
        except WeightsError as error:
            lines.append(failed("weights", str(error).removesuffix(error.remedy).rstrip(" ."), error.remedy))
    if settings.production:
        try:
            check_production((file for model in pinned.values() for file in model.spec.files),
                             settings.licences_held)
        except WeightsError as error:
            lines.append(failed("weights", str(error).removesuffix(error.remedy).rstrip(" ."), error.remedy))
    for role in sorted(chosen.models.keys() - pinned.keys()):
        lines += _without(settings, chosen, role)
    if not lines:
        size = sum(model.size_bytes for model in pinned.values()) / 1e9
        how = "every digest as pinned" if full else "sizes and headers as pinned; --full hashes them"
        lines.append(ok("weights", f"{name}: {len(pinned)} models, {size:.1f} GB, {how}"))
    return lines


def _without(settings: Settings, chosen: Profile, role: str) -> Sequence[Line]:
    """What it means that a model which not everyone needs is not here: nothing where no setting asks for it."""
    name, get_it = chosen.name, f"Get it with: {pull_command(chosen)} --only {role}"
    for spec in PASSES.values():
        if role in spec.chosen_weights:
            choice = spec.chosen_weights[role]
            way = getattr(settings, choice.setting)
            if way == "auto":  # which goes without
                continue
            if role not in spec.needs(spec.params.model_validate({choice.parameter: way}), spec.roles):
                return []
            return [failed("weights", f"{name}: no {role}, which {PREFIX}{choice.setting.upper()}={way} needs", get_it)]
    return [warning("weights", f"{name}: no {role}, which a pass then does without", get_it)]
