"""Results are shown of the dataset that they were measured on, and of no other."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from collection.report.scores import ScoresError, measured_on
from mlst.dataset.description import INDEX
from mlst.loading import load
from tests import tiny

CLIPS = [row for row in pq.read_table(tiny.built() / INDEX).to_pylist() if row["split"] == "train"]


def results(folder: Path, clips: list[tuple[str, str]]) -> Path:
    """What `astm evaluate` writes, as far as it is read here."""
    scores = [{"metric": "psnr_u8", "mean": 20.0}]
    levels = {level: sum(one == level for _, one in clips) for _, level in clips}
    groups = [
        {"level": name, "clips": count, "scores": scores} for name, count in {"all": len(clips), **levels}.items()
    ]
    made = {"label": "x", "split": "train", "protocol": "p", "fingerprint": "f", "groups": groups}
    (folder / "results.json").write_text(json.dumps([made]))
    keys, named = zip(*clips, strict=True)
    table = pa.table({"fingerprint": ["f"] * len(clips), "key": keys, "level": named})
    pq.write_table(table, folder / "clips.parquet")
    return folder / "results.json"


def test_results_on_the_dataset_are_taken(tmp_path: Path) -> None:
    file = results(tmp_path, [(row["key"], row["level"]) for row in CLIPS])
    (found,) = measured_on(tiny.built(), file)
    assert found.groups[0] == ("all", len(CLIPS), 20.0)


@pytest.mark.parametrize(
    ("clips", "said"),
    [
        ([("other_000000000", CLIPS[0]["level"])], "1 of the clips that were scored, such as other_000000000"),
        ([(CLIPS[0]["key"], "s9t9")], "are not there or of another level"),
    ],
)
def test_results_on_other_clips_are_refused(tmp_path: Path, clips: list[tuple[str, str]], said: str) -> None:
    with pytest.raises(ScoresError, match=said):
        list(measured_on(tiny.built(), results(tmp_path, clips)))


def test_the_fingerprint_of_the_dataset_decides_where_it_is_known(tmp_path: Path) -> None:
    file = results(tmp_path, [(row["key"], row["level"]) for row in CLIPS])
    (made,) = json.loads(file.read_text())
    read = load(tiny.built(), split="train", past=2, horizon=2, size=32, colour="grey")
    made |= {"dataset": "mlst", "fingerprint": read.fingerprint, "past": 2, "horizon": 2, "size": 32, "channels": 1}
    file.write_text(json.dumps([made]))
    assert len(list(measured_on(tiny.built(), file))) == 1
    file.write_text(json.dumps([{**made, "fingerprint": "0" * 64}]))
    with pytest.raises(ScoresError, match=r"fingerprint 0{16}, of another dataset; those of .*; run `astm evaluate`"):
        list(measured_on(tiny.built(), file))


def test_without_the_file_of_clips_their_number_decides(tmp_path: Path) -> None:
    file = results(tmp_path, [(row["key"], row["level"]) for row in [*CLIPS, CLIPS[0]]])
    (tmp_path / "clips.parquet").unlink()
    with pytest.raises(ScoresError, match=f"clips of level all were scored, and it has {len(CLIPS)};"):
        list(measured_on(tiny.built(), file))


@pytest.mark.parametrize(("text", "said"), [("{", ": Invalid JSON"), ('[{"label": 3}]', ": 0.label: Input should be")])
def test_another_file_is_refused_in_a_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(ScoresError, match=f"is not a result of `astm evaluate`{said}") as why:
        list(measured_on(tiny.built(), tmp_path / "results.json"))
    assert "\n" not in str(why.value)
    assert "pydantic" not in str(why.value)
