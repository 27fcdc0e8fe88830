"""What a failure status of a query or retrieval means, and what to try (PS3.4 C.4.1.1.4, C.4.2.1.5, C.4.3.1.4)."""

from __future__ import annotations

from typing import Final

from dcmflow.errors import RequestFailed
from dcmflow.status import Status

_HINTS: Final = {
    "C-FIND": {
        0xA700: "it cannot answer now, or finds too much: ask for less (a date range, one patient), or later",
        0xA900: "it does not take these keys at this level: some servers want the keys of every level above",
        0x0122: "it does not answer this kind of query",
        0x0124: "it does not let {calling} query: ask its administrator",
    },
    "C-MOVE": {
        0xA701: "it cannot count what would be moved: ask for less",
        0xA702: "it could not send: is {to} reachable from there under the host and port that it has for it{where}?",
        0xA801: "it does not know the move destination {to}: ask its administrator to register that AE title with host and port"
        "{where}",
        0xA900: "it does not take these keys at this level: some servers want the keys of every level above",
        0xC000: "it may not know the move destination {to} (Orthanc says it so): ask its administrator to register that AE"
        " title with host and port{where}",
        0x0124: "it does not let {calling} retrieve: ask its administrator",
    },
    "C-GET": {
        0xA701: "it cannot count what would be sent: ask for less",
        0xA702: "it could not send on this association: it has no presentation context for these objects, or refuses them",
        0xA900: "it does not take these keys at this level: some servers want the keys of every level above",
        0x0122: "it has no C-GET: use C-MOVE",
        0x0211: "it has no C-GET: use C-MOVE",
    },
}


def failed(
    operation: str,
    peer: str,
    status: Status,
    comment: str = "",
    *,
    calling: str = "",
    to: str = "",
    where: str = "",
) -> RequestFailed:
    """The error for a failure status.

    Args:
        operation: `C-FIND`, `C-MOVE` or `C-GET`.
        calling: our AE title.
        to: the move destination.
        where: host and port of that, where we know them.
    """
    hints = _HINTS.get(operation, {})
    hint = hints.get(int(status)) or hints.get(int(status) & 0xFF00, "its log may say why")
    hint = hint.format(calling=calling or "us", to=to or "we name", where=f" ({where})" if where else "")
    said = f" ({comment})" if comment else ""
    return RequestFailed(
        f"{peer} answered {operation} with {status}{said}; {hint}",
        status=status,
        comment=comment,
        operation=operation,
        peer=peer,
    )
