"""Which columns see texture and motion as such: SI does not, the mean gradient does."""

from itertools import pairwise

import pytest

from collection.study.sweeps import SWEEPS, frames_of
from mlst.statistics import statistic

BY_NAME = {sweep.name: sweep for sweep in SWEEPS}


def along(sweep: str, column: str) -> list[float]:
    one = BY_NAME[sweep]
    return [statistic[column](frames_of(one.make(point))) for point in one.points]


@pytest.mark.slow
@pytest.mark.parametrize("sweep", [sweep.name for sweep in SWEEPS if sweep.axis == "s"])
def test_the_mean_gradient_rises_with_all_texture(sweep: str) -> None:
    assert all(a < b for a, b in pairwise(along(sweep, "gradient_mean")))


@pytest.mark.slow
def test_si_is_not_monotone_in_coverage_and_dct_energy_is_blind_to_aligned_checkers() -> None:
    si = along("coverage", "si")
    assert si[-1] < max(si)
    assert along("finer checkers", "dct_energy")[BY_NAME["finer checkers"].points.index(16)] == 0


@pytest.mark.slow
def test_ti_rises_with_speed_until_fine_texture_saturates_it() -> None:
    assert all(a < b for a, b in pairwise(along("speed of coarse texture", "ti10")))
    fine = along("speed of fine texture", "ti10")
    assert all(a < b for a, b in pairwise(fine[:5]))
    assert fine[-1] < fine[-2]
