"""`viewer.html`: a page that plays any clip of the dataset beside it, out of the shards."""

from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined

from collection.report.html import asset, script_hash

VIEWER = "viewer.html"


def viewer(title: str, review: str) -> str:
    """The page. `review` is the name of the file that marks are read from and sent to, beside the page; "" where there
    is nobody to take them, and they are offered for download."""
    script = asset("page/core.js") + _asset("viewer.js")
    environment = Environment(
        loader=PackageLoader("collection.viewing"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("viewer.html.j2").render(
        title=title,
        review=review,
        style=asset("report.css") + _asset("viewer.css"),
        script=script,
        script_hash=script_hash(script),
    )


def _asset(name: str) -> str:
    return (files("collection.viewing") / "templates" / name).read_text(encoding="utf-8")
