import contextlib
import errno
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mlst.exits import (
    EXTRAS,
    FILES,
    MEMORY,
    REMEDIES,
    Exit,
    GivenError,
    LimitError,
    MissingExtraError,
    Stopped,
    UserError,
    check_file,
    check_folder,
    check_limits,
    heed_signals,
    leave_at_signals,
    missing_extra,
    of_the_system,
)


def test_the_codes_that_scripts_rely_on() -> None:
    assert [(code.name, int(code)) for code in Exit] == [("DONE", 0), ("WRONG", 1), ("UNUSABLE", 2), ("PARTLY", 3)]


def test_an_extra_is_named_for_its_own_modules_alone() -> None:
    said = missing_extra(ModuleNotFoundError(name="yt_dlp.utils"))
    assert isinstance(said, UserError)
    assert "mlst[build]" in str(said)
    assert said.exit_code == Exit.UNUSABLE
    assert missing_extra(ModuleNotFoundError(name="mlst.typo")) is None
    assert missing_extra(ModuleNotFoundError("no name")) is None


def test_a_package_outside_the_table_of_extras_is_a_bug() -> None:
    assert "numpy" not in EXTRAS
    with pytest.raises(MissingExtraError):
        raise missing_extra(ModuleNotFoundError(name="ray")) or AssertionError


@pytest.mark.parametrize("number", REMEDIES)
def test_errors_of_the_machine_have_a_remedy(number: int) -> None:
    said = of_the_system(OSError(number, os.strerror(number), "/place"))
    assert said == f"/place: {os.strerror(number)}; {REMEDIES[number]}"
    assert of_the_system(OSError(number, "words")).startswith("words; ")


@pytest.mark.parametrize(
    ("which", "value", "words"),
    [
        (resource.RLIMIT_AS, MEMORY - 1, "ulimit -v"),
        (resource.RLIMIT_AS, MEMORY, ""),
        (resource.RLIMIT_NOFILE, FILES - 1, "ulimit -n"),
        (resource.RLIMIT_NOFILE, FILES, ""),
    ],
)
def test_limits_that_would_end_a_command_half_way_are_refused(
    monkeypatch: pytest.MonkeyPatch, which: int, value: int, words: str
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda asked: (value if asked == which else -1, -1))
    with pytest.raises(LimitError, match=words) if words else contextlib.nullcontext():
        check_limits()


def test_errors_of_the_program_are_bugs() -> None:
    assert of_the_system(MemoryError()).startswith("memory is exhausted: ")
    for why in (
        ValueError("x"),
        OSError("no number"),
        OSError(errno.EBADF, "x"),
        FileNotFoundError(errno.ENOENT, "x"),
    ):
        assert of_the_system(why) == ""


def test_a_signal_ends_a_command_with_the_code_that_shells_know() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
            leave_at_signals()
            heed_signals()
            with pytest.raises(Stopped) as stopped:
                signal.raise_signal(number)
            assert (stopped.value.exit_code, str(stopped.value)) == (code, f"stopped by {number.name}")
            assert signal.getsignal(number) is signal.SIG_DFL
            heed_signals()  # a second command in one process leaves the handlers of others as they are
            assert signal.getsignal(number) is signal.SIG_DFL
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


IMPORTING = """
import signal, sys
class Finder:
    def find_spec(name, *others):
        if name == "{module}":
            signal.raise_signal(signal.{number})
sys.meta_path.insert(0, Finder)
sys.argv = ["command", *sys.argv[1:]]
from {package}.cli.main import main
main()
"""


@pytest.mark.parametrize(
    ("package", "words", "module", "number", "said"),
    [
        ("collection", ["plan", "none.csv"], "typer", signal.SIGINT, ""),
        ("astm", ["why", "one", "two"], "typer", signal.SIGTERM, ""),
        (
            "collection",
            ["plan", "none.csv"],
            "collection.cli.outcomes",
            signal.SIGTERM,
            "stopped by SIGTERM; ",
        ),
        ("astm", ["why", "one", "two"], "astm.why", signal.SIGINT, "stopped by SIGINT; run the same command again"),
    ],
)
def test_a_signal_while_modules_are_imported_ends_a_command_without_traceback(
    package: str, words: list[str], module: str, number: signal.Signals, said: str
) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", IMPORTING.format(package=package, module=module, number=number.name), *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
        timeout=60,
    )
    assert ran.returncode == 128 + number, ran.stderr
    assert ran.stderr.startswith(said)
    assert ran.stderr.count("\n") == bool(said)


def test_a_place_that_takes_no_files_is_found_before_the_work(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    for place in (tmp_path, tmp_path / "new" / "folder", file.parent / "other"):
        assert check_folder(place) == place
    for place in (file, tmp_path / "a" / "b.html", Path("new.html")):
        assert check_file(place) == place
    for check in (check_file, check_folder):
        with pytest.raises(GivenError, match="file is not a folder; give another path"):
            check(file / "x" / "y")
    with pytest.raises(GivenError, match="is a folder; give the path of a file"):
        check_file(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc, in which root makes no files either")
def test_a_place_on_a_file_system_without_files_of_ours_is_refused() -> None:
    with pytest.raises(GivenError, match="no files can be made in /proc; give another path"):
        check_folder(Path("/proc/none/folder"))
