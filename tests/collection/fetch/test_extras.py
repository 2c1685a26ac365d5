"""Arguments for extractors and plug-ins: what is allowed, what is refused, what is loaded."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from collection.fetch.extras import arguments, secrets_in
from collection.fetch.ytdlp import Access, ConfigurationError

ROOT = Path(__file__).parents[3]


def test_arguments_are_read_as_yt_dlp_reads_them() -> None:
    given = arguments(("youtube:player_client=web,tv;po-token=web.gvs+ABCDEF", " YouTube:formats=missing_pot"), "", ())
    assert given == {
        "youtube": {"player_client": ["web", "tv"], "po_token": ["web.gvs+ABCDEF"], "formats": ["missing_pot"]}
    }
    assert secrets_in(given) == ("ABCDEF", "web.gvs+ABCDEF")


@pytest.mark.parametrize(
    "text",
    [
        "youtube:lang=de",
        "youtube:innertube_host=example.org",
        "youtube:player_client",
        "vimeo:client=web",
        "youtube",
        "player_client=web",
        "youtubepot-bgutilhttp:base_url=http://127.0.0.1:4416",
    ],
)
def test_other_arguments_are_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="extractor-args"):
        Access(extractor_args=(text,)).check()


def test_a_file_of_arguments_is_the_users_alone(tmp_path: Path) -> None:
    file = tmp_path / "args"
    file.write_text("youtube:po_token=web.gvs+AAAA\n")
    file.chmod(0o644)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        Access(extractor_args_file=str(file)).check()


@pytest.mark.parametrize("name", ["no-such-package-here", "numpy"])
def test_what_is_no_plug_in_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"yt-dlp-plugin: .*'{name}'"):
        Access(plugins=(name,)).check()


def package(site: Path, name: str, version: str, trace: Path) -> None:
    """An installed package with a plug-in that leaves a trace when it is loaded, and uses a module of its own."""
    modules = site / "yt_dlp_plugins" / "extractor"
    modules.mkdir(parents=True, exist_ok=True)
    about = site / f"{name}-{version}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    files = [f"yt_dlp_plugins/extractor/{name}.py", f"yt_dlp_plugins/extractor/{name}_more.py"]
    (about / "RECORD").write_text("".join(f"{file},,\n" for file in files))
    (site / files[0]).write_text(f"from yt_dlp_plugins.extractor.{name}_more import leave\nleave()\n")
    (site / files[1]).write_text(f"def leave():\n    open({str(trace)!r}, 'a').write({name!r})\n")


def test_only_plug_ins_that_are_named_are_loaded(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    for name, version in (("wanted", "1.2.3"), ("other", "4.5")):
        package(tmp_path / "site", name, version, trace)
    code = (
        "import sys; from pathlib import Path; from collection.politeness.budget import Budget, Politeness\n"
        "from collection.fetch.ytdlp import Access, Client; home = Path.home()\n"
        "polite = Politeness(home, '', Budget())\n"
        "with Client(('youtube',), Access(plugins=tuple(sys.argv[1:])), home, polite, 0, private=True) as client:\n"
        "    print(client._tool)\n"
    )
    home = {"HOME": str(tmp_path), "PYTHONPATH": str(tmp_path / "site"), "PATH": os.environ["PATH"]}

    def run(*names: str) -> str:
        command = [sys.executable, "-c", code, *names]
        done = subprocess.run(command, env=home, cwd=ROOT, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    assert "," not in run()
    assert not trace.exists()
    assert run("wanted").endswith(", wanted 1.2.3")
    assert trace.read_text() == "wanted"
