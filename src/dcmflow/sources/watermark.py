"""What a repeated retrieval has brought already, in a file that outlives the process."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, final

from dcmflow.dicom.level import Level
from dcmflow.errors import ConfigError

VERSION: Final = 1


@final
class Watermark:
    """What has been retrieved, by the unique key of what was asked for.

    Not until when: instances are added to old studies too.

    Args:
        path: of the file; None: it is kept in memory only.
        about: what it is about; a file about something else begins anew.

    Attributes:
        done: how many instances were retrieved, by unique key.

    Raises:
        ConfigError: the file is there and is none of these.
    """

    def __init__(self, path: Path | None, about: dict[str, Any]) -> None:
        self._path = path
        self._about = about
        self.done: dict[str, int] = {}
        if path is not None and path.exists():
            self._read(path)

    def _read(self, path: Path) -> None:
        try:
            found = json.loads(path.read_text("utf-8"))
            if found["version"] != VERSION:
                raise ValueError(f"it has version {found['version']}, known is {VERSION}")
            done = {str(uid): int(count) for uid, count in found["done"].items()}
            about = found["about"]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(
                f"{path} does not say how far a retrieval has come: {error}; name another file, or remove it to begin anew",
                key="state",
            ) from None
        if about == self._about:
            self.done = done

    def note(self, level: Level, uids: Sequence[str], count: int) -> None:
        """These have been retrieved, with so many instances."""
        if level is Level.IMAGE:
            self.done |= dict.fromkeys(uids, 1)
        else:
            self.done |= dict.fromkeys(uids, count)

    def keep(self, keys: set[str]) -> None:
        """Forget what is not among these any more."""
        self.done = {uid: count for uid, count in self.done.items() if uid in keys}

    def save(self) -> None:
        """Write the file as a whole. Raises OSError."""
        if self._path is None:
            return
        text = json.dumps(
            {
                "version": VERSION,
                "about": self._about,
                "saved": datetime.now(UTC).isoformat(timespec="seconds"),
                "done": self.done,
            },
            indent=1,
        )
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=self._path.parent, prefix=".dcmflow-", suffix=".tmp")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text + "\n")
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self._path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
