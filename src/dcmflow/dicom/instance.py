"""A SOP Instance as a value: encoded bytes, and what is known about where they come from.

The encoded bytes are the truth; a pydicom `Dataset` is a view of them, parsed when somebody asks for one. An instance is never
changed, only replaced: `with_elements` and its sisters give a new instance that shares the bytes it did not touch. So branches of a
pipeline hold the same bytes, and an edit in one of them cannot show in another.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, final

import msgspec

from dcmflow.dicom import deflate, files, part10, rewrite, splice, walker
from dcmflow.dicom.elements import Buffer, Encoding, encoding_of
from dcmflow.dicom.header import Header
from dcmflow.dicom.payload import MemoryPayload, Payload
from dcmflow.dicom.walker import Source
from dcmflow.errors import DatasetError

if TYPE_CHECKING:
    from pydicom import Dataset

MEMORY_LIMIT: Final = 1024 * 1024  # larger files stay in the file system


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Where an instance comes from.

    Attributes:
        stage: name of the source that took it on.
        received: when, with a time zone.
        path: the file, `archive.zip!member.dcm` inside an archive.
        calling_ae, called_ae, address: of the association it came over.
        move_originator: AE title of the C-MOVE that asked for it.
    """

    stage: str = ""
    received: datetime | None = None
    path: str | None = None
    calling_ae: str = ""
    called_ae: str = ""
    address: str = ""
    move_originator: str = ""


NOWHERE: Final = Origin()
_NO_LABELS: Final[Mapping[str, str]] = MappingProxyType({})
_NOTHING: Final[Mapping[Any, Any]] = MappingProxyType({})


def _at(origin: Origin, path: str) -> Origin:
    if origin is NOWHERE:
        return Origin(path=path)
    return origin if origin.path else msgspec.structs.replace(origin, path=path)


def _one(uid: Any) -> str:
    return uid if isinstance(uid, str) else str(uid[0]) if isinstance(uid, tuple) else ""


