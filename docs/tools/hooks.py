"""Pages of the site that are generated when it is built: commands, recipe settings, the Python API.

mkdocs calls the functions whose names begin with `on_`. A generated page has no file in `docs/`: it cannot go stale.
"""

import inspect
import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from posixpath import normpath, relpath
from typing import Any

import click
import griffe
import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from pages import INCLUDED, PACKAGES, ROOT, address
from pydantic import BaseModel
from pydantic.fields import FieldInfo

LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)(#[^)\s]*)?\)")


# -- The Python API


def rooms(package: str) -> list[str]:
    """Dotted names of `package` and the packages in it, without its command line."""
    folders = [path.parent for path in sorted((ROOT / package).rglob("__init__.py"))]
    names = [".".join(folder.relative_to(ROOT).parts) for folder in folders]
    return [name for name in names if not name.endswith(".cli")]


def modules(room: str) -> list[str]:
    """Dotted names of the public modules that lie directly in a package, the package first."""
    stems = [path.stem for path in sorted((ROOT / room.replace(".", "/")).glob("*.py"))]
    return [room] + [f"{room}.{stem}" for stem in stems if not stem.startswith("_")]


def api_page(room: str) -> str:
    """The page of a package: what mkdocstrings reads from its modules."""
    directives = "\n\n".join(f"::: {module}" for module in modules(room))
    return f"# {room}\n\n{directives}\n"


# -- Commands


def commands(name: str, app: typer.Typer) -> str:
    """Every command of a program with its arguments and options."""
    context = click.Context(command := typer.main.get_command(app), info_name=name)
    return f"## {name}\n\n{_help(command)}\n" + "".join(_subcommands(context, command))


def _subcommands(context: Any, group: Any) -> Iterator[str]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        inner = type(context)(command, info_name=name, parent=context)
        yield f"\n### {inner.command_path}\n\n{_help(command)}\n\n"
        if hasattr(command, "list_commands"):
            yield from _subcommands(inner, command)
        else:
            yield _synopsis(inner, command)


def _synopsis(context: Any, command: Any) -> str:
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    rows = [record for p in command.params if (record := p.get_help_record(context))]
    arguments = [f"| `{_cell(names)}` | {_cell(text)} |" for names, text in rows]
    head = ["", "| argument | meaning |", "|---|---|"] if arguments else []
    return "\n".join([f"```text\n{usage}\n```", *head, *arguments, ""])


def _help(command: Any) -> str:
    return inspect.cleandoc(command.help or "").replace("\f", "")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def commands_page() -> str:
    """The reference of both programs."""
    from astm.cli.commands import app as astm  # noqa: PLC0415 - takes seconds
    from collection.cli.commands import app as mlst  # noqa: PLC0415

    return f"# Commands\n\n{commands('mlst', mlst)}\n{commands('astm', astm)}"


# -- Recipe settings


def recipe_page() -> str:
    """Every setting of a recipe: its type, default and meaning, from `collection.recipe`."""
    from collection import recipe  # noqa: PLC0415

    described = griffe.load("collection.recipe", search_paths=[str(ROOT)])
    intro = "# Recipe settings\n\nGenerated from `collection.recipe`; [how to write a recipe](../recipe.md).\n"
    return intro + "".join(_table("", recipe.Recipe, described))


def _table(name: str, settings: type[BaseModel], described: Any) -> Iterator[str]:
    documented = described[settings.__name__].members
    title = f"[{name}]" if name else "Top level"
    yield f"\n## {title}\n\n{inspect.getdoc(settings)}\n\n| setting | type | default | meaning |\n|---|---|---|---|\n"
    inner: dict[str, type[BaseModel]] = {}
    for key, field in settings.model_fields.items():
        if inspect.isclass(field.annotation) and issubclass(field.annotation, BaseModel):
            inner[f"{name}.{key}".lstrip(".")] = field.annotation
        else:
            member = documented[key]
            meaning = member.docstring.value if member.docstring else ""
            yield f"| `{key}` | {_type(str(member.annotation))} | {_default(field)} | {_cell(meaning)} |\n"
    for key, kind in inner.items():
        yield from _table(key, kind, described)


def _type(annotation: str) -> str:
    """`int`, `ge=16, le=1024` for Annotated[int, Field(ge=16, le=1024)]."""
    parts = re.fullmatch(r"Annotated\[(\w+), Field\((.*)\)\]", annotation)
    return ", ".join(f"`{_cell(part)}`" for part in (parts.groups() if parts else [annotation]))


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.default
    return f"`{_cell(str(value) if hasattr(value, 'numerator') else repr(value))}`"


# -- What mkdocs calls


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the generated pages of the API into the navigation."""
    reference = next(entry["Reference"] for entry in config.nav or [] if "Reference" in entry)
    reference.append({"Python API": [{room: f"reference/{room}.md"} for p in PACKAGES for room in rooms(p)]})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages, and those that lie elsewhere in the repository."""
    pages = {"reference/commands.md": commands_page(), "reference/recipe.md": recipe_page()}
    pages |= {f"reference/{room}.md": api_page(room) for package in PACKAGES for room in rooms(package)}
    for page, path in INCLUDED.items():
        pages[page] = (ROOT / path).read_text(encoding="utf-8")
    for name, content in pages.items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links that work on a forge, turned to pages of the site."""
    source = page.file.src_uri
    origin = PurePosixPath(INCLUDED.get(source, f"docs/{source}")).parent

    def on_site(link: re.Match[str]) -> str:
        target = address(normpath(str(origin / link[1])))
        return f"]({relpath(target, str(PurePosixPath(source).parent))}{link[2] or ''})" if target else link[0]

    return markdown if source.startswith("reference/") else LINK.sub(on_site, markdown)
