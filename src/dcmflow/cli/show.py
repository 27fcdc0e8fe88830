"""`dcmflow show`: a pipeline file as a drawing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from dcmflow.cli.common import chosen, print_json

FORMATS = ("tree", "mermaid", "toml", "json")


def show(
    file: Annotated[Path, Parameter(help="The pipeline file.")],
    /,
    *,
    format: Annotated[
        str | None,
        Parameter(
            metavar="FORMAT",
            help="tree, mermaid, toml or json (default: tree on a terminal, json in a pipe).",
        ),
    ] = None,
) -> None:
    """Draw a pipeline file without opening anything."""
    from dcmflow.cli.load import load_pipeline
    from dcmflow.config import draw

    wanted = chosen(format, FORMATS, terminal="tree")
    pipeline = load_pipeline(file)
    if wanted == "json":
        print_json(draw.as_json(pipeline))
    elif wanted == "toml":
        print(draw.without_secrets(pipeline).to_toml().rstrip())
    else:
        print((draw.mermaid if wanted == "mermaid" else draw.tree)(pipeline).rstrip())
