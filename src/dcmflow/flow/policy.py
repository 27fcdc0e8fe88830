"""When to try again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
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


async def attempt(
    retry: Retry, call: Callable[[], Awaitable[T]], on_retry: Callable[[Exception, int], None]
) -> T:
    """Await `call()` until it works, an error is not transient, or the attempts are used up.

    Raises what the last attempt raised. `on_retry(error, attempts so far)` is called before each wait.
    """
    import tenacity

    first, longest = parse_duration(retry.first), parse_duration(retry.longest)
    growing = tenacity.wait_exponential(multiplier=first) + tenacity.wait_random(0, first)

    def note(state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, Exception):
            on_retry(error, state.attempt_number)

    async def once() -> T:
        return await call()

    trials = tenacity.AsyncRetrying(
        sleep=anyio.sleep,
        stop=tenacity.stop_after_attempt(retry.attempts),
        wait=lambda state: min(longest, growing(state)),
        retry=tenacity.retry_if_exception(lambda error: isinstance(error, Exception) and is_transient(error)),
        before_sleep=note,
        reraise=True,
    )
    return await trials(once)
