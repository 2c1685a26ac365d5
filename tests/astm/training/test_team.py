"""What a process may use of the machine."""

import os

import pytest

from astm.training import team


def test_quotas_of_containers(tmp_path):
    assert team.quota(tmp_path) == float("inf")
    old = tmp_path / "cpu"
    old.mkdir()
    (old / "cpu.cfs_quota_us").write_text("150000\n")
    (old / "cpu.cfs_period_us").write_text("100000\n")
    assert team.quota(tmp_path) == 1.5
    (old / "cpu.cfs_quota_us").write_text("-1\n")
    assert team.quota(tmp_path) == float("inf")
    (tmp_path / "cpu.max").write_text("400000 100000\n")
    assert team.quota(tmp_path) == 4
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert team.quota(tmp_path) == float("inf")


@pytest.mark.parametrize(
    ("cores", "allowed", "limit", "running", "free"),
    [
        (16, 16, "max", 0, 16),
        (16, 4, "max", 0, 4),
        (16, 16, "250000", 0, 2),
        (16, 16, "max", 10, 6),
        (2, 2, "max", 12, 1),
        (2, 2, "50000", 0, 1),
    ],
)
def test_free_cores(tmp_path, monkeypatch, cores, allowed, limit, running, free):
    (tmp_path / "cpu.max").write_text(f"{limit} 100000\n")
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(allowed)), raising=False)
    monkeypatch.setattr(team, "busy", lambda: running)
    assert team.free_cores(tmp_path) == free


def test_two_runs_on_an_idle_machine_share_it(monkeypatch):
    """Both begin before the other is seen to run."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    for cores, threads in ((1, 1), (2, 1), (4, 2), (64, 32)):
        monkeypatch.setattr(team, "free_cores", lambda _, cores=cores: cores)
        assert team.default_threads() == threads


def test_the_machine_is_read():
    assert team.busy() >= 0
    assert 1 <= team.free_cores(team.CGROUPS) <= (os.cpu_count() or 1)
