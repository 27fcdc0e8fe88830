"""Two folders, compared by SOP Instance UID."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dcmflow.cli.opening import error_text
from dcmflow.dicom.compare import Difference, compare, same_bytes
from dcmflow.dicom.nodes import listing
from dcmflow.dicom.part10 import MEDIA_STORAGE_DIRECTORY
from dcmflow.dicom.view import FileView
from dcmflow.errors import DatasetError, NotDicom


@dataclass
class Folder:
    """What a folder holds: for each SOP Instance UID the files with it; what could not be read, and why."""

    path: Path
    instances: dict[str, list[str]] = field(default_factory=dict)
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    not_dicom: int = 0

    @classmethod
    def scan(cls, path: Path) -> Folder:
        """Look at every file below a folder. Never raises for one of them."""
        from dcmflow.sources.globs import Globs
        from dcmflow.sources.walk import walk

        folder = cls(path)
        for found in walk(str(path), Globs()):
            if found.what == "file":
                folder._add(found.path)
            elif found.error is not None:
                folder.unreadable.append((found.path, error_text(found.error, found.path)))
            else:
                folder.not_dicom += 1
        return folder

    def _add(self, path: str) -> None:
        try:
            view = FileView.open(path)
            if view.sop_class_uid == MEDIA_STORAGE_DIRECTORY:
                self.not_dicom += 1
                return
            uid = view.sop_instance_uid
            if not uid:
                raise DatasetError("no SOP Instance UID")
            problem = listing(view.header).problem
            if problem is not None:
                raise problem
        except NotDicom:
            self.not_dicom += 1
        except (DatasetError, OSError) as error:
            self.unreadable.append((path, error_text(error, path)))
        else:
            self.instances.setdefault(uid, []).append(path)


@dataclass(frozen=True)
class Pair:
    """The files of one SOP Instance in both folders that are not the same, and what differs between them."""

    sop_instance_uid: str
    a: str
    b: str
    differences: list[Difference]

    @property
    def changed(self) -> bool:
        return any(not found.encoding for found in self.differences)

    @property
    def elements(self) -> list[str]:
        """Paths of the elements that differ, or when none does of those that are only written differently."""
        return [found.path for found in self.differences if found.encoding is not self.changed]


class FolderDiff:
    """The comparison of two folders.

    Args:
        ignore: keys of elements that are not looked at.
        pixels: decode pixel data that are not the same bytes.
    """

    def __init__(self, a: Path, b: Path, *, ignore: Iterable[str] = (), pixels: bool = False) -> None:
        self._ignore = list(ignore)
        self._pixels = pixels
        self.a: Folder = Folder.scan(a)
        self.b: Folder = Folder.scan(b)
        mine, others = self.a.instances, self.b.instances
        self.only_in_a: dict[str, list[str]] = {uid: mine[uid] for uid in sorted(mine.keys() - others.keys())}
        self.only_in_b: dict[str, list[str]] = {
            uid: others[uid] for uid in sorted(others.keys() - mine.keys())
        }
        self.duplicates: list[tuple[str, str, list[str]]] = [
            (name, uid, paths)
            for name, folder in (("a", self.a), ("b", self.b))
            for uid, paths in sorted(folder.instances.items())
            if len(paths) > 1
        ]
        self.changed: list[Pair] = []
        self.encoding: list[Pair] = []
        self.same: int = 0
        self.unreadable: list[tuple[str, str]] = [*self.a.unreadable, *self.b.unreadable]
        for uid in sorted(mine.keys() & others.keys()):
            self._compare(uid, mine[uid], others[uid])

    @property
    def different(self) -> bool:
        return bool(self.only_in_a or self.only_in_b or self.changed)

    def _compare(self, uid: str, mine: list[str], others: list[str]) -> None:
        """Each file on either side needs one on the other side that is the same."""
        worst: Pair | None = None
        pairs: dict[tuple[str, str], Pair] = {}
        sides = [[(a, b) for b in others] for a in mine] + [[(a, b) for a in mine] for b in others]
        try:
            for side in sides if len(sides) > 2 else sides[:1]:
                best = self._best(uid, side, pairs)
                if worst is None or _badness(best) > _badness(worst):
                    worst = best
        except (DatasetError, OSError) as error:
            self.unreadable.append((mine[0], error_text(error, mine[0])))
            return
        assert worst is not None
        if worst.changed:
            self.changed.append(worst)
        elif worst.differences:
            self.encoding.append(worst)
        else:
            self.same += 1

    def _best(self, uid: str, side: list[tuple[str, str]], pairs: dict[tuple[str, str], Pair]) -> Pair:
        best: Pair | None = None
        for a, b in side:
            pair = pairs.get((a, b)) or self._pair(uid, a, b)
            pairs[a, b] = pair
            if best is None or _badness(pair) < _badness(best):
                best = pair
            if not best.differences:
                break
        assert best is not None
        return best

    def _pair(self, uid: str, a: str, b: str) -> Pair:
        one, other = FileView.open(a), FileView.open(b)
        if same_bytes(one, other):
            return Pair(uid, a, b, [])
        found = compare(one, other, ignore=self._ignore, pixels=self._pixels)
        # nodes would keep the files in memory
        return Pair(uid, a, b, [each._replace(a=None, b=None) for each in found])

    def as_json(self) -> dict[str, Any]:
        """Everything, in words that JSON has."""
        return {
            "a": str(self.a.path),
            "b": str(self.b.path),
            "same": not self.different,
            "counts": self.counts(),
            "only_in_a": _listed(self.only_in_a),
            "only_in_b": _listed(self.only_in_b),
            "changed": [_pair_json(pair) for pair in self.changed],
            "encoding": [_pair_json(pair) for pair in self.encoding],
            "duplicates": [
                {"folder": name, "sop_instance_uid": uid, "paths": paths}
                for name, uid, paths in self.duplicates
            ],
            "unreadable": [{"path": path, "reason": reason} for path, reason in self.unreadable],
        }

    def counts(self) -> dict[str, int]:
        """How many there are of each, in SOP Instances; the last three are files."""
        return {
            "in_a": len(self.a.instances),
            "in_b": len(self.b.instances),
            "same": self.same,
            "encoding": len(self.encoding),
            "changed": len(self.changed),
            "only_in_a": len(self.only_in_a),
            "only_in_b": len(self.only_in_b),
            "duplicates": len(self.duplicates),
            "unreadable": len(self.unreadable),
            "not_dicom": self.a.not_dicom + self.b.not_dicom,
        }


def _badness(pair: Pair) -> int:
    return 2 if pair.changed else 1 if pair.differences else 0


def _listed(instances: dict[str, list[str]]) -> list[dict[str, Any]]:
    return [{"sop_instance_uid": uid, "paths": paths} for uid, paths in instances.items()]


def _pair_json(pair: Pair) -> dict[str, Any]:
    return {"sop_instance_uid": pair.sop_instance_uid, "a": pair.a, "b": pair.b, "elements": pair.elements}
