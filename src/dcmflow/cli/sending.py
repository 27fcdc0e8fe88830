"""What `send` and `forward` have in common: the sink of a node, and names of stages that people recognize."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from dcmflow.cli.common import Usage

if TYPE_CHECKING:
    from collections.abc import Collection

    from dcmflow.flow.policy import Retry
    from dcmflow.net.node import Node
    from dcmflow.sinks.store import Store

RETRIES = 2


def retry(retries: int) -> Retry:
    """When to try again. Raises Usage."""
    from dcmflow.flow.policy import Retry

    if retries < 0:
        raise Usage("--retries is 0 or more")
    return Retry(attempts=1 + retries, first="500 ms", longest="10 s")


def store(name: str, node: Node, associations: int | None, retries: int) -> tuple[Store, Node]:
    """The sink of a node, which it calls by `name`, and the node as it has to be known by that name. Raises Usage.

    Args:
        associations: what the command line says; it goes before what is known about the node.
    """
    from msgspec.structs import replace

    from dcmflow.sinks.store import Store

    if associations is None:
        return Store(name, name=name, retry=retry(retries)), node
    if not 1 <= associations <= 256:
        raise Usage("--associations is a number from 1 to 256")
    node = replace(node, max_associations=max(node.max_associations, associations))
    return Store(name, name=name, associations=associations, retry=retry(retries)), node


def label(text: str, taken: Collection[str]) -> str:
    """A name for a stage, other than those that are taken.

    Args:
        text: a name of the settings, an AE title, or a path.
    """
    base = os.path.basename(text.rstrip("/")).strip(". ").replace(".", "-")
    if not base or base in ("refuse", "skip", "stop"):
        base = "destination"
    found, number = base, 1
    while found in taken:
        number += 1
        found = f"{base}-{number}"
    return found
