"""What fingerprints tell of shots, on made-up hashes."""

from dataclasses import replace
from pathlib import Path

from collection.report.prints import told
from mlst.dataset.description import INDEX
from mlst.dataset.index import read_index, write_index
from mlst.pictures.fingerprints import WINDOWS, WORDS
from tests import tiny


def pictures(*shots: int) -> str:
    """The fingerprint of a clip whose frames show these shots; 0 is a flat picture."""
    size = len(WINDOWS) * WORDS * 16
    return "".join(tiny.fingerprint(shot)[:size] if shot else "0" * size for shot in shots)


def index(path: Path, *clips: tuple[str, int, int, str]) -> Path:
    """An index of clips of 10 frames: source, shot, first frame, fingerprint."""
    row = next(read_index(tiny.built() / INDEX))
    made = (
        replace(row, info=replace(row.info, source=name, shot=shot, first_frame=n, end_frame=n + 10), fingerprint=text)
        for name, shot, n, text in clips
    )
    with path.open("wb") as file:
        write_index(file, made)
    return path


def test_a_transition_between_like_pictures_comes_first(tmp_path: Path) -> None:
    same, other = pictures(1, 1, 1, 1), pictures(2, 2, 2, 2)
    clips = [("b", 1, 20, other), ("a", 0, 0, same), ("a", 1, 15, same), ("b", 0, 0, same)]
    seams = told(index(tmp_path / "i", *clips), 9).seams
    assert [(seam.before, seam.after) for seam in seams] == [(1, 2), (3, 0)]
    assert seams[0].distance == 0
    assert 60 < seams[1].distance < 130  # of 192 bits, half in the mean


def test_only_neighbours_with_pictures_are_compared(tmp_path: Path) -> None:
    same = pictures(1, 1, 1, 1)
    far = [("a", 0, 0, same), ("a", 1, 500, same), ("a", 3, 520, same), ("b", 4, 0, same), ("c", 0, 0, pictures(0, 0))]
    assert told(index(tmp_path / "i", *far, ("c", 1, 10, same)), 9).seams == ()


def test_the_clip_that_changes_most_comes_first_and_a_flash_is_none(tmp_path: Path) -> None:
    still, cut, flash = pictures(*[1] * 10), pictures(*[1] * 4, *[2] * 6), pictures(*[1] * 4, 2, *[1] * 5)
    short, flat = pictures(1, 1, 2, 2), pictures(0, 0, 0, 0)
    clips = [("a", n, 100 * n, text) for n, text in enumerate((still, flash, flat, cut, short))]
    jumps = told(index(tmp_path / "i", *clips), 9).jumps
    assert {jump.clip: round(jump.where, 2) for jump in jumps} == {3: 0.39, 4: 0.5}


def test_near_duplicates_are_of_different_shots(tmp_path: Path) -> None:
    """As the fingerprint of a clip is alike for the same footage."""
    same = [tiny.fingerprint(7)] * 3
    clips = [("a", shot, 10 * n, text) for n, (shot, text) in enumerate(zip((0, 0, 4), same, strict=True))]
    alike = told(index(tmp_path / "i", *clips, ("b", 0, 0, tiny.fingerprint(8))), 9).alike
    assert alike == ((0, 2), (1, 2))
    assert len(told(tmp_path / "i", 1).alike) == 1


def test_a_real_index_is_read() -> None:
    seen = told(tiny.built() / "metadata/clips.parquet", 1000)
    assert len(seen.seams) > 5
    assert replace(seen, jumps=()) == replace(told(tiny.built() / "metadata/clips.parquet", 1000), jumps=())
