"""What commands read before they do anything: the settings and a pipeline file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from dcmflow.cli.common import Usage, options
from dcmflow.errors import ConfigError
from dcmflow.units import parse_duration

if TYPE_CHECKING:
    from dcmflow.config.settings import Settings
    from dcmflow.flow.pipeline import Pipeline


def load_settings(values: Mapping[str, object] | None = None) -> Settings:
    """The settings, from the file that `--config` names or from its usual place. Raises ConfigError.

    Args:
        values: what the command line says, by dotted key; None values do not count.
    """
    from dcmflow.config.settings import Settings

    return Settings.load(options().config, options=values)


def load_pipeline(file: str | os.PathLike[str]) -> Pipeline:
    """The pipeline of a file, which may use what the settings know by name. Raises ConfigError."""
    from dcmflow.config.pipeline_file import load

    pipeline = load(file, settings=load_settings())
    try:
        pipeline.check()
    except ConfigError as error:
        raise error.at(file=os.fspath(file)) from None
    return pipeline


def seconds(text: str, option: str) -> float:
    """The seconds that an option says. Raises Usage."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise Usage(f"{option}: {error}") from None
