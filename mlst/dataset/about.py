"""What only its maker knows of a dataset: who made it, when it was published, and what a responsible user has to know.

The texts answer the questions of Croissant's RAI vocabulary, version 1.0
(https://docs.mlcommons.org/croissant/docs/croissant-rai-spec.html). What the toolkit did is added to them where it
knows; what it cannot know it does not make up, and `mlst lint` names what is missing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlst.dataset.description import Dataset


@dataclass(frozen=True, slots=True)
class Rai:
    """Answers to `QUESTIONS`, in plain text; "" for none."""

    collection: str = ""
    preprocessing: str = ""
    annotation: str = ""
    limitations: str = ""
    biases: str = ""
    sensitive: str = ""
    uses: str = ""
    impact: str = ""
    maintenance: str = ""


@dataclass(frozen=True, slots=True)
class About:
    """What `dataset.json` says of a dataset's maker and purpose; "" for what is not said."""

    published: str = ""
    """YYYY-MM-DD."""
    url: str = ""
    """Where people find it."""
    creators: tuple[str, ...] = ()
    """Persons or organisations."""
    rai: Rai = Rai()


UNSAID = About()


@dataclass(frozen=True, slots=True)
class Question:
    """One property of the vocabulary."""

    setting: str
    """Its name in a recipe's table `[rai]`."""
    property: str
    """Its name in Croissant."""
    why: str
    """What it is asked for."""


QUESTIONS = (
    Question("collection", "rai:dataCollection", "how the videos were found and by which rules they were chosen"),
    Question("preprocessing", "rai:dataPreprocessingProtocol", "what was done to them before a model sees them"),
    Question("annotation", "rai:dataAnnotationProtocol", "where the labels come from"),
    Question("limitations", "rai:dataLimitations", "what a result on this data does not show"),
    Question("biases", "rai:dataBiases", "whom and what the videos show too often or not at all"),
    Question("sensitive", "rai:personalSensitiveInformation", "whether people can be recognised, and who agreed"),
    Question("uses", "rai:dataUseCases", "what the dataset was made for, and for what it must not be used"),
    Question("impact", "rai:dataSocialImpact", "what good or harm its use may do"),
    Question("maintenance", "rai:dataReleaseMaintenancePlan", "who corrects it, for how long, and who removes videos"),
)


def answers(dataset: "Dataset") -> dict[str, str]:
    """Property to text for everything that is known: what the maker says, then what the toolkit did."""
    return {
        question.property: text
        for question in QUESTIONS
        if (text := " ".join(filter(None, (getattr(dataset.about.rai, question.setting), _known(question, dataset)))))
    }


def unanswered(dataset: "Dataset") -> Iterator[Question]:
    """What the maker has not said and the toolkit cannot know; how videos were found is the maker's alone."""
    known = answers(dataset)
    for question in QUESTIONS:
        said = getattr(dataset.about.rai, question.setting).strip()
        if question.property not in known or (question.setting == "collection" and not said):
            yield question


def _known(question: Question, dataset: "Dataset") -> str:
    """What the toolkit itself knows; "" where only the maker can answer."""
    removal = f" Removals are asked for at {dataset.contact}." if dataset.contact else ""
    known = {
        "collection": f"The clips come from {dataset.sources} videos, which sources.lock.jsonl names with their "
        "addresses, licences and hashes; a recipe (recipe.toml) chose among them, and no person looked at every clip.",
        "preprocessing": f"Every video was decoded once and divided into shots; clips of {dataset.frames} frames that "
        f"lie inside one shot were scaled to {dataset.side}x{dataset.side} pixels and encoded as H.264 without sound. "
        "Near-duplicates, black and frozen clips were left out as recipe.toml says.",
        "annotation": "No person labelled anything. The levels follow from statistics measured on each clip and the "
        "thresholds in levels.toml.",
        "limitations": "The levels measure texture and motion, not meaning; scaling to a square changes the shapes of "
        "things; the clips are a sample of the named videos and of nothing else.",
        "maintenance": "Every version has a number and a fingerprint; videos can be removed from a published version, "
        f"which raises its number and lists them as salted hashes in exclusions.txt.{removal}",
    }
    return known.get(question.setting, "")
