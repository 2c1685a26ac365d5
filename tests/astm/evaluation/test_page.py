"""The page of results: self-contained, escaped, with what the folder has."""

import base64
import io
import re
from html.parser import HTMLParser

import av
import numpy as np
import pytest

from astm.evaluation.page import page
from astm.results import EvaluationError
from tests.astm.cli.test_main import evaluate_on_mlst, run


class Parts(HTMLParser):
    """Attributes that load something, and the tables' text."""

    def __init__(self, text):
        super().__init__()
        self.loaded, self.cells, self.tags = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.loaded += [value for name, value in attributes if name in ("src", "href")]

    def handle_data(self, data):
        self.cells.append(data.strip())


def test_a_page_needs_nothing_beside_it(tmp_path):
    assert evaluate_on_mlst("copy_last", tmp_path, 24).exit_code == 0
    ran = run("report", tmp_path / "out")
    assert ran.exit_code == 0, ran.output
    text = (tmp_path / "out" / "report.html").read_text()
    parts = Parts(text)
    assert parts.loaded
    assert all(value.startswith("data:") for value in parts.loaded)
    assert not re.search(r"url\(|@import|<script", text)
    assert {"copy_last", "s0t0 (3)", "s2t1 (3)"} <= set(parts.cells)
    assert parts.tags.count("video") == 3
    film = next(value for value in parts.loaded if value.startswith("data:video/mp4"))
    with av.open(io.BytesIO(base64.b64decode(film.partition(",")[2]))) as video:
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    assert len(frames) == 5
    assert frames[0].shape == (144, 2 * 144 + 6, 3), "the truth, a line, one model; 24 pixels six times as large"


def test_labels_are_text(tmp_path):
    np.save(tmp_path / "t.npy", np.zeros((2, 4, 16, 16), np.uint8))
    np.save(tmp_path / "p.npy", np.zeros((2, 2, 16, 16), np.uint8))
    label = "<img src=x>"
    ran = run("score", tmp_path / "t.npy", tmp_path / "p.npy", "--label", label, "--out", tmp_path / "r")
    assert ran.exit_code == 0, ran.output
    assert run("report", tmp_path / "r", "--out", tmp_path / "page.html").exit_code == 0
    parts = Parts((tmp_path / "page.html").read_text())
    assert label in parts.cells
    assert "x" not in parts.loaded


def test_no_results(tmp_path):
    with pytest.raises(EvaluationError, match="no such file"):
        page(tmp_path)
