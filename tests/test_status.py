"""DIMSE statuses: category and name as in PS3.7 Annex C and PS3.4 Annex B and C."""

from __future__ import annotations

import copy
import pickle
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcmflow.status import Category, Status

CODES = st.integers(0, 0xFFFF)


@pytest.mark.parametrize(
    ("code", "category", "name"),
    [
        (0x0000, "success", "success"),
        (0x0001, "warning", "requested optional attributes are not supported"),
        (0x0107, "warning", "attribute list error"),
        (0x0110, "failure", "processing failure"),
        (0x0111, "failure", "duplicate SOP instance"),
        (0x0116, "warning", "attribute value out of range"),
        (0x0117, "failure", "invalid SOP instance"),
        (0x0122, "failure", "SOP class not supported"),
        (0x0124, "failure", "not authorized"),
        (0x0211, "failure", "unrecognized operation"),
        (0xA700, "failure", "out of resources"),
        (0xA702, "failure", "out of resources, unable to perform sub-operations"),
        (0xA7FF, "failure", "out of resources"),
        (0xA801, "failure", "move destination unknown"),
        (0xA900, "failure", "data set does not match SOP class"),
        (0xA9AB, "failure", "data set does not match SOP class"),
        (0xB000, "warning", "coercion of data elements"),
        (0xB006, "warning", "elements discarded"),
        (0xB007, "warning", "data set does not match SOP class"),
        (0xB123, "warning", "unknown warning"),
        (0xC000, "failure", "cannot understand"),
        (0xCFFF, "failure", "cannot understand"),
        (0xFE00, "cancel", "cancelled"),
        (0xFF00, "pending", "pending"),
        (0xFF01, "pending", "pending, optional keys not supported"),
        (0xFF02, "failure", "unknown failure"),
        (0x0002, "failure", "unknown failure"),
    ],
)
def test_meaning(code: int, category: str, name: str) -> None:
    status = Status(code)
    assert (status.category, status.name) == (category, name)
    assert status.accepted is (category in ("success", "warning"))


@given(CODES)
def test_is_its_number(code: int) -> None:
    status = Status(code)
    assert status == code
    assert hash(status) == hash(code)
    assert {code: "here"}[status] == "here"
    assert f"{status:04X}" == f"{code:04X}"
    assert str(status) == f"{code:04X} {status.name}"
    assert eval(repr(status).replace(f", {status.name!r}", "")) == status


@given(CODES)
def test_has_a_category_and_a_name(code: int) -> None:
    status = Status(code)
    assert status.category in get_args(Category)
    assert status.name


@given(CODES)
def test_copies_are_statuses(code: int) -> None:
    for other in (pickle.loads(pickle.dumps(Status(code))), copy.deepcopy(Status(code))):
        assert type(other) is Status
        assert other == code


@given(st.one_of(st.integers(max_value=-1), st.integers(min_value=0x10000)))
def test_out_of_range(code: int) -> None:
    with pytest.raises(ValueError, match="0000 to FFFF"):
        Status(code)


def test_named_statuses() -> None:
    assert Status.SUCCESS == 0x0000
    assert Status.PROCESSING_FAILURE == 0x0110
    assert Status.OUT_OF_RESOURCES == 0xA700
    assert Status.CANNOT_UNDERSTAND == 0xC000
    assert Status.CANCELLED == 0xFE00
