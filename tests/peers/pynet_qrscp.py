"""pynetdicom's own archive, `qrscp`, in a process of its own and without Nagle's algorithm: `pynet_qrscp.py -c SETTINGS.ini`."""

from __future__ import annotations

import os
import socket
import sys
from typing import Any

from pynetdicom import AE, evt
from pynetdicom.apps.qrscp.qrscp import main

_start, _associate = AE.start_server, AE.associate


def _start_server(self: AE, *arguments: Any, evt_handlers: list[Any], **options: Any) -> Any:
    handlers = [*evt_handlers, (evt.EVT_CONN_OPEN, _without_nagle)]
    return _start(self, *arguments, evt_handlers=handlers, **options)


def _without_nagle(event: evt.Event) -> None:
    if os.environ.get("TCP_NODELAY") == "1" and event.assoc.dul.socket is not None:
        event.assoc.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _associated(self: AE, *arguments: Any, **options: Any) -> Any:
    handlers = [*(options.pop("evt_handlers", None) or ()), (evt.EVT_CONN_OPEN, _without_nagle)]
    return _associate(self, *arguments, evt_handlers=handlers, **options)


AE.start_server, AE.associate = _start_server, _associated  # type: ignore[method-assign]

if __name__ == "__main__":
    main(sys.argv[1:])
