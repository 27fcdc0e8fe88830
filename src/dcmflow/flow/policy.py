"""When to try again."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Annotated, TypeVar

import anyio
from msgspec import Meta, Struct

from dcmflow.errors import DcmflowError
from dcmflow.units import parse_duration

T = TypeVar("T")


class Retry(
    Struct, frozen=True, kw_only=True, rename="kebab", forbid_unknown_fields=True, omit_defaults=True
):
    """Try again on errors that are transient, waiting longer each time (exponential, jittered).

    `retry = { attempts = 5, first = "1 s", longest = "60 s" }`
    """

    attempts: Annotated[int, Meta(ge=1, description="How often to try in all.")] = 5
    first: Annotated[float | str, Meta(description="Wait after the first attempt: seconds or '1 s'.")] = "1 s"
    longest: Annotated[float | str, Meta(description="No wait is longer: seconds or '60 s'.")] = "60 s"

    def __post_init__(self) -> None:
        parse_duration(self.first)
        parse_duration(self.longest)


def is_transient(error: Exception) -> bool:
    """Whether the same thing, tried again later, may work."""
    return isinstance(error, DcmflowError) and error.transient


def wait_after(retry: Retry, attempts: int) -> float:
    """Seconds to wait after so many attempts: doubled each time, up to a first wait added at random."""
    first = parse_duration(retry.first)
    return min(parse_duration(retry.longest), first * 2.0 ** min(attempts - 1, 64) + random.uniform(0, first))


def longest_wait(retry: Retry) -> float:
    """Seconds that all waits between attempts together take at most."""
    first, longest = parse_duration(retry.first), parse_duration(retry.longest)
    total = 0.0
    for number in range(retry.attempts - 1):
        wait = min(longest, first * (2.0**number + 1))
        if wait in (0.0, longest):  # and so are all that follow
            return total + wait * (retry.attempts - 1 - number)
        total += wait
    return total


async def attempt(
    retry: Retry, call: Callable[[], Awaitable[T]], on_retry: Callable[[Exception, int], None]
) -> T:
    """Await `call()` until it works, an error is not transient, or the attempts are used up.

    Raises what the last attempt raised. `on_retry(error, attempts so far)` is called before each wait.
    """
    for attempts in count(1):
        try:
            return await call()
        except Exception as error:
            if attempts >= retry.attempts or not is_transient(error):
                raise
            on_retry(error, attempts)
        await anyio.sleep(wait_after(retry, attempts))
    raise AssertionError("a count has no end")
