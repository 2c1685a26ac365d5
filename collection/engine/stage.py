"""What one item of one stage comes to.

A stage is a frozen settings object that can be called: `stage(item, work)` gives the item's outputs or raises.
Executors move work about; only `attempt` runs it, so every item of every stage ends in exactly one typed outcome.
"""

import errno
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Generic, Literal, Never, Protocol, TypeVar

from collection.workspace.folder import Span, Workspace
from mlst.exits import of_the_system

In = TypeVar("In")
Out = TypeVar("Out")
In_contra = TypeVar("In_contra", contravariant=True)
Out_co = TypeVar("Out_co", covariant=True)

Status = Literal["done", "rejected", "failed"]
DONE: Final = "done"
REJECTED: Final = "rejected"
FAILED: Final = "failed"
FULL = {errno.ENOSPC: "disk_full", errno.EDQUOT: "disk_full", errno.EFBIG: "file_size"}
"""Kinds by error number: a disk or quota is full, a file has reached its limit (`SIGXFSZ`, which Python ignores)."""

MACHINE = (
    *(errno.EIO, errno.ESTALE, errno.ENXIO, errno.EROFS, errno.ENOLCK),
    *(errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM),
)
"""Error numbers of a disk that fails, and of a machine without files, processes or memory left."""


class Rejected(Exception):
    """The item is not wanted or not to be had, and asking again changes nothing: `Rejected("gone.private", why)`."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(kind, detail)
        self.kind, self.detail = kind, detail


class Retry(Exception):
    """Nothing is known of the item, we are blocked or cut off: `Retry("blocked.rate", why)`. Asked again later."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(kind, detail)
        self.kind, self.detail = kind, detail


@dataclass(frozen=True, slots=True)
class Outcome(Generic[Out_co]):
    """How one attempt at an item ended."""

    key: str
    status: Status
    """`done`, `rejected` (expected, never asked again) or `failed` (asked again by the next run)."""
    kind: str
    """Dotted reason: "" when done; `gone.private`, `blocked.rate`, `crashed`, `timeout`, `error` ..."""
    detail: str
    outputs: tuple[Out_co, ...]


@dataclass(frozen=True, slots=True)
class Needs:
    """What one item of a stage may use; the executor enforces it."""

    seconds: float
    """Wall-clock deadline."""
    memory: int
    """Bytes of address space; 0 for no limit."""
    network: bool


LONGEST = 1 << 29
"""Bytes of any worker's message: some 400 000 clips of one video."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What an honest worker may answer for one item at most."""

    files: tuple[str, ...]
    """Names, below the stage's folder, that its outputs may speak of."""
    message: int
    """Bytes of its outcome."""


class Stage(Protocol[In_contra, Out_co]):
    """A frozen dataclass or model: its fields are the settings that may change its outputs, and nothing else."""

    name: ClassVar[str]
    version: ClassVar[int]
    """Raised when the meaning of the outputs changes though no setting does."""
    needs: ClassVar[Needs]

    @property
    def output(self) -> type[Out_co]:
        """The type of its outputs, which are records: they are decoded by it."""

    def settings(self) -> object:
        """JSON-ready settings: the stage's fingerprint is made of its name, version and these."""

    def key(self, item: In_contra, /) -> str:
        """Names the item in the ledger; changes when anything changes that the outputs depend on."""

    def reads(self, item: In_contra, /) -> Iterable[Span]:
        """What the item needs of the workspace. A worker sees no more where the workspace is an object store."""

    def expects(self, item: In_contra, /) -> Expected:
        """What is believed of a worker's answer at most."""

    def check(self, item: In_contra, outputs: tuple[Any, ...], /) -> None:
        """Raise ValueError where `outputs`, which are of the right type, cannot be those of the item: the worker that
        sent them may have been taken over. What passes can be recorded, and used by all that follows."""

    def __call__(self, item: In_contra, work: Workspace, /) -> Iterable[Out_co]:
        """The outputs of one item. Raises `Rejected` or `Retry`; anything else is a bug and keeps its traceback."""


AnyStage = Stage[Never, object]
"""For whoever only wants to know what a stage is called."""


def attempt(stage: Stage[In, Out], item: In, work: Workspace) -> Outcome[Out]:
    """Do one item and never raise."""
    return ended(stage.key(item), stage.needs, lambda: stage(item, work))


def ended(key: str, needs: Needs, call: Callable[[], Iterable[Out]]) -> Outcome[Out]:
    """The outcome that `call`, which gives the outputs of the item `key`, amounts to."""
    try:
        return Outcome(key, DONE, "", "", tuple(call()))
    except Rejected as why:
        return Outcome(key, REJECTED, why.kind, why.detail, ())
    except Retry as why:
        return Outcome(key, FAILED, why.kind, why.detail, ())
    except MemoryError:
        return Outcome(key, FAILED, "memory", f"more than {needs.memory} bytes of address space", ())
    except OSError as why:
        return of_system(key, why, "error")
    except Exception:
        return Outcome(key, FAILED, "error", traceback.format_exc(), ())


def of_system(key: str, why: OSError, otherwise: str) -> Outcome[Never]:
    """The failure that an error of the operating system amounts to: of a disk, of the machine (`machine.eio` ...), or
    else of the kind `otherwise`, with its traceback."""
    number = why.errno or 0
    if number in FULL:
        return Outcome(key, FAILED, FULL[number], str(why), ())
    if number in MACHINE:
        return Outcome(key, FAILED, f"machine.{errno.errorcode[number].lower()}", of_the_system(why) or str(why), ())
    return Outcome(key, FAILED, otherwise, "".join(traceback.format_exception(why)), ())
