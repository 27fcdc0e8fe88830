"""What a stage calls secret is run with, and not shown."""

from __future__ import annotations

import json

from dcmflow import Pipeline, filters, sinks, sources
from dcmflow.config import draw


def test_a_secret_is_not_shown_in_any_form() -> None:
    pipeline = Pipeline(sources.Synthetic() | filters.Edit(remap_uids="open sesame") | sinks.Discard())
    shown = draw.without_secrets(pipeline)
    texts = (
        draw.tree(pipeline),
        draw.mermaid(pipeline),
        json.dumps(draw.as_json(pipeline)),
        shown.to_toml(),
    )
    assert not [text for text in texts if "sesame" in text]
    assert "****" in shown.to_toml()
    assert "sesame" in pipeline.to_toml()
