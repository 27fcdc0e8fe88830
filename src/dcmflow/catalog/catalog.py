"""What a place holds: a set and a tree of records.

A catalog has a level, that of its leaves. It may know entities of upper levels of which it has no leaf, such as a study that
was found but whose images were not asked for: they are there for `walk`, the operators and `difference`, where they
stand for all that is below them, but they are no leaves.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from dcmflow.catalog import algebra, counting
from dcmflow.catalog.node import Node, merged
from dcmflow.catalog.notes import Conflict, Provenance
from dcmflow.catalog.tree import Tree
from dcmflow.dicom.level import Level
from dcmflow.dicom.record import Record

if TYPE_CHECKING:
    from dcmflow.catalog.difference import Difference


class Catalog(Tree):
    """Records of one level, with what is known of the levels above.

    >>> catalog = Catalog(Level.STUDY)
    >>> catalog.add(Record(Level.STUDY, {"PatientID": "1", "StudyInstanceUID": "2.25.7"})), len(catalog)
    (True, 1)

    Two are equal when their levels, their trees and all values are; provenance and conflicts do not count. By UIDs
    alone they are compared with `uids`.

    Attributes:
        level: of its leaves.
        provenance: who was asked for what.
        extra: what a document had beside the records that means nothing to us; it is written again.
    """

    __hash__: ClassVar[None] = None  # type: ignore[assignment]  # it changes while it is filled

    def __init__(
        self, level: Level, records: Iterable[Record] = (), *, provenance: Iterable[Provenance] = ()
    ) -> None:
        super().__init__()
        self.level: Level = level
        self.provenance: list[Provenance] = list(provenance)
        self.extra: dict[str, Any] = {}
        for record in records:
            self.add(record)

    def __repr__(self) -> str:
        return f"<Catalog of {len(self)} at {self.level.word} level>"

    def add(self, record: Record) -> bool:
        """Add a record; one of an upper level adds or fills in an inner node.

        Returns:
            False where there was one of the same UID; what it did not say is filled in, what it said otherwise is
            listed in `conflicts`.

        Raises:
            ValueError: it is of a lower level than the catalog, or has no unique key (a patient may do without).
        """
        level = record.level
        if level > self.level:
            raise ValueError(f"a record of {level.word} level in a catalog of {self.level.word} level")
        if level is not Level.PATIENT and not record.uid:
            raise ValueError(f"a record of {level.word} level without {level.keyword}")
        return self.settle(level, record.values)[1]

    def discard(self, what: Record | Sequence[str]) -> bool:
        """Take out what a record or a path of unique keys names, with all below it and with parents that have nothing left.

        Returns:
            False where it is not there.
        """
        if isinstance(what, Record):
            level, uid = what.level, what.uid
        else:
            level, uid = Level(len(what) - 1), what[-1]
        node = self.find(level, uid)
        if node is None:
            return False
        self.remove(node)
        return True

    def clear(self) -> None:
        """Take out all records and conflicts. Provenance stays: the same places may be asked again."""
        self._clear()

    def __len__(self) -> int:
        return len(self._index[self.level])

    def __bool__(self) -> bool:
        """Whether anything is in it, be it no leaf."""
        return bool(self._index[Level.PATIENT])

    def __contains__(self, what: object) -> bool:
        """Whether a leaf has this UID, or an entity of the record's level the UID of the record."""
        if isinstance(what, Record):
            return self.find(what.level, what.uid) is not None
        return isinstance(what, str) and self.find(self.level, what) is not None

    def __iter__(self) -> Iterator[Record]:
        """The leaves in tree order, each with the values of all levels above it."""
        above: Node | None = None
        values: dict[str, Any] = {}
        for node in self.walk():
            if node.level is self.level:
                if node.parent is None:
                    values = {}
                elif node.parent is not above:
                    above, values = node.parent, merged(node.parent)
                yield Record(self.level, {**values, **node.values})

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Catalog):
            return NotImplemented
        return self.level is other.level and algebra.same(
            self._index[Level.PATIENT], other._index[Level.PATIENT]
        )

    def uids(self, level: Level | None = None) -> list[str]:
        """The unique keys of a level, that of the leaves unless said otherwise, in tree order."""
        wanted = self.level if level is None else level
        return [node.uid for node in self.walk(wanted) if node.level is wanted]

    def count(self, level: Level | None = None) -> int:
        """How many entities of a level are in it; of the leaves' one, unless said otherwise."""
        wanted = self.level if level is None else level
        if wanted is self.level:
            return len(self)
        nodes = list(self._index[Level.PATIENT].values())
        for _ in range(wanted):
            nodes = [child for node in nodes for child in (node._children or {}).values()]
        return len(nodes)

    def counts(self, node: Node) -> Mapping[Level, int | None]:
        """How many entities of each lower level a node has: counted where the catalog goes that deep, else what the
        place said of it.

        None is unknown: never zero, and equal to nothing.
        """
        return counting.counts(node)

    def copy(self) -> Catalog:
        """A catalog of its own with the same content."""
        copied = self._like(self.level)
        for patient in self._index[Level.PATIENT].values():
            copied.graft_all(patient)
        return copied._with_conflicts(self)

    def subtree(self, node: Node) -> Catalog:
        """What is below a node of this catalog, with it and what is above it."""
        part = self._like(self.level)
        part.graft_all(node)
        return part._with_conflicts(self)

    def reduce(self, level: Level) -> Catalog:
        """The same at a coarser level; how many there were below is filled in where it is known.

        Raises:
            ValueError: the level is finer.
        """
        if level > self.level:
            raise ValueError(f"a catalog of {self.level.word} level knows nothing of {level.word} level")
        return counting.reduced(self, self._like(level))._with_conflicts(self)

    def __or__(self, other: Catalog) -> Catalog:
        """All of both, at the finer level; what only the coarser one has is in it, but is no leaf."""
        return algebra.union(self, other)

    def __and__(self, other: Catalog) -> Catalog:
        """What both have, at the finer level; a coarse leaf stands for all that is below it."""
        return algebra.intersection(self, other)

    def __sub__(self, other: Catalog) -> Catalog:
        """What the other does not have.

        A coarse leaf of the other stands for all that is below it; one of ours stays unless counts are known and equal.
        """
        return algebra.subtraction(self, other)

    def __xor__(self, other: Catalog) -> Catalog:
        """What one of the two has."""
        return algebra.union(algebra.subtraction(self, other), algebra.subtraction(other, self))

    def difference(self, held: Catalog) -> Difference:
        """What of this catalog a place that holds `held` has, lacks, has in part, and what cannot be told."""
        from dcmflow.catalog.difference import difference

        return difference(self, held)

    def to_json(self, *, indent: int | None = None) -> str:
        """The whole catalog as a document, see `dcmflow.catalog.document`."""
        from dcmflow.catalog import document

        return document.write(self, indent)

    @classmethod
    def from_json(cls, text: str | bytes) -> Catalog:
        """The catalog of a document.

        Raises:
            ConfigError: it is none, it is cut off, or it is of a newer version.
        """
        from dcmflow.catalog import document

        return document.read(text, cls)

    def to_ndjson(self) -> Iterator[str]:
        """One JSON object with all values per leaf, see `dcmflow.catalog.tables`."""
        from dcmflow.catalog import tables

        return tables.ndjson(self)

    @classmethod
    def from_ndjson(cls, lines: Iterable[str]) -> Catalog:
        """The catalog of such lines; its level is that of the lowest.

        Raises:
            ConfigError: a line is no record.
        """
        from dcmflow.catalog import tables

        return tables.from_ndjson(lines, cls)

    def to_csv(self, columns: Sequence[str] | None = None) -> Iterator[str]:
        """A header and one row per leaf, without line ends; the columns are keywords, and None means all there are."""
        from dcmflow.catalog import tables

        return tables.csv_rows(self, columns)

    def tree(self, *, width: int | None = None, totals: bool = True) -> Iterator[str]:
        """Lines of a tree for people, cut to a width; see `dcmflow.catalog.render`."""
        from dcmflow.catalog import render

        return render.tree(self, width=width, totals=totals)

    def lines(self) -> Iterator[str]:
        """One line of text per leaf."""
        from dcmflow.catalog import render

        return render.lines(self)

    def _like(self, level: Level) -> Catalog:
        made = Catalog(level, provenance=self.provenance)
        made.extra = dict(self.extra)
        return made

    def _with_conflicts(self, *others: Catalog) -> Catalog:
        """With those conflicts of others that concern what is in it."""
        for conflict in (conflict for other in others for conflict in other.conflicts):
            self._keep(conflict)
        return self

    def _keep(self, conflict: Conflict) -> None:
        if self.find(conflict.level, conflict.uid) is not None:
            self.note(conflict)
