"""A DICOM file to look at: its File Meta Information and its elements, whatever else may be wrong with it.

An instance knows what it is; a file may lack that and be worth a look all the same. Pixels are never read by opening.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, NamedTuple

from dcmflow.dicom import deflate, files
from dcmflow.dicom.elements import EXPLICIT
from dcmflow.dicom.header import Header
from dcmflow.dicom.payload import MemoryPayload, Payload
from dcmflow.errors import DatasetError

_IN_MEMORY: Final = 64 * 1024  # larger files stay where they are


class FileView(NamedTuple):
    """A file that is looked at.

    Attributes:
        path: the file.
        meta: elements of the File Meta Information; None where there is none.  meta_offset: where they begin in the file.
        header: elements of the data set.
        transfer_syntax_uid: how the data set is encoded.
        offset: where the data set begins in the file; None where its bytes do not stand there as they are, being deflated.
        payload: the encoded data set.
    """

    path: str
    meta: Header | None
    meta_offset: int
    header: Header
    transfer_syntax_uid: str
    offset: int | None
    payload: Payload

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> FileView:
        """Look at a file.

        Raises:
            NotDicom: it is something else.
            DatasetError: there is no telling how it is encoded.
            OSError: it cannot be opened or read.
        """
        path = os.fspath(path)
        try:
            meta, payload = files.open_payload(path, _IN_MEMORY)
            syntax, header = files.examine(meta, payload)
            begin, found = _file_meta(path, meta.offset) if meta.offset else (0, None)
        except DatasetError as error:
            raise files.at(path, error) from error
        offset = None if syntax in deflate.DEFLATED else meta.offset
        return cls(path, found, begin, header, syntax, offset, payload)

    @property
    def sop_class_uid(self) -> str:
        """Of the data set or, where it does not say, of the File Meta Information; empty where neither does."""
        found = self.header.text(0x00080016)
        return found or (self.meta.text(0x00020002) if self.meta is not None else "")

    @property
    def sop_instance_uid(self) -> str:
        """As `sop_class_uid`."""
        found = self.header.text(0x00080018)
        return found or (self.meta.text(0x00020003) if self.meta is not None else "")

    @property
    def uri(self) -> str:
        return Path(self.path).absolute().as_uri()


def _file_meta(path: str, offset: int) -> tuple[int, Header]:
    with open(path, "rb") as file:
        lead = file.read(offset)
    begin = 132 if lead[128:132] == b"DICM" else 4 if lead[:4] == b"DICM" else 0
    return begin, Header(MemoryPayload(lead[begin:]), EXPLICIT)
