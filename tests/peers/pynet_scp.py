"""A store SCP of pynetdicom in a process of its own: `pynet_scp.py SETTINGS.json`.

It takes every storage SOP Class in every transfer syntax as offered and writes the bytes as they came, one Part 10 file per
instance, under another name until the file is whole.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import sys
import threading
import time
from pathlib import Path

from pynetdicom import (
    AE,
    ALL_TRANSFER_SYNTAXES,
    NonPatientObjectPresentationContexts,
    _config,
    evt,
    transport,
)
from pynetdicom.sop_class import Verification


def main(settings: dict[str, object]) -> None:
    _config.UNRESTRICTED_STORAGE_SERVICE = True
    _config.LOG_HANDLER_LEVEL = "none"
    folder = Path(str(settings["folder"]))

    def store(event: evt.Event) -> int:
        uid = str(event.request.AffectedSOPInstanceUID)
        context = event.context
        if settings["delay"]:
            time.sleep(float(str(settings["delay"])))
        if not settings["status"]:
            part = folder / f".{uid}.part"
            part.write_bytes(event.encoded_dataset())
            part.rename(folder / f"{uid}.dcm")
        print(f"{event.assoc.requestor.ae_title}: {uid} {context.abstract_syntax} {context.transfer_syntax}")
        return int(str(settings["status"]))

    ae = AE(ae_title=str(settings["ae_title"]))
    ae.maximum_pdu_size = 131072
    ae.maximum_associations = 64
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 30
    ae.require_called_aet = bool(settings["strict"])
    ae.add_supported_context(Verification)
    for (
        context
    ) in NonPatientObjectPresentationContexts:  # these are no storage to it: templates, hanging protocols
        ae.add_supported_context(context.abstract_syntax, ALL_TRANSFER_SYNTAXES)
    server = ae.start_server(
        ("127.0.0.1", int(str(settings["port"]))),
        block=False,
        ssl_context=_tls(settings["tls"]),
        evt_handlers=[(evt.EVT_C_STORE, store), (evt.EVT_CONN_OPEN, _without_nagle)],
    )
    assert isinstance(server, transport.ThreadedAssociationServer)
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    ended.wait()
    server.shutdown()
    sys.stdout.flush()
    os._exit(0)  # its threads would wait for associations that nobody ends


def _without_nagle(event: evt.Event) -> None:
    if os.environ.get("TCP_NODELAY") == "1" and event.assoc.dul.socket is not None:
        event.assoc.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _tls(files: object) -> ssl.SSLContext | None:
    if not isinstance(files, dict):
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=files["ca"])
    context.load_cert_chain(files["cert"], files["key"])
    context.verify_mode = ssl.CERT_REQUIRED
    return context


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
