"""What is written reads back as it was, and looks as a person would have written it."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcmflow.config.toml_text import key, string, table, value
from dcmflow.errors import ConfigError

_texts = st.text(st.characters(codec="utf-8"), max_size=40)
_awkward = st.lists(
    st.sampled_from(['"', '"""', "'", "'''", "\\", "\n", "\r", "\t", "\x7f", "\0", "é", "山", "a", " "])
).map("".join)
_scalars = st.one_of(_texts, _awkward, st.booleans(), st.integers(), st.floats(allow_nan=False))
_values = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_texts | _awkward, inner, max_size=4),
    max_leaves=10,
)


@given(st.one_of(_texts, _awkward))
def test_strings_and_keys_read_back(text: str) -> None:
    assert tomllib.loads(f"k = {string(text)}") == {"k": text}
    assert tomllib.loads(f"{key(text)} = 1") == {text: 1}


@given(_values)
def test_values_read_back(item: object) -> None:
    assert tomllib.loads(f"k = {value(item)}") == {"k": item}


@given(_awkward.filter(bool), st.dictionaries(_texts | _awkward, _values, max_size=5))
def test_tables_read_back(name: str, content: dict[str, object]) -> None:
    assert tomllib.loads(table(("sinks", name), content)) == {"sinks": {name: content}}


@pytest.mark.parametrize(
    ("item", "text"),
    [
        ("plain", '"plain"'),
        ("Modality == 'CT'", "\"Modality == 'CT'\""),
        (r"matches \d+", r"'matches \d+'"),
        ('say "x"', "'say \"x\"'"),
        ("two\nlines", '"""\ntwo\nlines"""'),
        ("München 山田", '"München 山田"'),
        ({"attempts": 8, "first": "2 s"}, '{ attempts = 8, first = "2 s" }'),
        ({}, "{}"),
        (["a", "b"], '["a", "b"]'),
        (0.5, "0.5"),
        (1e16, "1e+16"),
        (float("inf"), "inf"),
        (True, "true"),
    ],
)
def test_how_values_look(item: object, text: str) -> None:
    assert value(item) == text


def test_long_lists_have_a_line_for_each_item() -> None:
    assert value(["x" * 60, "y" * 60]) == f'[\n    "{"x" * 60}",\n    "{"y" * 60}",\n]'


def test_tables_use_dotted_keys_for_long_texts() -> None:
    text = table(
        ("routers", "by kind"), {"branch": {"ct": "Modality == 'CT' and SeriesNumber > 3", "*": "x"}}
    )
    assert text == (
        '[routers."by kind"]\nbranch.ct = "Modality == \'CT\' and SeriesNumber > 3"\nbranch."*" = "x"\n'
    )


@pytest.mark.parametrize("item", [None, object(), {"a": None}, [None], "\ud800"])
def test_what_toml_cannot_say_is_an_error(item: object) -> None:
    with pytest.raises(ConfigError, match="cannot be written"):
        value(item)
