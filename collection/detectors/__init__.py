"""Shot detectors: small pictures in, typed transitions out. Importing the package registers all of them."""

from collection.detectors import ensemble, own, pyscenedetect, transnet
from collection.detectors.registry import Detector, detector, make_detector, options_of
from collection.detectors.thumbs import Thumb, thumb

__all__ = [
    "Detector",
    "Thumb",
    "detector",
    "ensemble",
    "make_detector",
    "options_of",
    "own",
    "pyscenedetect",
    "thumb",
    "transnet",
]
