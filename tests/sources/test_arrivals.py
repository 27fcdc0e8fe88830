"""What came told apart from what should have come."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcmflow.sources.arrivals import Arrivals, Kind


def take(arrivals: Arrivals, uid: str, *, accepted: bool = True) -> None:
    arrivals.begin(uid)
    arrivals.settle(uid, accepted=accepted)


@pytest.mark.parametrize(
    ("uid", "patient", "inside", "kind"),
    [
        ("1", "P", True, None),
        ("1", "P", False, "unexpected"),
        ("9", "P", True, "unexpected"),
        ("3", "P", True, "duplicate"),
        ("4", "P", True, "duplicate"),
        ("5", "P", True, None),  # it was refused before: another attempt
        ("1", "Q", True, "inconsistent"),
        ("1", " P ", True, None),
        ("1", "", True, None),
        ("3", "Q", True, "duplicate"),
        ("9", "Q", False, "unexpected"),
    ],
)
def test_what_is_wrong(uid: str, patient: str, inside: bool, kind: Kind | None) -> None:
    arrivals = Arrivals(patient_id="P", expected=["1", "2", "3", "4", "5"])
    take(arrivals, "3")
    arrivals.begin("4")
    take(arrivals, "5", accepted=False)
    assert arrivals.judge(uid, patient, inside=inside) == kind
    assert dict(arrivals.told) == ({kind: 1} if kind else {})


def test_where_the_node_said_no_patient_every_patient_is_right() -> None:
    assert Arrivals().judge("1", "Q", inside=True) is None


def test_nobody_can_say_whether_all_came() -> None:
    arrivals = Arrivals()
    assert arrivals.complete is None
    take(arrivals, "1")
    assert arrivals.complete is None
    assert arrivals.missing == []


def test_by_number() -> None:
    arrivals = Arrivals(count=2)
    take(arrivals, "1")
    take(arrivals, "1")
    assert arrivals.complete is False
    assert arrivals.missing == []
    take(arrivals, "2", accepted=False)
    assert arrivals.complete is True


def test_a_list_counts_more_than_a_number() -> None:
    arrivals = Arrivals(count=1, expected=["1", "2"])
    take(arrivals, "1")
    assert arrivals.complete is False
    assert arrivals.missing == ["2"]


def test_what_was_refused_and_comes_again_is_here() -> None:
    arrivals = Arrivals(expected=["1"])
    take(arrivals, "1", accepted=False)
    assert (arrivals.refused, arrivals.complete) == ({"1"}, True)
    take(arrivals, "1")
    assert (arrivals.here, arrivals.refused) == ({"1"}, set())
    take(arrivals, "1", accepted=False)
    assert (arrivals.here, arrivals.refused) == ({"1"}, set())


UIDS = st.sampled_from("ABCDE")


@given(st.none() | st.sets(UIDS), st.lists(st.tuples(UIDS, st.booleans(), st.booleans())))
def test_each_is_here_or_refused_or_missing(
    expected: set[str] | None, coming: list[tuple[str, bool, bool]]
) -> None:
    arrivals = Arrivals(expected=expected)
    delivered: list[str] = []
    for uid, inside, accepted in coming:
        kind = arrivals.judge(uid, "", inside=inside)
        if kind is None:
            take(arrivals, uid, accepted=accepted)
            delivered += [uid] * accepted
        else:
            assert (kind == "duplicate") == (
                inside and uid in delivered and (expected is None or uid in expected)
            )
    assert len(set(delivered)) == len(delivered)
    assert arrivals.here == set(delivered)
    assert not arrivals.here & arrivals.refused
    assert sum(arrivals.told.values()) + len(delivered) <= len(coming)
    if expected is None:
        assert arrivals.complete is None
    else:
        assert arrivals.settled <= expected
        assert arrivals.settled | set(arrivals.missing) == expected
        assert arrivals.complete is (not arrivals.missing)
