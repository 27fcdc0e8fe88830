"""`${VAR}` in the strings of a pipeline file."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcmflow.config.document import Document
from dcmflow.config.variables import escape, expand, has_variable
from dcmflow.errors import ConfigError

EMPTY = Document("")


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("${A}", "one"),
        ("x${A}y${A}z", "xoneyonez"),
        ("${MISSING:-else}", "else"),
        ("${MISSING:-}", ""),
        ("${BLANK:-else}", "else"),
        ("${BLANK}", ""),
        ("${A:-else}", "one"),
        ("$${A}", "${A}"),
        ("$$${A}", "$${A}"),
        ("$A {A} $", "$A {A} $"),
        ("${NESTED}", "${A}"),
        ("${MISSING:-$}", "$"),
    ],
)
def test_replaced(text: str, result: str) -> None:
    environ = {"A": "one", "BLANK": "", "NESTED": "${A}"}
    assert expand(text, environ, EMPTY) == result
    assert expand({"k": [text, 1]}, environ, EMPTY) == {"k": [result, 1]}


def test_a_missing_variable_is_named_where_it_is_used() -> None:
    document = Document('[sinks.a]\nretry.first = "${ATEMPTS}"\n', "p.toml")
    with pytest.raises(ConfigError) as caught:
        expand(document.data["sinks"]["a"], {"ATTEMPTS": "1"}, document, ("sinks", "a"))
    error = caught.value
    assert (error.file, error.table, error.key, error.line) == ("p.toml", "sinks.a", "retry.first", 2)
    assert "variable ATEMPTS is not set; did you mean 'ATTEMPTS'?" in error.problem


@pytest.mark.parametrize("text", ["${}", "${1A}", "${A", "${A-b}", "a ${ b"])
def test_half_a_variable_is_an_error(text: str) -> None:
    with pytest.raises(ConfigError, match="stands for a plain"):
        expand(text, {"A": "1"}, EMPTY)


@given(st.text("${}AB:-", max_size=12) | st.text(max_size=12))
def test_escaped_text_stands_for_itself(text: str) -> None:
    assert expand(escape(text), {}, EMPTY) == text
    assert not has_variable(escape(text))


def test_has_variable() -> None:
    assert has_variable({"a": [{"b": "${X}"}]})
    assert not has_variable({"a": [{"b": "$${X}"}], "c": 1})
