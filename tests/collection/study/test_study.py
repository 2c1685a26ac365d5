"""`mlst study` on two small films: everything is measured, and a second run measures nothing again."""

import json
from pathlib import Path

import numpy as np
import pytest

from astm.evaluation.clip_scores import ClipScores, write_clip_scores
from collection.study.renditions import RENDITIONS
from tests.collection.cli.test_main import mlst
from tests.synthetic import Spec, write

pytestmark = pytest.mark.slow


def test_a_folder_of_videos_is_studied_and_taken_up_again(tmp_path: Path) -> None:
    videos, page = tmp_path / "videos", tmp_path / "study.html"
    videos.mkdir()
    write(videos / "a.mp4", Spec(frames=75))
    write(videos / "b film.mp4", Spec(frames=75, width=240, height=180))
    (videos / "notes.txt").write_text("not a video")
    words = ("study", videos, "--out", page, "--clips", 3, "--renditions", 1)
    _, said = mlst(*words)
    assert "renditions: 1 done" in said
    found = json.loads(page.with_suffix(".json").read_text())
    assert (found["clips"], found["priced"], found["remade"], found["groups"]) == (4, 3, 1, 2)
    assert [one["rendition"] for one in found["renditions"]] == [one.name for one in RENDITIONS]
    assert "Do the levels mean what they say?" in page.read_text(encoding="utf-8")
    _, said = mlst(*words)
    assert "costs: 0 done, 3 known before" in said
    assert json.loads(page.with_suffix(".json").read_text()) == found


def test_scores_of_other_clips_are_refused(tmp_path: Path) -> None:
    videos, scores = tmp_path / "videos", tmp_path / "scores"
    for folder in (videos, scores):
        folder.mkdir()
    write(videos / "a.mp4", Spec(frames=75))
    made = ClipScores("ASTM", "", ("elsewhere",), ("film",), ("s0t0",), {"mse_sum": np.array([0.1])})
    write_clip_scores(scores / "clips.parquet", [made])
    words = ("study", videos, "--out", tmp_path / "a.html", "--scores", scores)
    _, said = mlst(*words, status=2)
    assert "mse_sum of ASTM: none of its clips is in" in said
    _, said = mlst(*words, "--metric", "beauty", status=2)
    assert "has no beauty; metrics are mse_sum" in said


def test_a_folder_without_videos_is_refused(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    _, said = mlst("study", tmp_path / "videos", "--out", tmp_path / "a.html", status=2)
    assert "has no clips; give the folder of a dataset, or of videos" in said
