"""Between instances and the outside: files read and written, pydicom data sets parsed and encoded."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable
from io import BytesIO
from secrets import token_hex
from typing import TYPE_CHECKING, Any, Final, cast

from dcmflow.dicom import deflate, part10
from dcmflow.dicom.elements import EXPLICIT, Buffer, Incomplete, encoding_of
from dcmflow.dicom.header import Header
from dcmflow.dicom.payload import BLOCK, LEAD, FilePayload, MemoryPayload, Payload, Region, signature
from dcmflow.errors import DatasetError, NotDicom

if TYPE_CHECKING:
    from pydicom import Dataset
    from pydicom.dataset import FileDataset

_INLINE: Final = 2 * BLOCK  # up to this size writing in place is quicker than a thread
_STRIDE: Final = 16 * BLOCK  # what a thread writes before a cancellation is noticed
_LONGEST_META: Final = 16 * BLOCK


def at(path: str, error: DatasetError) -> DatasetError:
    """The same error with the file it is about."""
    text = str(error)
    kind = NotDicom if isinstance(error, NotDicom) else DatasetError
    return kind(text if path in text else f"{path}: {text}", status=error.status)


def open_payload(path: str, memory_limit: int) -> tuple[part10.Meta, Payload]:
    """File Meta Information and data set of a file; the data set in memory up to `memory_limit` bytes.

    Raises:
        NotDicom, DatasetError: as `part10.split`.
        OSError: it cannot be opened or read.
    """
    # a pipe without a writer must not block
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise NotDicom("not a regular file")
        size = status.st_size
        if size <= memory_limit:
            data = os.read(descriptor, size + 1)
            while 0 < len(data) < size and (more := os.read(descriptor, size - len(data))):
                data += more
            meta = part10.split(data)
            return meta, MemoryPayload(memoryview(data)[meta.offset :] if meta.offset else data)
        lead = os.pread(descriptor, LEAD, 0)
        try:
            meta = part10.split(lead)
        except Incomplete:
            lead = os.pread(descriptor, _LONGEST_META, 0)
            meta = part10.split(lead)
        region = [Region(meta.offset, size - meta.offset)] if size > meta.offset else []
        lead = lead[meta.offset : meta.offset + LEAD]
        return meta, FilePayload(path, region, lead=lead, signature=signature(status))
    finally:
        os.close(descriptor)


def examine(meta: part10.Meta, payload: Payload) -> tuple[str, Header]:
    """The transfer syntax of a data set and its elements.

    Raises:
        DatasetError: there is no telling the transfer syntax.
    """
    if meta.transfer_syntax_uid in deflate.DEFLATED:
        return meta.transfer_syntax_uid, Header(deflate.Inflated(payload), EXPLICIT)
    first: Buffer = next((piece.data for piece in payload.pieces()), b"")
    syntax = part10.transfer_syntax(first, meta.transfer_syntax_uid)
    header = Header(payload, encoding_of(syntax))
    if not syntax:
        raise DatasetError("the file does not name its transfer syntax, and the data set does not show it")
    if not meta.transfer_syntax_uid and 0x7FE00010 in header and header.element(0x7FE00010).undefined:
        raise DatasetError("the file does not name its transfer syntax, and its pixel data are compressed")
    return syntax, header


def parse_dataset(segments: Iterable[Buffer], deflated: bool, payload: Payload) -> FileDataset:
    """A pydicom data set of a DICOM file.

    Raises:
        DatasetError: pydicom cannot parse it.
    """
    from pydicom import dcmread
    from pydicom.uid import UID

    meta, *rest = segments
    syntax = ""
    if deflated:  # pydicom inflates without a limit
        parsed = part10.split(meta)
        syntax = parsed.transfer_syntax_uid
        meta = part10.build_meta(
            parsed.sop_class_uid, parsed.sop_instance_uid, part10.EXPLICIT_VR_LITTLE_ENDIAN
        )
        rest = [deflate.inflated(payload)]
    try:
        ds = dcmread(BytesIO(b"".join([meta, *rest])), force=True)
    except Exception as error:
        raise DatasetError(f"pydicom cannot parse the data set: {error}") from error
    if syntax:
        ds.file_meta.TransferSyntaxUID = UID(syntax)
    return ds


def encode_dataset(ds: Dataset, syntax: str) -> dict[str, Any]:
    """Fields of an instance from a pydicom data set.

    Args:
        syntax: transfer syntax where the data set does not name one; empty: as it was encoded before, else explicit VR
            little endian.

    Raises:
        DatasetError: pydicom cannot encode it, or UIDs are missing.
    """
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import write_dataset
    from pydicom.uid import UID

    meta = getattr(ds, "file_meta", None)
    named = str(getattr(meta, "TransferSyntaxUID", "") or syntax)
    if not named:
        implicit, little = ds.original_encoding
        named = part10.IMPLICIT_VR_LITTLE_ENDIAN if implicit else part10.EXPLICIT_VR_LITTLE_ENDIAN
        named = part10.EXPLICIT_VR_BIG_ENDIAN if little is False else named
    encoding = encoding_of(named)
    uids = [
        str(ds.get(keyword) or getattr(meta, "MediaStorage" + keyword, ""))
        for keyword in ("SOPClassUID", "SOPInstanceUID")
    ]
    for uid, what in zip(uids, ("SOP Class UID", "SOP Instance UID"), strict=True):
        if not uid:
            raise DatasetError(f"the data set has no {what}")
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = not encoding.explicit, encoding.little
    try:
        if "PixelData" in ds:
            syntax_uid = UID(named)
            compressed = (
                not syntax_uid.is_private and syntax_uid.is_transfer_syntax and syntax_uid.is_encapsulated
            )
            if compressed:
                ds["PixelData"].is_undefined_length = True
        write_dataset(buffer, cast("Any", ds)[0x00030000:])
    except Exception as error:
        raise DatasetError(f"pydicom cannot encode the data set: {error}") from error
    payload = MemoryPayload(buffer.getvalue())
    if named in deflate.DEFLATED:
        payload = deflate.deflated(payload)
    return {
        "sop_class_uid": uids[0],
        "sop_instance_uid": uids[1],
        "transfer_syntax_uid": named,
        "payload": payload,
    }


async def save(path: str, meta: bytes, payload: Payload, *, durable: bool) -> None:
    """Write `meta` and `payload` beside `path` under a dot name, then rename.

    Raises:
        DatasetError: the payload's file is gone.
        OSError: it cannot be written.
    """
    folder = os.path.dirname(path)
    temporary = os.path.join(folder, f".{token_hex(8)}.dcmflow")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        try:
            if payload.size <= _INLINE and not durable:
                _write(descriptor, [meta, *payload.blocks()])
            else:
                await _write_in_threads(descriptor, meta, payload, durable=durable)
        finally:
            os.close(descriptor)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    if durable:
        from anyio import to_thread

        await to_thread.run_sync(_sync_folder, folder or ".")


async def _write_in_threads(descriptor: int, meta: bytes, payload: Payload, *, durable: bool) -> None:
    from anyio import to_thread

    blocks = payload.blocks()
    pending: list[Buffer] = [meta]

    def some() -> bool:
        """Write a stride; False when there is no more."""
        size = 0
        for block in blocks:
            pending.append(block)
            size += len(block)
            if len(pending) >= 8 or size >= _STRIDE:
                _write(descriptor, pending)
                pending.clear()
            if size >= _STRIDE:
                return True
        _write(descriptor, pending)
        pending.clear()
        if durable:
            os.fsync(descriptor)
        return False

    while await to_thread.run_sync(some):
        pass


def _write(descriptor: int, buffers: list[Buffer]) -> None:
    """All of the buffers, with as few calls as the system allows."""
    views = [memoryview(buffer) for buffer in buffers if len(buffer)]
    while views:
        written = os.writev(descriptor, views[:64])
        while views and written >= len(views[0]):
            written -= len(views.pop(0))
        if written:
            views[0] = views[0][written:]


def _sync_folder(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
