"""ASTM and the models it is compared with: video prediction on any clips in [0, 1].

    from astm import ASTM, create
    model = create("predrnn", hidden=64)
    future = model(past, horizon=10)          # (B, T, C, H, W) -> (B, 10, C, H, W)
    model = ASTM.from_pretrained("folder or Hub id")

PyTorch is imported when one of these names is first used, not before.
"""

import importlib
from typing import Any

_HOMES = {
    "ASTM": "astm.models.astm",
    "Predictor": "astm.predictor",
    "count_parameters": "astm.size",
    "create": "astm.models",
    "from_pretrained": "astm.models",
    "import_stam": "astm.importing.stam",
    "macs": "astm.size",
    "model": "astm.models",
}

__all__ = [
    "ASTM",
    "Predictor",
    "count_parameters",
    "create",
    "from_pretrained",
    "import_stam",
    "macs",
    "model",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'astm' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(_HOMES[name]), name)
