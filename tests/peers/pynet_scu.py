"""A store SCU of pynetdicom in a process of its own: `pynet_scu.py SETTINGS.json`.

It sends the data sets of files byte by byte as they are, proposes one presentation context per SOP Class and transfer syntax
(over several associations where there are more than 128), and prints a JSON object for each file: its path, and the status,
null where none came. Exit code 1: not all succeeded; 3: there was no association.
"""

from __future__ import annotations

import json
import os
import socket
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydicom.filereader import read_file_meta_info
from pydicom.uid import UID
from pynetdicom import AE, _config, build_context, evt


def main(settings: dict[str, Any]) -> int:
    _config.STORE_SEND_CHUNKED_DATASET = True
    by_context: dict[tuple[str, str], list[str]] = {}
    for path in settings["files"]:
        meta = read_file_meta_info(path)
        key = (str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID))
        by_context.setdefault(key, []).append(path)
    failed = 0
    for chosen in _associations(list(by_context)):
        files = [path for context in chosen for path in by_context[context]]
        sent = _send(settings, chosen, files)
        if sent is None:
            return 3
        failed += sent
    return 1 if failed else 0


def _associations(contexts: list[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    """At most 128 contexts for each; a private transfer syntax by itself, since pynetdicom does not choose beside one."""
    private = [context for context in contexts if UID(context[1]).is_private]
    public = [context for context in contexts if context not in private]
    for first in range(0, len(public), 128):
        yield public[first : first + 128]
    yield from ([context] for context in private)


def _send(settings: dict[str, Any], contexts: list[tuple[str, str]], files: list[str]) -> int | None:
    """How many failed; None: no association. pynetdicom may lose a response and the association: the rest goes over another."""
    failed = 0
    for last in (False, False, True):
        left = _send_once(settings, contexts, files, last=last)
        if left is None:
            return None
        failed += left[0]
        files = left[1]
        if not files:
            break
    return failed


def _send_once(
    settings: dict[str, Any], contexts: list[tuple[str, str]], files: list[str], *, last: bool
) -> tuple[int, list[str]] | None:
    ae = AE(ae_title=settings["calling_ae"])
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 10
    proposed = [build_context(sop_class, syntax) for sop_class, syntax in contexts]
    tls = _tls(settings["tls"])
    association = ae.associate(
        settings["host"],
        settings["port"],
        proposed,
        ae_title=settings["called_ae"],
        tls_args=(tls, None) if tls else None,
        evt_handlers=[(evt.EVT_CONN_OPEN, _without_nagle)],
    )
    if not association.is_established:
        answer = association.acceptor.primitive
        print(f"no association: {answer.result_str if answer is not None else 'no answer'}", file=sys.stderr)
        return None
    failed = 0
    for number, path in enumerate(files, 1):
        gone = False
        try:
            status = association.send_c_store(path, msg_id=number).get("Status")
            gone = status is None  # no response came in time
        except ValueError as error:  # no accepted context
            print(error, file=sys.stderr)
            status = None
        except RuntimeError as error:  # the association is gone
            print(error, file=sys.stderr)
            status, gone = None, True
        if gone and not last:
            association.abort()
            return failed, files[number - 1 :]
        print(json.dumps({"file": path, "status": status}), flush=True)
        failed += status != 0
    association.release()
    return failed, []


def _without_nagle(event: evt.Event) -> None:
    if os.environ.get("TCP_NODELAY") == "1" and event.assoc.dul.socket is not None:
        event.assoc.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _tls(files: dict[str, str] | None) -> ssl.SSLContext | None:
    if files is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=files["ca"])
    context.load_cert_chain(files["cert"], files["key"])
    context.check_hostname = False  # pynetdicom gives no name to check
    return context


if __name__ == "__main__":
    sys.exit(main(json.loads(Path(sys.argv[1]).read_text())))
