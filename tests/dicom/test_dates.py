"""Days as people write them."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcmflow.dicom.dates import date_range, days_of
from dcmflow.errors import ConfigError

TODAY = date(2020, 3, 31)

DAYS = {
    "2019-06-25": ("2019-06-25", "2019-06-25"),
    "20190625": ("2019-06-25", "2019-06-25"),
    "2019.06.25": ("2019-06-25", "2019-06-25"),
    " 2019-06-25 ": ("2019-06-25", "2019-06-25"),
    "2019-02": ("2019-02-01", "2019-02-28"),
    "202002": ("2020-02-01", "2020-02-29"),
    "2019": ("2019-01-01", "2019-12-31"),
    "today": ("2020-03-31", "2020-03-31"),
    "Yesterday": ("2020-03-30", "2020-03-30"),
    "0d": ("2020-03-31", "2020-03-31"),
    "14d": ("2020-03-17", "2020-03-17"),
    "14 days": ("2020-03-17", "2020-03-17"),
    "3 weeks ago": ("2020-03-10", "2020-03-10"),
    "1w": ("2020-03-24", "2020-03-24"),
    "1 month ago": ("2020-02-29", "2020-02-29"),  # the last day of a shorter month
    "3 months": ("2019-12-31", "2019-12-31"),
    "1y": ("2019-03-31", "2019-03-31"),
}


@pytest.mark.parametrize(("text", "days"), DAYS.items())
def test_a_day_or_all_of_a_month_or_year_is_meant(text: str, days: tuple[str, str]) -> None:
    assert tuple(day.isoformat() for day in days_of(text, TODAY)) == days


@pytest.mark.parametrize(
    "text",
    [
        "",
        "blargh",
        "2019-02-30",
        "2019-13",
        "2019-6-25",
        "2019-0625",
        "201906-25",
        "0000-01-01",
        "14",
        "14 h",
        "-3 days",
        "3 weeks from now",
        "999999 weeks",
        "9999999d",
        "99999 years ago",
        "20190625-",
    ],
)
def test_anything_else_is_refused_and_the_forms_are_named(text: str) -> None:
    with pytest.raises(ConfigError, match=r"write .*14d") as caught:
        days_of(text, TODAY)
    assert repr(text) in str(caught.value)


RANGES = {
    ("2019-01-01", ""): "20190101-",
    ("", "2019-12-31"): "-20191231",
    ("2019-01-01", "2019-12-31"): "20190101-20191231",
    ("2019", "2019"): "20190101-20191231",
    ("2019-06-25", "2019-06-25"): "20190625",
    ("14d", "yesterday"): "20200317-20200330",
    ("", ""): "",
}


@pytest.mark.parametrize(("bounds", "value"), RANGES.items())
def test_both_bounds_belong_to_the_range(bounds: tuple[str, str], value: str) -> None:
    assert date_range(*bounds, TODAY) == value


@pytest.mark.parametrize(
    ("since", "before", "key"),
    [
        ("blargh", "2019", "since"),
        ("2019", "blargh", "before"),
        ("2019-02-01", "2019-01-31", "since"),
    ],
)
def test_the_bound_that_is_wrong_is_named(since: str, before: str, key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        date_range(since, before, TODAY)
    assert caught.value.key == key


@given(st.dates(date(1900, 1, 1)), st.dates(date(1900, 1, 1)))
def test_a_range_of_days_is_these_days_as_dicom_writes_them(one: date, other: date) -> None:
    first, last = sorted((one, other))
    value = date_range(first.isoformat(), last.strftime("%Y%m%d"), TODAY)
    assert value == first.strftime("%Y%m%d") + ("" if first == last else last.strftime("-%Y%m%d"))


@given(st.integers(0, 3000), st.dates(date(1950, 1, 1), date(2100, 1, 1)))
def test_days_are_counted_back_from_today(count: int, today: date) -> None:
    expected = today - timedelta(count)
    assert days_of(f"{count} days ago", today).first == expected
    assert days_of(f"{count}d", today).last == expected


@given(st.integers(0, 600), st.dates(date(1960, 1, 1), date(2100, 1, 1)))
def test_months_back_are_in_that_month_and_never_on_a_later_day(months: int, today: date) -> None:
    day = days_of(f"{months} months ago", today).first
    assert 12 * (today.year - day.year) + today.month - day.month == months
    assert day.day <= today.day
