"""When something is tried again, and how long is waited."""

from __future__ import annotations

import pytest

from dcmflow.errors import ConnectError, Refused
from dcmflow.flow.policy import Retry, attempt, is_transient

pytestmark = pytest.mark.anyio


def test_only_errors_that_say_so_are_transient() -> None:
    assert is_transient(ConnectError("down"))
    assert is_transient(Refused("full", transient=True))
    assert not is_transient(Refused("no"))
    assert not is_transient(OSError("who knows"))


@pytest.mark.parametrize("field", ["first", "longest"])
def test_durations_are_checked(field: str) -> None:
    with pytest.raises(ValueError, match="not a duration: 'soon'"):
        Retry(**{field: "soon"})


async def test_the_last_error_comes_out() -> None:
    calls: list[int] = []

    async def fail() -> None:
        calls.append(len(calls))
        raise ConnectError(f"attempt {len(calls)}")

    noted: list[tuple[str, int]] = []
    with pytest.raises(ConnectError, match="attempt 3"):
        await attempt(
            Retry(attempts=3, first=0, longest=0), fail, lambda error, n: noted.append((str(error), n))
        )
    assert noted == [("attempt 1", 1), ("attempt 2", 2)]


async def test_a_result_comes_back_at_once() -> None:
    async def work() -> int:
        return 5

    assert await attempt(Retry(), work, lambda error, n: None) == 5
