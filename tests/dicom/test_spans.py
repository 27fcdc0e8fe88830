"""Dates, times and ages as spans."""

from __future__ import annotations

import doctest
from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcmflow.dicom import spans

MOMENTS = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31))


@given(st.dates(), st.dates())
def test_dates_order_as_dates_do(one: date, other: date) -> None:
    first, second = spans.date(f"{one:%Y%m%d}".zfill(8)), spans.date(other.isoformat())
    assert first is not None
    assert second is not None
    assert (first.end <= second.start) == (one < other)
    assert (first == second) == (one == other)


@given(MOMENTS, MOMENTS)
def test_moments_order_as_moments_do(one: datetime, other: datetime) -> None:
    def written(moment: datetime) -> str:
        return f"{moment.year:04d}{moment:%m%d%H%M%S.%f}"

    first, second = spans.date_time(written(one)), spans.date_time(other.isoformat(timespec="microseconds"))
    assert first is not None
    assert second is not None
    assert first.end - first.start == 1
    assert (first.start < second.start) == (one < other)


@given(MOMENTS.filter(lambda moment: 1 < moment.year < 9999), st.integers(-12 * 60, 14 * 60))
def test_offsets_from_utc_count(moment: datetime, minutes: int) -> None:
    here = moment.replace(microsecond=0, tzinfo=UTC)
    there = here.astimezone(timezone(timedelta(minutes=minutes)))
    first, second = spans.date_time(here.isoformat()), spans.date_time(there.isoformat())
    assert first is not None
    assert second is not None
    assert first.compare(second) == (True, True)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "20190231",
        "2019023",
        "201913",
        "20190000",
        "2019-0620",
        "2019/06/20",
        "0000",
        "20190620 ",
        "२०१९०६२०",
    ],
)
def test_what_is_no_date(text: str) -> None:
    assert spans.date(text) is None


@pytest.mark.parametrize(
    "text", ["", "24", "1260", "101561", "1015.5", "10:1530", "101530.", "101530.1234567", "1"]
)
def test_what_is_no_time(text: str) -> None:
    assert spans.time(text) is None


@pytest.mark.parametrize("text", ["", "2019T10", "201906T10", "2019062025", "20190620101530.5+2", "now"])
def test_what_is_no_date_time(text: str) -> None:
    assert spans.date_time(text) is None


@pytest.mark.parametrize("text", ["", "45", "45X", "Y045", "0045Y", "-45Y"])
def test_what_is_no_age(text: str) -> None:
    assert spans.age(text) is None


def test_spans_end_where_the_next_begin() -> None:
    for one, following in [
        ("2019", "2020"),
        ("2019-12", "2020-01"),
        ("2020-02", "2020-03"),
        ("20191231", "20200101"),
    ]:
        first, second = spans.date(one), spans.date(following)
        assert first is not None
        assert second is not None
        assert first.end == second.start


def test_the_docstrings_tell_the_truth() -> None:
    tried = doctest.testmod(spans)
    assert tried.attempted > 0
    assert tried.failed == 0
