"""The elements of a data set as a tree: what is to be shown of it, and where each value is, without reading the large ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from dcmflow.dicom import values
from dcmflow.dicom.elements import Element, items, walk
from dcmflow.dicom.encoding import NAMES
from dcmflow.dicom.header import Header
from dcmflow.dicom.keys import Selection, Step, Trail, path_of
from dcmflow.dicom.payload import FilePayload
from dcmflow.errors import DatasetError

_EVERYTHING: Final = Selection()
_KNOWN: Final = frozenset(NAMES.values())


class Node(NamedTuple):
    """One element.

    Attributes:
        trail: the way to it, itself last.
        vr: its value representation, from its encoding or the data dictionary.
        header: the data set or item that it is in.
        element: where it is in that.
        base: where that begins in the whole data set.
        items: of a sequence: for each item the elements shown; None for everything else.
        item_count: how many items there are.
        problem: why its value, or a part of it, cannot be read; empty where it can.
    """

    trail: Trail
    vr: str
    header: Header
    element: Element
    base: int
    items: list[list[Node]] | None = None
    item_count: int = 0
    problem: str = ""

    @property
    def tag(self) -> int:
        return self.element.tag

    @property
    def creator(self) -> str:
        return self.trail[-1].creator

    @property
    def path(self) -> str:
        return path_of(self.trail)

    @property
    def bulk(self) -> bool:
        """Whether its value is bytes."""
        return self.vr in values.BULK_VRS

    @property
    def length(self) -> int:
        """Encoded bytes of the value, without the delimiter behind an undefined length."""
        return self.element.length - 8 if self.element.undefined else self.element.length

    @property
    def offset(self) -> int:
        """Where the value begins in the whole data set."""
        return self.base + self.element.value


class Listing(NamedTuple):
    """The elements of a data set, ascending, and why there are no more of them; None where that is all."""

    elements: list[Element]
    problem: DatasetError | None


def listing(header: Header) -> Listing:
    """Where the elements of a data set are. Values are not read; what is broken ends the list."""
    found: dict[int, Element] = {}
    problem: DatasetError | None = None
    try:
        for data, base, whole in header.source.pieces():
            if not whole:
                continue
            end = 0
            for element in walk(data, 0, len(data), header.encoding):
                end = element.end
                if base:
                    element = element._replace(
                        start=element.start + base, value=element.value + base, end=element.end + base
                    )
                found.setdefault(element.tag, element)
            if any(data[end:]):
                raise DatasetError(
                    f"the data set ends with {len(data) - end} bytes at {base + end} that are no element"
                )
    except DatasetError as error:
        problem = error
    return Listing([found[tag] for tag in sorted(found)], problem)


class Walk:
    """Goes through a data set and gives what a selection shows of it.

    Args:
        selection: None shows everything.
        depth: sequences in this many others are opened; None opens all, 0 none.

    Attributes:
        problems: what could not be read, in words.
    """

    def __init__(self, selection: Selection | None = None, *, depth: int | None = None) -> None:
        self._selection = selection or _EVERYTHING
        self._depth = depth
        self.problems: list[str] = []

    def nodes(self, header: Header, found: Listing | None = None) -> Iterator[Node]:
        """The elements at the top level that are shown, ascending, each with what is in it.

        Args:
            found: the listing of this header, where it was made before.
        """
        source = header.source
        mapped = source.segments() if isinstance(source, FilePayload) else ()  # it stays so meanwhile
        found = found or listing(header)
        yield from self._nodes(header, found, (), 0, included=False)
        if found.problem is not None:
            self.problems.append(str(found.problem))
        del mapped

    def _nodes(
        self, header: Header, found: Listing, way: Trail, base: int, *, included: bool
    ) -> Iterator[Node]:
        selection = self._selection
        for element in found.elements:
            trail = (*way, Step(element.tag, _creator(header, element.tag)))
            if selection.leaves_out(trail):
                continue
            wanted = included or selection.wants(trail)
            try:
                vr = header.vr_of(element)
                if vr not in _KNOWN:
                    vr = "UN"  # one of the future, or a wrong one
                if vr == "SQ":
                    node = self._sequence(header, element, trail, base, wanted=wanted)
                else:
                    node = Node(trail, vr, header, element, base) if wanted else None
                    if wanted and vr not in values.BULK_VRS:
                        header[element.tag]  # a value that cannot be decoded is found here
            except DatasetError as error:
                self.problems.append(_told(trail, error))
                node = Node(trail, "UN", header, element, base, problem=str(error)) if wanted else None
            if node is not None:
                yield node

    def _sequence(
        self, header: Header, element: Element, trail: Trail, base: int, *, wanted: bool
    ) -> Node | None:
        if not wanted and not self._selection.wants_inside(trail):
            return None
        inner: list[Header] = header[element.tag]
        shut = self._depth is not None and len(trail) > self._depth
        if shut:
            return Node(trail, "SQ", header, element, base, None, len(inner)) if wanted else None
        raw = header.source.read(element.value, element.end)
        places = items(raw, element._replace(value=0, end=len(raw)), header.encoding)
        shown = []
        problem = ""
        for number, (item, place) in enumerate(zip(inner, places, strict=True)):
            way = (*trail[:-1], trail[-1]._replace(item=number))
            begin = base + element.value + place.first
            found = listing(item)
            if found.problem is not None:
                problem = str(found.problem)
                self.problems.append(_told(way, found.problem))
            shown.append(list(self._nodes(item, found, way, begin, included=wanted)))
        if not wanted and not any(shown):
            return None
        return Node(trail, "SQ", header, element, base, shown, len(inner), problem)


def _told(trail: Trail, error: DatasetError) -> str:
    text, path = str(error), path_of(trail)
    return text if text.startswith(f"{path}:") else f"{path}: {text}"


def _creator(header: Header, tag: int) -> str:
    """The private creator of an element, empty where it has none (PS3.5 7.8.1)."""
    if not tag & 0x10000 or tag & 0xFFFF < 0x1000:
        return ""
    try:
        return str(header.get(tag & 0xFFFF0000 | tag >> 8 & 0xFF) or "").strip()
    except DatasetError:
        return ""
