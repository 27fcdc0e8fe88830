"""pynetdicom as a peer, as fast as it goes: `python wire_pynetdicom.py serve|send PORT FOLDER`.

Serving writes the bytes of the data set as they came, without decoding them, and takes PDUs of any length. Sending
takes the files in pieces, without decoding them. Both with TCP_NODELAY, which pynetdicom does not set.
"""

from __future__ import annotations

import signal
import socket
import sys
from pathlib import Path
from typing import Any

from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, _config, evt
from pynetdicom.transport import AssociationSocket

CT = "1.2.840.10008.5.1.4.1.1.2"  # CT Image Storage


def serve(port: int, folder: Path) -> None:
    """Write what comes into the folder until SIGTERM."""

    def store(event: Any) -> int:
        name = f"{event.request.AffectedSOPInstanceUID}.dcm"
        (folder / name).write_bytes(event.encoded_dataset())
        return 0x0000

    ae = AE("DCMFLOW")
    ae.add_supported_context(CT, ExplicitVRLittleEndian)
    ae.maximum_pdu_size = 0
    ae.maximum_associations = 1000
    server = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    assert server is not None
    assert server.socket is not None
    server.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # connections inherit it
    server.socket.listen(128)
    signal.sigwait({signal.SIGTERM})


def send(port: int, folder: Path) -> None:
    """Send all files of the folder over one association; SystemExit when one is not stored."""
    create = AssociationSocket._create_socket

    def create_without_delay(self: AssociationSocket, *args: Any) -> socket.socket:
        made = create(self, *args)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made

    AssociationSocket._create_socket = create_without_delay  # type: ignore[method-assign, assignment]
    _config.STORE_SEND_CHUNKED_DATASET = True
    ae = AE("PYNETDICOM")
    ae.add_requested_context(CT, ExplicitVRLittleEndian)
    ae.maximum_pdu_size = 0
    ae.dimse_timeout = 5
    association = ae.associate("127.0.0.1", port, ae_title="DCMFLOW")
    if not association.is_established:
        sys.exit("no association")
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        status = association.send_c_store(file)
        if "Status" not in status:
            sys.exit("no response to a C-STORE within 5 s")
        if status.Status:
            sys.exit(f"status 0x{status.Status:04X}")
    association.release()


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM} if sys.argv[1] == "serve" else ())
    {"serve": serve, "send": send}[sys.argv[1]](int(sys.argv[2]), Path(sys.argv[3]))
