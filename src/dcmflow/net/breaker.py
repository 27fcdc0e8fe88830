"""Whether it is worth calling a node: what is known from the last attempts.

A node that cannot be reached must not be hammered, and many instances for it must not take hours. So for `HOLD` seconds after
an attempt has failed nobody calls it; then one more attempt is made for all that wait. The error is transient, as far as it is by
nature, until nothing has worked for `patience` seconds and at least `ATTEMPTS` attempts: from then on the node is down, and nobody
waits for it any longer than one attempt takes.
"""

from __future__ import annotations

import copy
from time import monotonic
from typing import Final, final

from dcmflow.errors import DcmflowError

HOLD: Final = 1.0
ATTEMPTS: Final = 3


@final
class Breaker:
    """For one node.

    Args:
        patience: seconds for which a node that does not answer may yet come back.
    """

    def __init__(self, patience: float) -> None:
        self.patience = patience
        self.failures: int = 0
        self._error: Exception | None = None
        self._first = self._last = 0.0

    def failed(self, error: Exception) -> None:
        """An attempt did not work."""
        self._last = monotonic()
        if not self.failures:
            self._first = self._last
        self.failures += 1
        self._error = error.with_traceback(None)

    def worked(self) -> None:
        """An attempt worked."""
        self.failures = 0
        self._error = None

    @property
    def remaining(self) -> float:
        """Seconds until the node may be called again."""
        return max(0.0, self._last + HOLD - monotonic()) if self._error is not None else 0.0

    @property
    def holds(self) -> bool:
        """The last attempt failed a moment ago."""
        return self.remaining > 0

    @property
    def hopeless(self) -> bool:
        """It is not worth waiting for the next attempt."""
        return self.down or not (isinstance(self._error, DcmflowError) and self._error.transient)

    @property
    def down(self) -> bool:
        """It has not answered for long."""
        return self.failures >= ATTEMPTS and self._last - self._first >= self.patience

    def error(self) -> Exception:
        """The last error, a new object each time, for everybody has a traceback of his own."""
        assert self._error is not None
        error = copy.copy(self._error)
        if self.down and isinstance(error, DcmflowError):
            error.transient = False
        return error
