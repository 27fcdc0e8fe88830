"""Whether it is worth calling."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dcmflow.errors import AssociationRejected, ConnectError
from dcmflow.net.breaker import ATTEMPTS, HOLD, Breaker


@pytest.fixture
def wait(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """`wait(seconds)` moves the clock."""
    now = [1000.0]
    monkeypatch.setattr("dcmflow.net.breaker.monotonic", lambda: now[0])

    def wait(seconds: float) -> None:
        now[0] += seconds

    return wait


def test_it_holds_for_a_moment(wait: Callable[[float], None]) -> None:
    breaker = Breaker(5)
    assert not breaker.holds
    breaker.failed(ConnectError("no answer"))
    assert breaker.holds
    assert breaker.remaining == HOLD
    wait(HOLD / 4)
    assert breaker.remaining == 0.75 * HOLD
    wait(HOLD)
    assert not breaker.holds
    breaker.failed(ConnectError("no answer"))
    breaker.worked()
    assert not breaker.holds


def test_everybody_gets_an_error_of_his_own(wait: Callable[[float], None]) -> None:
    breaker = Breaker(5)
    rejected = AssociationRejected("rejected", result=2, source=3, reason=1)
    breaker.failed(rejected)
    one, other = breaker.error(), breaker.error()
    assert one is not other
    assert isinstance(one, AssociationRejected)
    assert (str(one), one.result, one.reason, one.transient) == ("rejected", 2, 1, True)


def test_transient_until_it_is_down(wait: Callable[[float], None]) -> None:
    breaker = Breaker(5)
    transient = []
    for _ in range(7):
        breaker.failed(ConnectError("no answer"))
        transient.append(breaker.error().transient)  # type: ignore[attr-defined]
        wait(1)
    assert transient == [True] * 5 + [False] * 2
    breaker.worked()
    breaker.failed(ConnectError("no answer"))
    assert breaker.error().transient  # type: ignore[attr-defined]


def test_not_after_few_attempts_however_long_they_take(wait: Callable[[float], None]) -> None:
    breaker = Breaker(5)
    for _ in range(ATTEMPTS - 1):
        breaker.failed(ConnectError("no answer"))
        wait(30)
        assert not breaker.down
    breaker.failed(ConnectError("no answer"))
    assert breaker.down


def test_whether_the_next_attempt_is_worth_waiting_for(wait: Callable[[float], None]) -> None:
    breaker = Breaker(0)
    hopeless = []
    for error in (ConnectError("no answer"),) * ATTEMPTS:
        breaker.failed(error)
        hopeless.append(breaker.hopeless)
    assert hopeless == [False] * (ATTEMPTS - 1) + [True]
    for error in (AssociationRejected("unknown AE", result=1, source=1, reason=7), ValueError("whatever")):
        breaker = Breaker(5)
        breaker.failed(error)  # type: ignore[arg-type]
        assert breaker.hopeless


def test_what_is_permanent_by_nature_stays_so(wait: Callable[[float], None]) -> None:
    breaker = Breaker(5)
    breaker.failed(AssociationRejected("unknown AE", result=1, source=1, reason=7))
    assert not breaker.error().transient  # type: ignore[attr-defined]
    breaker.failed(ValueError("whatever"))
    assert isinstance(breaker.error(), ValueError)
