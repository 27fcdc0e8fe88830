"""Selectors in the fields of stages: checked when the stage is made, named ones when it opens."""

from __future__ import annotations

from dcmflow.errors import ConfigError


def check_selector(text: str, key: str) -> None:
    """Raise ConfigError for a text that is no selector, whatever the named selectors of the pipeline will be.

    Args:
        key: the field that holds it.
    """
    from dcmflow.dicom.selector import Selector

    if not text.strip():
        raise ConfigError("the selector is empty; write a condition such as Modality == 'CT'", key=key)
    try:
        Selector.parse(text)
    except ConfigError as error:
        # only the pipeline and the settings know which names there are
        if "no selector is named" not in error.problem:
            raise error.at(key=key) from None
