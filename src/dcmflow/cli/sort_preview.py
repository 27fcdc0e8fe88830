"""`dcmflow sort --dry-run`: where each file would go, and what would be in its way."""

from __future__ import annotations

import json
import os
import sys
from pathlib import PurePath

from dcmflow.cli import common
from dcmflow.cli.common import say
from dcmflow.cli.dump_text import harmless
from dcmflow.cli.execute import execute
from dcmflow.dicom.instance import Instance
from dcmflow.dicom.layout import Layout
from dcmflow.errors import Refused
from dcmflow.filters.call import Call
from dcmflow.flow.pipeline import Pipeline
from dcmflow.sinks.discard import Discard
from dcmflow.sinks.placing import look
from dcmflow.sources.directory import Directory
from dcmflow.status import Status

_DUPLICATE = Status(0x0111)


def preview(
    source: str, target: str, layout: str, exists: str, *, exclude: list[str], move: bool, format: str
) -> int:
    """Print where everything would go; returns the exit code that the real run would have, as far as it can be told."""
    planned = _Preview(target, layout, exists, as_json=format == "json")
    flow = (
        Directory(source, name="source", exclude=exclude) | Call(planned.look_at, name="layout") | Discard()
    )
    quiet = common.options().quiet
    # what would have been accepted is not what the summary of a run means
    common.use(quietly(common.options()))
    code = execute(Pipeline(flow, name="sort"))
    if not quiet:
        say(f"dcmflow: would {'move' if move else 'place'} {planned.summary()}; nothing was changed")
    return code


def quietly(options: common.Common) -> common.Common:
    """The same options for a run that is not shown."""
    from dataclasses import replace

    return replace(options, quiet=True, verbose=False, debug=False)


class _Preview:
    def __init__(self, root: str, layout: str, exists: str, *, as_json: bool) -> None:
        self._root = root
        self._path = Layout(layout).path
        self._exists = exists
        self._json = as_json
        self._planned: dict[str, str] = {}  # target → the file that goes there
        self._counts = {"new": 0, "there": 0, "staying": 0, "replacing": 0}

    def summary(self) -> str:
        new, there, staying, replacing = self._counts.values()
        parts = [f"{new} files"]
        if replacing:
            parts.append(f"{replacing} in the place of others")
        if staying:
            parts.append(f"not {staying} whose other version stays")
        if there:
            parts.append(f"not {there} that are there already")
        return ", ".join(parts)

    def look_at(self, instance: Instance) -> Instance:
        """A filter that lets everything pass."""
        path = instance.origin.path or ""
        target = os.path.join(self._root, self._path(instance))
        first, number = PurePath(target), 1
        while True:
            verdict = self._verdict(target, instance)
            if verdict in ("free", "same") or self._exists != "keep-both":
                break
            number += 1
            target = str(first.with_name(f"{first.stem}-{number}{first.suffix}"))
        if verdict == "free":
            self._planned[target] = path
            self._say(path, target, "", "new")
        elif verdict == "same":
            self._say(path, target, "is there already", "there")
        elif self._exists == "replace":
            self._planned[target] = path
            self._say(path, target, "replaces another file", "replacing")
        elif self._exists == "skip" and verdict == "stub":
            self._planned[target] = path
            self._say(path, target, "replaces an incomplete file", "replacing")
        elif self._exists == "skip" and verdict == "version":
            self._say(path, target, "another version is there and stays", "staying")
        else:
            what = "something else than this SOP Instance" if verdict == "other" else "another version of it"
            raise Refused(
                f"{target} would hold {what}; add {{SOPInstanceUID}} to the layout, or use --exists keep-both",
                status=_DUPLICATE,
            )
        return instance

    def _verdict(self, target: str, instance: Instance) -> str:
        """What would be at the target when this instance comes there."""
        before = self._planned.get(target)
        found = look(target if before is None else before, instance)
        return "other" if found == "free" and before is not None else found

    def _say(self, path: str, target: str, note: str, count: str) -> None:
        self._counts[count] += 1
        if self._json:
            line = json.dumps({"from": path, "to": target, "note": note})
        else:
            line = harmless(f"{path} -> {target}{f' ({note})' if note else ''}")
        try:
            print(line)
        except BrokenPipeError:
            common.discard(sys.stdout)
