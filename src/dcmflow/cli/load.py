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

MOST_PROCESSES = 64


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


def divided(pipeline: Pipeline, processes: int, file: str | os.PathLike[str]) -> Pipeline:
    """What each of so many processes runs of the pipeline of a file. Raises Usage, ConfigError."""
    from dcmflow.config.division import divide

    if not 1 <= processes <= MOST_PROCESSES:
        raise Usage(f"--processes is 1 to {MOST_PROCESSES}, not {processes}")
    try:
        return divide(pipeline, processes) if processes > 1 else pipeline
    except ConfigError as error:
        raise error.at(file=os.fspath(file)) from None


def seconds(text: str, option: str) -> float:
    """The seconds that an option says. Raises Usage."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise Usage(f"{option}: {error}") from None
