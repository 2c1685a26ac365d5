"""What one clip of Moving MNIST keeps for the backward pass, for every model at its default settings.

    python -m benchmarks.full_size_memory > astm/evaluation/measured/memory.json

Bytes by model, 10 -> 10 frames of 64 x 64, float32, without parameters. Exact, and the same everywhere: counted on the
meta device. `astm table 1` shows them.
"""

import json
import sys

import torch

from astm.evaluation.cost import saved_bytes
from astm.models import model


def main() -> None:
    """Print JSON."""
    sizes = {}
    for name in model:
        with torch.device("meta"):
            predictor, clip = model[name](), torch.empty(2, 1, 10, 1, 64, 64)
        sizes[name] = saved_bytes(predictor, *clip) if next(predictor.parameters(), None) is not None else 0
        print(f"{name}: {sizes[name] / 2**20:.1f} MiB", file=sys.stderr)
    print(json.dumps(sizes, indent=1, sort_keys=True))


if __name__ == "__main__":
    main()
