"""Text from strangers, such as titles, addresses and error messages, made safe to show."""

import unicodedata

UNSEEN = frozenset({"Cc", "Cf", "Cs"})
"""Unicode's categories of control, format (bidirectional overrides too) and surrogate characters."""


def printable(text: str, keep: str = "\n\t") -> str:
    """`text` without characters that move the cursor, change colours or turn the direction of reading, but for those
    in `keep`."""
    return "".join(c for c in text if c in keep or unicodedata.category(c) not in UNSEEN)


def one_line(text: str) -> str:
    """`text` on one line, without control, format, surrogate, private and unassigned characters.

    Any white space becomes one space, so that words stay apart.
    """
    kept = "".join(" " if c.isspace() else c for c in text if c.isspace() or unicodedata.category(c)[0] != "C")
    return " ".join(kept.split())


def number_of(count: int, one: str, many: str = "") -> str:
    """The count and what is counted: "1 clip", "2 clips"; `many` where it is not `one` with an s, as in "2 are"."""
    return f"{count} {one if count == 1 else many or f'{one}s'}"
