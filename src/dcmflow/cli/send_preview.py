"""`dcmflow send --dry-run`: what would be sent where."""

from __future__ import annotations

import json
import sys
from collections import Counter
from typing import TYPE_CHECKING

from dcmflow.cli import common
from dcmflow.cli.common import say
from dcmflow.cli.dump_text import harmless
from dcmflow.cli.execute import execute
from dcmflow.cli.sort_preview import quietly
from dcmflow.dicom.instance import Instance
from dcmflow.filters.call import Call
from dcmflow.flow.pipeline import Pipeline
from dcmflow.net.reasons import named
from dcmflow.sinks.discard import Discard
from dcmflow.units import format_size

if TYPE_CHECKING:
    from dcmflow.cli.paths import Paths
    from dcmflow.net.node import Node


def preview(source: Paths, node: Node, *, format: str) -> int:
    """Print what would be sent; returns the exit code that the real run would have, as far as it can be told."""
    planned = _Preview(node, as_json=format == "json")
    flow = source | Call(planned.look_at, name="look") | Discard()
    quiet = common.options().quiet
    common.use(
        quietly(common.options())
    )  # what would have been accepted is not what the summary of a run means
    code = execute(Pipeline(flow, name="send"))
    if not quiet:
        for line in planned.summary():
            say(line)
    return code


class _Preview:
    def __init__(self, node: Node, *, as_json: bool) -> None:
        self._node = node
        self._json = as_json
        self._classes: Counter[str] = Counter()
        self._size = 0

    def summary(self) -> list[str]:
        total = sum(self._classes.values())
        lines = [f"  {count} {named(uid)}" for uid, count in self._classes.most_common()]
        head = f"dcmflow: would send {total} instances, {format_size(self._size)}, to {self._node.address}"
        return [f"{head}; nothing was sent", *lines]

    def look_at(self, instance: Instance) -> Instance:
        """A filter that lets everything pass."""
        self._classes[instance.sop_class_uid] += 1
        self._size += instance.payload.size
        path = instance.origin.path or ""
        if self._json:
            line = json.dumps(
                {
                    "from": path,
                    "to": self._node.address,
                    "sop_instance_uid": instance.sop_instance_uid,
                    "sop_class_uid": instance.sop_class_uid,
                    "transfer_syntax_uid": instance.transfer_syntax_uid,
                    "size": instance.payload.size,
                }
            )
        else:
            line = harmless(
                f"{path} -> {self._node.address} ({named(instance.sop_class_uid)}, "
                f"{named(instance.transfer_syntax_uid)})"
            )
        try:
            print(line)
        except BrokenPipeError:
            common.discard(sys.stdout)
        return instance