@final
class Instance:
    """A SOP Instance. Never changed, only replaced.

    Attributes:
        sop_class_uid, sop_instance_uid, transfer_syntax_uid: what it is and how it is encoded.
        payload: the encoded data set, without File Meta Information.
        origin: where it comes from.
        labels: notes for later stages.
    """

    __slots__ = (
        "_header",
        "labels",
        "origin",
        "payload",
        "sop_class_uid",
        "sop_instance_uid",
        "transfer_syntax_uid",
    )

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    payload: Payload
    origin: Origin
    labels: Mapping[str, str]

    def __init__(
        self,
        sop_class_uid: str,
        sop_instance_uid: str,
        transfer_syntax_uid: str,
        payload: Payload,
        *,
        origin: Origin = NOWHERE,
        labels: Mapping[str, str] = _NO_LABELS,
    ) -> None:
        put = object.__setattr__
        put(self, "sop_class_uid", sop_class_uid)
        put(self, "sop_instance_uid", sop_instance_uid)
        put(self, "transfer_syntax_uid", transfer_syntax_uid)
        put(self, "payload", payload)
        put(self, "origin", origin)
        put(self, "labels", labels if labels is _NO_LABELS else MappingProxyType(dict(labels)))
        put(self, "_header", None)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"an Instance is never changed; make another one instead of setting {name}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"an Instance is never changed; {name} stays")

    def __repr__(self) -> str:
        return f"<Instance {self.sop_instance_uid} of {self.sop_class_uid}, {self.size} bytes>"

    @property
    def header(self) -> Header:
        """The elements, found and decoded on demand (see `dcmflow.dicom.header`)."""
        header: Header | None = self._header  # type: ignore[attr-defined]
        if header is None:
            header = Header(self._source(), self._encoding())
            object.__setattr__(self, "_header", header)
        return header

    def _source(self) -> Source:
        return deflate.Inflated(self.payload) if self._deflated else self.payload

    def _encoding(self) -> Encoding:
        return encoding_of(self.transfer_syntax_uid)

    @property
    def _deflated(self) -> bool:
        return self.transfer_syntax_uid in deflate.DEFLATED

    @property
    def size(self) -> int:
        """Encoded bytes of the data set."""
        return self.payload.size

    @property
    def resident(self) -> int:
        """Bytes held in memory."""
        return self.payload.resident

    # -- other instances

    def _with(self, **changes: Any) -> Instance:
        fields: dict[str, Any] = {
            "sop_class_uid": self.sop_class_uid,
            "sop_instance_uid": self.sop_instance_uid,
            "transfer_syntax_uid": self.transfer_syntax_uid,
            "payload": self.payload,
            "origin": self.origin,
            "labels": self.labels,
            **changes,
        }
        other = Instance(**fields)
        if other.payload is self.payload:
            object.__setattr__(other, "_header", self._header)  # type: ignore[attr-defined]
        return other

    def with_labels(self, **labels: str) -> Instance:
        """The same instance with these labels added or replaced."""
        return self._with(labels={**self.labels, **labels})

    def with_origin(self, **changes: Any) -> Instance:
        """The same instance with parts of its origin replaced."""
        return self._with(origin=msgspec.structs.replace(self.origin, **changes))

    def with_elements(
        self,
        set: Mapping[Any, Any] = _NOTHING,
        remove: Iterable[str | int] = (),
    ) -> Instance:
        """An instance with some elements set and others removed; everything else keeps its bytes, but group lengths follow.

        Args:
            set: values by keyword, tag, private tag or path (see `dcmflow.dicom.tags`); what a value may be is said in
                `dcmflow.dicom.values`. None and "" make an element that is present but empty. A sequence is a list of mappings. A
                path makes the sequence, or the item behind the last one, when it is missing.
            remove: keys of elements to leave out; absent ones are no error.

        Where a text has characters outside the Specific Character Set of the data set, all its text is written anew in UTF-8
        (ISO_IR 192). The SOP Class and SOP Instance UID of the instance follow their elements.

        Raises:
            UnknownKeyword: a key names no element.
            DatasetError: a value does not fit its VR, an index leaves a gap, or the bytes are broken.
        """
        if not set and not (remove := tuple(remove)):
            return self
        return self._spliced(lambda payload, header: splice.edit(payload, header, set, remove))

    def with_uids(self, change: Callable[[str], str | None]) -> Instance:
        """An instance in which every UID went through `change`, at every depth.

        Args:
            change: gets each value of each element with VR UI, SOP classes and coding schemes included; returns
                the new value, or None to keep it. The transfer syntax is no element and is not asked for.

        Raises:
            DatasetError: the bytes are broken, or a new value is no UID.
        """
        return self.with_values(("UI",), lambda _tag, _vr, uid: change(uid))

    def with_values(self, vrs: Iterable[str], change: Callable[[int, str, str], str | None]) -> Instance:
        """An instance in which every value with one of these VRs went through `change`, at every depth.

        Args:
            vrs: VRs whose values are ASCII: UI, DA, DT, TM, AE, AS, CS, DS, IS.
            change: gets tag, VR and each single value without blanks around it; returns the new one, or None to keep it as it
                is written.

        Raises:
            DatasetError: the bytes are broken, or a new value does not fit its VR.
        """
        wanted = frozenset(vrs)
        return self._spliced(lambda payload, header: rewrite.change_values(payload, header, wanted, change))

    def _spliced(self, splicing: Callable[[Payload, Header], Payload]) -> Instance:
        payload, header = self.payload, self.header
        if self._deflated:
            payload = MemoryPayload(deflate.inflated(self.payload))
            header = Header(payload, self._encoding())
        changed = splicing(payload, header)
        if changed is payload:
            return self
        after = Header(changed, self._encoding())
        for tag, name in ((0x00080016, "SOPClassUID"), (0x00080018, "SOPInstanceUID")):
            if tag in header and not _one(after.get(tag)):
                raise DatasetError(f"an instance cannot do without its {name}; give it another value")
        uids = {
            "sop_class_uid": _one(after.get(0x00080016)) or self.sop_class_uid,
            "sop_instance_uid": _one(after.get(0x00080018)) or self.sop_instance_uid,
        }
        if self._deflated:
            assert isinstance(changed, MemoryPayload)
            changed = deflate.deflated(changed)
        other = self._with(payload=changed, **uids)
        if not self._deflated:
            object.__setattr__(other, "_header", after)
        return other

    def with_dataset(self, ds: Dataset) -> Instance:
        """An instance with the elements of a pydicom data set, encoded in the transfer syntax of its file meta or, when it has
        none, of this instance.

        Raises:
            DatasetError: pydicom cannot encode it, or SOP Class or SOP Instance UID are missing.
        """
        return self._with(**files.encode_dataset(ds, self.transfer_syntax_uid))

    @classmethod
    def from_dataset(cls, ds: Dataset, *, origin: Origin = NOWHERE) -> Instance:
        """An instance from a pydicom data set, encoded as its file meta or its original encoding says, else explicit VR little
        endian.

        Raises:
            DatasetError: as `with_dataset`.
        """
        return cls(**files.encode_dataset(ds, ""), origin=origin)

    # -- as other things

    def read(self) -> Dataset:
        """A fresh pydicom data set, file meta included, that is yours to change.

        Raises:
            DatasetError: pydicom cannot parse it.
        """
        return files.parse_dataset(self.part10_segments(), self._deflated, self.payload)

    def part10_segments(self) -> list[Buffer]:
        """The instance as a DICOM file (PS3.10): preamble with File Meta Information, then the data set.

        Ready for `writelines`, `writev` or `sendmsg`; nothing is copied.
        """
        return [self.part10_meta(), *self.payload.segments()]

    def part10_meta(self) -> bytes:
        """What stands before the data set in its file: preamble, prefix, File Meta Information (PS3.10 7.1)."""
        return part10.build_meta(self.sop_class_uid, self.sop_instance_uid, self.transfer_syntax_uid)

    def verify(self) -> None:
        """Walk all top-level elements, and the fragments of encapsulated pixel data, to the end.

        Raises:
            DatasetError: they do not parse or run past the end of the data: the object is truncated.
        """
        if not self.payload.size:
            raise DatasetError("the data set is empty: nothing follows the File Meta Information")
        if self._deflated:
            deflate.verify(self.payload)
        else:
            walker.verify(self.payload, self._encoding())

    # -- files

    async def save(self, path: str | os.PathLike[str], *, durable: bool = False) -> None:
        """Write a DICOM file (PS3.10) beside `path` under a dot name, then rename it.

        The file is never there half-written; nothing stays behind when writing fails or is cancelled. A file that is there already
        is replaced.

        Args:
            durable: return only when file and name are on the disk.

        Raises:
            DatasetError: the file this instance lives in is not there any more.
            OSError: it cannot be written.
        """
        meta = part10.build_meta(self.sop_class_uid, self.sop_instance_uid, self.transfer_syntax_uid)
        await files.save(os.fspath(path), meta, self.payload, durable=durable)

    @classmethod
    async def from_file(
        cls, path: str | os.PathLike[str], *, memory_limit: int = MEMORY_LIMIT, origin: Origin = NOWHERE
    ) -> Instance:
        """`load` for async code: at most one small read, done in place, which is quicker than handing it to a thread."""
        return cls.load(path, memory_limit=memory_limit, origin=origin)

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], *, memory_limit: int = MEMORY_LIMIT, origin: Origin = NOWHERE
    ) -> Instance:
        """Read a DICOM file (PS3.10), or a bare data set when the content is unmistakable.

        Files of up to `memory_limit` bytes are read into memory, larger ones stay where they are. A DICOMDIR loads as an instance
        of class 1.2.840.10008.1.3.10.

        Raises:
            NotDicom: the file is something else.
            DatasetError: it is DICOM, but cut off, or without SOP Class or SOP Instance UID.
            OSError: it cannot be opened or read.
        """
        path = os.fspath(path)
        try:
            meta, payload = files.open_payload(path, memory_limit)
            return cls._identified(meta, payload, _at(origin, path))
        except DatasetError as error:
            raise files.at(path, error) from error

    @classmethod
    def from_bytes(cls, data: Buffer, *, origin: Origin = NOWHERE) -> Instance:
        """As `load`, from the bytes of a file. They are not copied.

        Raises:
            NotDicom, DatasetError: as `load`.
        """
        try:
            meta = part10.split(data)
            payload = MemoryPayload(memoryview(data)[meta.offset :] if meta.offset else data)
            return cls._identified(meta, payload, origin)
        except DatasetError as error:
            if origin.path:
                raise files.at(origin.path, error) from error
            raise

    @classmethod
    def _identified(cls, meta: part10.Meta, payload: Payload, origin: Origin) -> Instance:
        syntax, header = files.examine(meta, payload)
        sop_instance = _one(header.get(0x00080018)) or meta.sop_instance_uid  # the later one first: one walk
        sop_class = _one(header.get(0x00080016)) or meta.sop_class_uid
        if not sop_class or not sop_instance:
            missing = "SOP Class UID" if not sop_class else "SOP Instance UID"
            raise DatasetError(
                f"the data set has no {missing}, and File Meta Information does not name it either"
            )
        instance = cls(sop_class, sop_instance, syntax, payload, origin=origin)
        object.__setattr__(instance, "_header", header)
        return instance
