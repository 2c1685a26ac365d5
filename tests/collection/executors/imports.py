"""A stage that does another one's items, to say what that imports; it imports nothing itself that a stage would."""

import gc
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from collection.engine.stage import Expected, Needs, Retry
from collection.workspace.folder import Span, Workspace


@dataclass(frozen=True, slots=True)
class Importing:
    """Ends every item as failed, with the modules that its worker imported: those that its server had are frozen, and
    the collector knows the others."""

    stage: Any
    name: ClassVar[str] = "importing"
    version: ClassVar[int] = 1
    output: ClassVar[type] = str

    @property
    def needs(self) -> Needs:
        needs: Needs = self.stage.needs
        return needs

    def settings(self) -> Any:
        return {}

    def key(self, item: Any) -> str:
        return "item"

    def reads(self, item: Any) -> Iterable[Span]:
        spans: Iterable[Span] = self.stage.reads(item)
        return spans

    def expects(self, item: Any) -> Expected:
        return Expected((), 1 << 20)

    def check(self, item: Any, outputs: tuple[str, ...]) -> None:
        pass

    def __call__(self, item: Any, work: Workspace) -> Iterable[str]:
        tuple(self.stage(item, work))
        known = set(map(id, gc.get_objects()))
        new = [name for name, module in sys.modules.items() if id(module) in known and not __name__.startswith(name)]
        raise Retry("imported" if gc.get_freeze_count() else "thawed", " ".join(sorted(new)))
