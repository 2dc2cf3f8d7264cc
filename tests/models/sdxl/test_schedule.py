"""The levels a schedule visits."""

import pytest

from models.sdxl.schedule import Schedule, align_your_steps, generators, scheduler

OMNI_ZERO = [14.6146, 6.3185, 3.7682, 2.1812, 1.3405, 0.8621, 0.5551, 0.3799, 0.2332, 0.1114, 0.0]
"""Its ten-step levels, the last set to 0 (spec/omni-bg.md 1.3)."""


def test_ten_aligned_steps_are_the_published_ones() -> None:
    solver = scheduler()
    solver.set_timesteps(10)
    align_your_steps(solver, 10)
    assert solver.sigmas.tolist() == pytest.approx(OMNI_ZERO, abs=1e-4)


@pytest.mark.parametrize("length", [1, 2, 7, 10, 23, 50, 100, 1000])
def test_any_number_of_aligned_steps_falls_from_the_last_level_to_none(length: int) -> None:
    solver = scheduler()
    solver.set_timesteps(length)
    align_your_steps(solver, length)
    assert len(solver.sigmas) == length + 1
    assert bool((solver.sigmas.diff() < 0).all())
    assert (solver.sigmas[0].item(), solver.sigmas[-1].item()) == (pytest.approx(14.6146, abs=1e-4), 0)
    assert solver.timesteps[0] == 999
    assert bool((solver.timesteps.diff() <= 0).all())


def test_a_schedule_is_spaced_as_asked() -> None:
    def levels(spacing: str) -> list[int]:
        return list(Schedule(3, 10, generators([1]), spacing).timesteps.tolist())  # type: ignore[arg-type]

    assert levels("ays") == [116, 53, 13]
    assert levels("karras") == [41, 7, 0]
