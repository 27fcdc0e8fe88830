"""What commands read before they do anything: the settings and a pipeline file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from dcmflow.cli.common import Usage, options
from dcmflow.errors import ConfigError
from dcmflow.units import parse_duration

if TYPE_CHECKING:
    from dcmflow.config.settings import Settings
    from dcmflow.flow.pipeline import Pipeline


def load_settings() -> Settings:
    """The settings, from the file that `--config` names or from its usual place. Raises ConfigError."""
    from dcmflow.config.settings import Settings

    return Settings.load(options().config)


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
