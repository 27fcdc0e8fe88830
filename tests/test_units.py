"""Sizes and durations as people write them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcmflow.units import format_duration, format_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1024", 1024),
        ("10 B", 10),
        ("1 kB", 1000),
        ("1 KiB", 1024),
        ("64MiB", 64 * 1024**2),
        ("500 MB", 500 * 1000**2),
        ("2 GiB", 2 * 1024**3),
        ("2 gib", 2 * 1024**3),
        ("1.5 KiB", 1536),
        (" 3 TB ", 3 * 1000**4),
        (4096, 4096),
    ],
)
def test_size(text: str | int, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "MiB",
        "-1",
        "-1 MiB",
        "1 MiBB",
        "1 m",
        "1 MiB 2 MiB",
        "1,5 MiB",
        "1e3",
        "inf",
        "nan",
        "0x10",
        -1,
    ],
)
def test_no_size(text: str | int) -> None:
    with pytest.raises(ValueError, match="size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30 s", 30),
        ("30s", 30),
        ("2.5", 2.5),
        ("250 ms", 0.25),
        ("5 min", 300),
        ("5m", 300),
        ("14d", 14 * 86400),
        ("2 weeks", 14 * 86400),
        ("1h 30min", 5400),
        ("1h30min", 5400),
        ("1 hour 1 second", 3601),
        (" 1 H ", 3600),
        (10, 10),
        (0.5, 0.5),
        (0, 0),
    ],
)
def test_duration(text: str | float, seconds: float) -> None:
    result = parse_duration(text)
    assert result == pytest.approx(seconds)
    assert isinstance(result, float)


@pytest.mark.parametrize(
    "text",
    ["", " ", "s", "-1 s", "1 fortnight", "1h and 5min", "1,5 h", "5 min.", "inf", -1, math.inf, math.nan],
)
def test_no_duration(text: str | float) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


@given(st.integers(0, 2**80))
def test_a_number_is_a_number_of_bytes(size: int) -> None:
    assert parse_size(size) == size
    assert parse_size(str(size)) == size


@given(st.integers(0, 2**60))
def test_formatted_size_is_read_again(size: int) -> None:
    assert parse_size(format_size(size)) == pytest.approx(size, rel=0.06)


@given(st.text(), st.sampled_from([parse_size, parse_duration]))
def test_any_text_is_read_or_a_value_error(text: str, parse: object) -> None:
    assert callable(parse)
    try:
        value = parse(text)
    except ValueError:
        return
    assert 0 <= value < math.inf


@pytest.mark.parametrize("parse", [parse_size, parse_duration])
def test_more_than_a_number_can_hold(parse: object) -> None:
    assert callable(parse)
    with pytest.raises(ValueError, match=r"not a (size|duration)"):
        parse("9" * 400 + ".5")


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (200 * 1024**2, "200 MiB"),
        (1024**3, "1.0 GiB"),
        (5 * 1024**4, "5.0 TiB"),
        (5000 * 1024**4, "5000.0 TiB"),
    ],
)
def test_format_size(size: int, text: str) -> None:
    assert format_size(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.00 s"),
        (0.314, "0.31 s"),
        (12, "12 s"),
        (60, "1 min 00 s"),
        (245, "4 min 05 s"),
        (7800, "2 h 10 min"),
        (200000, "55 h 33 min"),
    ],
)
def test_format_duration(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
