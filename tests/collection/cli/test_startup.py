"""What `mlst` imports before it knows what to do, and what it says where an extra is not installed."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from collection.cli import options, publish
from collection.cli.grouping import ungrouped
from collection.executors import executor
from collection.release import prepare as preparing
from collection.release import publish as publishing

ROOT = Path(__file__).parents[3]
HEAVY = {"av", "cv2", "datasets", "fsspec", "huggingface_hub", "jinja2", "matplotlib", "numpy", "pyarrow", "ray"}
HEAVY |= {"rich.progress", "scenedetect", "tenacity", "torch", "urllib3", "webdataset", "yaml", "yt_dlp"}
RUN = """
import runpy, sys
sys.argv = ["mlst", *sys.argv[1:]]
try:
    runpy.run_module("collection", run_name="__main__", alter_sys=True)
except SystemExit as end:
    print(sorted(sys.modules), file=sys.stderr)
    sys.exit(end.code)
"""
WITHOUT = """
import sys
for name in {names!r}:
    sys.modules[name] = None
sys.argv = ["mlst", *sys.argv[1:]]
from collection.cli.main import main
main()
"""
OF_EXTRAS = ["datasets", "ffmpeg", "imageio_ffmpeg", "matplotlib", "ray", "s3fs", "safetensors", "scenedetect"]
OF_EXTRAS += ["tensorboard", "tomli_w", "tomlkit", "webdataset", "yt_dlp"]


def python(code: str, *words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=120)


@pytest.mark.parametrize(
    "words",
    [("--help",), ("build", "--help"), ("verify", "--help"), ("manifest", "--help"), ("publish", "--help")],
    ids=" ".join,
)
def test_help_imports_nothing_heavy(words: tuple[str, ...]) -> None:
    ran = python(RUN, *words)
    assert ran.returncode == 0, ran.stderr
    assert "Usage" in ran.stdout
    assert "collection.cli.commands" in ran.stderr
    assert [name for name in HEAVY if repr(name) in ran.stderr] == []


def test_a_build_a_diagnosis_and_their_workers_do_without_pytorch_and_matplotlib() -> None:
    """Seconds of every command, and memory of every worker."""
    modules = "collection.cli.outcomes, collection.cli.running, collection.building, collection.preloaded"
    modules += ", collection.doctor.examine, collection.doctor.page, collection.doctor.watch"
    ran = python(f"import sys, {modules}; print([name for name in ('torch', 'matplotlib') if name in sys.modules])")
    assert ran.stdout == "[]\n", ran.stderr


def test_version_imports_none_of_what_it_tells_of_but_pyav() -> None:
    ran = python(RUN, "--version")
    assert ran.returncode == 0, ran.stderr
    assert [name for name in HEAVY if repr(name) in ran.stderr and name not in ("av", "numpy")] == []


def test_import_of_mlst_is_light() -> None:
    ran = python("import mlst, sys; print(sorted(sys.modules), file=sys.stderr)")
    assert [name for name in [*HEAVY, "pydantic", "typer", "rich"] if repr(name) in ran.stderr] == []


@pytest.mark.parametrize(
    ("words", "package", "extra"),
    [
        (("build", "manifests/demo/recipe.toml", "--out", "{tmp}/data"), "yt_dlp", "build"),
        (("plan", "manifests/demo/recipe.toml"), "yt_dlp", "build"),
        (("manifest", "expand", "https://example.org", "--out", "{tmp}/m.csv"), "yt_dlp", "build"),
    ],
)
def test_a_missing_extra_is_one_sentence_and_unusable_input(
    tmp_path: Path, words: tuple[str, ...], package: str, extra: str
) -> None:
    ran = python(WITHOUT.format(names=[package]), *(word.format(tmp=tmp_path) for word in words))
    assert ran.returncode == 2
    said = f"error: this command needs the package {package}; install it with: pip install 'mlst[{extra}]'\n"
    assert (ran.stdout, ran.stderr) == ("", said)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_readers_need_no_extra(tmp_path: Path) -> None:
    from tests import tiny

    assert "Verified" in python(WITHOUT.format(names=OF_EXTRAS), "verify", tiny.built()).stdout
    same = python(WITHOUT.format(names=OF_EXTRAS), "diff", tiny.built(), tiny.built())
    assert same.returncode == 0, same.stderr
    load = "import mlst; print(len(mlst.load(sys.argv[1], split='train', past=2, horizon=2)))"
    ran = python(WITHOUT.partition("sys.argv")[0].format(names=OF_EXTRAS) + load, tiny.built())
    assert int(ran.stdout) > 0, ran.stderr


def test_the_choices_that_help_names_are_those_there_are() -> None:
    assert list(options.EXECUTORS) == list(executor)
    assert publish.Mode == preparing.Mode
    assert publish.ReadBack == publishing.ReadBack


def test_a_group_of_options_is_given_one_by_one() -> None:
    def command(where: str, working: options.Working, going: options.Going, check: bool = False) -> None:
        told.append((where, working, going, check))

    told: list[object] = []
    flat = ungrouped(command)
    names = list(inspect.signature(flat).parameters)
    assert names[:5] == ["where", "workers", "executor", "address", "require_sandbox"]
    assert names[5:] == ["retry", "wave", "keep_videos", "check"]
    defaults = {name: one.default for name, one in inspect.signature(flat).parameters.items() if name != "where"}
    flat(where="here", **{**defaults, "workers": 5, "wave": 7})
    assert told == [("here", options.Working(5), options.Going(wave=7), False)]
