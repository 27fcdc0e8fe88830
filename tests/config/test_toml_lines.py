"""Keys and tables are found on the line on which they are written."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcmflow.config.toml_lines import lines
from dcmflow.config.toml_text import key, table

TEXT = '''\
# a comment with [brackets] and a = 1
name = "x"  # [not.a.table]

[sinks.archive]
path = """
[not.a.table]
fake = 1
"""
list = [
  1,
  { inner = "]" }, # ]
]
branch.ct = 'Modality == "CT"'
"quoted key" = 3
retry = { attempts = 8, first = "1 s", deep = { er = 2 } }

[ sinks . "a.b" ]
other = \'\'\'
x = 1\'\'\'
last = 1979-05-27T07:32:00Z
[[array]]
one = 1
[[array]]
two = 2
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("name",), 2),
        (("sinks",), 4),
        (("sinks", "archive"), 4),
        (("sinks", "archive", "path"), 5),
        (("sinks", "archive", "list"), 9),
        (("sinks", "archive", "list", "inner"), 11),
        (("sinks", "archive", "branch"), 13),
        (("sinks", "archive", "branch", "ct"), 13),
        (("sinks", "archive", "quoted key"), 14),
        (("sinks", "archive", "retry", "attempts"), 15),
        (("sinks", "archive", "retry", "deep", "er"), 15),
        (("sinks", "a.b"), 17),
        (("sinks", "a.b", "other"), 18),
        (("sinks", "a.b", "last"), 20),
        (("array",), 21),
        (("array", "two"), 24),
    ],
)
def test_line_of_a_key(path: tuple[str, ...], line: int) -> None:
    tomllib.loads(TEXT)
    assert lines(TEXT)[path] == line


def test_nothing_is_found_that_is_only_text_or_comment() -> None:
    found = lines(TEXT)
    assert not any(path[0] == "not" or path[-1] in ("fake", "a", "x") for path in found)


def test_an_empty_text_has_no_keys() -> None:
    assert lines("") == {}
    assert lines("# only a comment") == {}


_names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=6)
_scalars = st.none().flatmap(
    lambda _: st.one_of(st.text(st.characters(codec="utf-8"), max_size=12), st.integers(-9, 9), st.booleans())
)
_values = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_names, inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(_names, st.dictionaries(_names, _values, min_size=1, max_size=4), max_size=4))
def test_every_key_of_a_written_file_is_found(tables: dict[str, dict[str, object]]) -> None:
    text = "\n".join(table((name,), content) for name, content in tables.items())
    found = lines(text)
    rows = text.split("\n")
    for name, content in tables.items():
        assert rows[found[(name,)] - 1] == f"[{key(name)}]"
        for inner in content:
            assert rows[found[(name, inner)] - 1].startswith(key(inner))
