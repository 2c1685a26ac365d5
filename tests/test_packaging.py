"""What the sdist and the wheel hold, and what an install asks for."""

import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path, PurePosixPath

import pytest

from mlst.exits import EXTRAS

ROOT = Path(__file__).parents[1]
PACKAGES = ("mlst", "collection", "astm")
SHIPPED = (*PACKAGES, "tests", "manifests", "docs", "benchmarks")
FILES = ("LICENSE", "MANIFEST.in", "Makefile", "README.md", "constraints.txt", "pyproject.toml")
LEFT = shutil.ignore_patterns("__pycache__", "*.pyc", "*.so", "*.egg-info", ".*")
KERNELS = "mlst/native/_kernels.abi3.so"
"""What a compiler makes, if there is one."""
DISTRIBUTION = {
    "Cryptodome": "pycryptodomex",
    "yt_dlp": "yt-dlp",
    "ffmpeg": "ffmpeg-python",
    "imageio_ffmpeg": "imageio-ffmpeg",
}
DISTRIBUTION |= {"lance": "pylance", "scenedetect": "scenedetect-headless", "tomli_w": "tomli-w"}


@pytest.fixture(scope="module")
def project() -> dict[str, dict[str, list[str]]]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A clean copy of the source tree, and the folder with the sdist and the wheel made from it."""
    copy, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for name in SHIPPED:
        shutil.copytree(ROOT / name, copy / name, ignore=LEFT)
    for name in FILES:
        shutil.copy(ROOT / name, copy / name)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(copy)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    for made in (*copy.glob("*.egg-info"), *copy.glob("build")):
        shutil.rmtree(made)
    return copy, out


def files(folder: Path, *tops: str) -> set[str]:
    return {
        path.relative_to(folder).as_posix() for top in tops for path in (folder / top).rglob("*") if path.is_file()
    }


@pytest.mark.slow
def test_the_sdist_holds_the_source_tree(built: tuple[Path, Path]) -> None:
    copy, out = built
    with tarfile.open(next(out.glob("*.tar.gz"))) as sdist:
        held = {str(PurePosixPath(*PurePosixPath(one.name).parts[1:])) for one in sdist.getmembers() if one.isfile()}
    assert sorted((files(copy, *SHIPPED) | set(FILES)) - held) == []
    assert sorted(held - files(copy, *SHIPPED) - set(FILES) - {"PKG-INFO", "setup.cfg"}) == sorted(
        name for name in held if name.startswith("mlst.egg-info/")
    )


@pytest.mark.slow
def test_the_wheel_holds_every_file_of_the_packages_and_nothing_else(built: tuple[Path, Path]) -> None:
    copy, out = built
    with zipfile.ZipFile(next(out.glob("*.whl"))) as wheel:
        held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert sorted(files(copy, *PACKAGES) ^ (held - {KERNELS})) == []
    assert (KERNELS in held) == ("abi3" in next(out.glob("*.whl")).name) == bool(shutil.which("cc"))
    for kind in (".j2", ".toml", ".safetensors", ".json"):
        assert any(name.endswith(kind) for name in held), kind


def test_each_extra_brings_the_modules_that_errors_name_it_for(project: dict[str, dict[str, list[str]]]) -> None:
    extras, base = project["optional-dependencies"], str(project["dependencies"])
    for module, extra in EXTRAS.items():
        distribution = DISTRIBUTION.get(module, module)
        assert any(one.startswith(distribution) for one in extras[extra]), module
        assert f"'{distribution}>" not in base, module


def test_all_is_every_extra_of_users(project: dict[str, dict[str, list[str]]]) -> None:
    """But for Lance, whose package takes 217 MB, for one format of `mlst export`."""
    extras = project["optional-dependencies"]
    named = extras["all"][0].removeprefix("mlst[").removesuffix("]").split(",")
    assert sorted(named) == sorted(set(extras) - {"all", "dev", "docs", "lance"})


def test_every_direct_dependency_has_a_version_in_the_constraints(project: dict[str, dict[str, list[str]]]) -> None:
    pinned = {line.partition("==")[0].lower().replace("_", "-") for line in _lines(ROOT / "constraints.txt")}
    asked = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    names = {re.match(r"[A-Za-z0-9._-]+", one)[0].lower().replace("_", "-") for one in asked}
    assert sorted(names - pinned - {"mlst"}) == []


def _lines(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
