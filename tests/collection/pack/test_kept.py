"""Copies of a dataset's small files in its workspace."""

from pathlib import Path

from collection.pack.kept import DESCRIPTION, KEPT, keep
from collection.workspace.folder import Workspace
from mlst.dataset.description import DATASET, read_json
from tests import tiny


def test_nothing_stays_of_a_copy_whose_build_was_killed(tmp_path: Path) -> None:
    dataset = tiny.built()
    left = tmp_path / KEPT / f".{'d0' * 32}.2c579a75.part"
    left.parent.mkdir()
    left.write_bytes(b"half")
    files = read_json(dataset / DATASET).files
    keep(Workspace(tmp_path, "pack"), dataset, files)
    assert not left.exists()
    assert (tmp_path / DESCRIPTION).read_bytes() == (dataset / DATASET).read_bytes()
