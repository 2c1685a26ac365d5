"""The `mlst` command on a CPU that seems to have nothing newer than SSE4.2.

    python -m benchmarks.without_avx build manifests/demo/recipe.toml --out out/demo

Masked are FFmpeg's libraries (`av_force_cpu_flags`), x264 (its option `asm`), NumPy, its BLAS, and OpenCV (environment
variables of theirs). Importing this module masks the process it is imported in: workers import it first.
"""

import ctypes
import os
import sys
from pathlib import Path
from typing import Any

MASKS = {
    "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR",
    "OPENBLAS_CORETYPE": "Nehalem",
    "OPENCV_CPU_DISABLE": "AVX,FP16,AVX2,FMA3,AVX512-SKX",
}
FLAGS = 0x13FF
"""MMX to SSE4.2 of `libavutil/cpu.h`."""
ASM = ":asm=SSE4.2"


def mask() -> None:
    """Let libav and x264 see no AVX."""
    import av  # noqa: PLC0415, NumPy has to see its variable first

    lines = Path("/proc/self/maps").read_text().splitlines()
    mapped = {line.split()[-1] for line in lines if "libavutil" in line}
    for library in mapped:
        ctypes.CDLL(library).av_force_cpu_flags(FLAGS)
    if not mapped:
        sys.exit(f"libavutil of PyAV {av.__version__} was not found, so nothing is masked")
    from collection.media import encode  # noqa: PLC0415

    configure = encode._configure

    def configured(stream: Any, *details: Any) -> None:
        configure(stream, *details)
        options = dict(stream.codec_context.options)
        stream.codec_context.options = {**options, "x264-params": options["x264-params"] + ASM}

    encode._configure = configured


os.environ.update(MASKS)
mask()

if __name__ == "__main__":
    from collection.cli import main as cli
    from collection.executors import local

    local.PRELOAD = ["benchmarks.without_avx"]
    cli.main()
