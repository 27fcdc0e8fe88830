"""What a listener has to outlive: things that no client should do, each as a function of a connected `ScriptedScu`.

    @pytest.mark.parametrize("name", ATTACKS)
    async def test_listener_outlives(name, listener):
        async with ScriptedScu(node) as scu:
            await scu.run(ATTACKS[name])
        ...  # and an ordinary C-ECHO is answered afterwards

After most of them the listener owes an A-ABORT or an end; what came back is in `scu.received`, or comes with `scu.rest()`.
`PATIENT` names those after which a listener may wait, until its time is up.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from msgspec.structs import replace

from dcmflow.protocol.command import c_echo_rq, c_store_rq, encode_command
from dcmflow.protocol.pdu import AssociateAccept, ReleaseReply, ReleaseRequest
from dcmflow.testing.peer_fault import (
    FOUR_GIB,
    associate_request,
    context_item,
    cut,
    garbage,
    item,
    pdu_length,
    pdu_length_by,
    pdu_type,
    pdv_length,
    pdv_length_by,
    user_item,
)
from dcmflow.testing.peer_scu import IMPLICIT, VERIFICATION, ScriptedScu
from dcmflow.testing.peer_wire import COMMAND, LAST, P_DATA_TF, message, p_data, pdu, pdv

Attack = Callable[[ScriptedScu], Awaitable[object]]

CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
LONG: Final = 1 << 26
"""So many bytes are sent by an attack that does not end by itself, unless the listener ends it first."""

ECHO = encode_command(c_echo_rq(1))
STORE = encode_command(c_store_rq(1, CT_IMAGE_STORAGE, "2.25.1"))
_CONTEXT = context_item(1, VERIFICATION, IMPLICIT)


def _sending(*data: bytes, drip: int = 0) -> Attack:
    """Sends bytes on a fresh connection."""
    return lambda scu: scu.send(*data, drip=drip)


def _associated(*data: bytes) -> Attack:
    """Sends bytes on an association for C-ECHO (context 1) and the storage of CT images (context 3)."""

    async def attack(scu: ScriptedScu) -> None:
        await scu.associate((VERIFICATION, IMPLICIT), (CT_IMAGE_STORAGE, IMPLICIT))
        await scu.send(*data)

    return attack


async def _nothing(scu: ScriptedScu) -> None:
    """Connects and says nothing."""


async def _half_a_request(scu: ScriptedScu) -> None:
    await scu.send(scu.request(), fault=cut(60), drip=1)


async def _endless_command(scu: ScriptedScu) -> None:
    await scu.associate()
    piece = p_data(pdv(1, COMMAND, bytes(16000)))
    sent = 0
    while sent < LONG and await scu.send(piece):
        sent += len(piece)


async def _endless_empty_pieces(scu: ScriptedScu) -> None:
    await scu.associate()
    pieces = p_data(*[pdv(1, COMMAND, b"")] * 2000)
    sent = 0
    while sent < LONG // 16 and await scu.send(pieces):
        sent += len(pieces)


async def _second_request(scu: ScriptedScu) -> None:
    await scu.associate()
    await scu.send(scu.request())


async def _accepts_itself(scu: ScriptedScu) -> None:
    request = scu.request()
    await scu.send(AssociateAccept(request.called_ae, request.calling_ae, ()))


async def _collision(scu: ScriptedScu) -> None:
    """Asks for release and answers one at once, as if the listener had asked as well."""
    await scu.associate()
    await scu.send(ReleaseRequest(), ReleaseReply())


async def _abort_in_data(scu: ScriptedScu) -> None:
    await _associated(*_HALF_STORE)(scu)
    await scu.abort()


async def _close_in_data(scu: ScriptedScu) -> None:
    await _associated(*_HALF_STORE)(scu)
    scu.close()


async def _reset_in_data(scu: ScriptedScu) -> None:
    await _associated(*_HALF_STORE)(scu)
    scu.close(reset=True)


async def _too_long_for_them(scu: ScriptedScu) -> None:
    """One byte more than the listener said it takes, if it said so."""
    await scu.associate((CT_IMAGE_STORAGE, IMPLICIT))
    limit = scu.channel.largest or LONG
    await scu.send(message(1, STORE), p_data(pdv(1, 0, bytes(limit - 5))))


async def _many_unanswered(scu: ScriptedScu) -> None:
    """A thousand C-ECHO at once, and no answer is read."""
    await scu.associate()
    requests = [encode_command(replace(c_echo_rq(1), message_id=number)) for number in range(1, 1001)]
    await scu.send(b"".join(message(1, request) for request in requests))


def _nested(depth: int) -> bytes:
    made = b""
    for _ in range(depth):
        made = item(0x20, made)
    return made


_HALF_STORE = (message(3, STORE), p_data(pdv(3, 0, bytes(1000))))
_REQUEST = associate_request(_CONTEXT, user_item())
_EVERY_ID = [context_item(number, VERIFICATION, IMPLICIT) for number in range(256)]

ATTACKS: Final[dict[str, Attack]] = {
    # before there is an association
    "silence": _nothing,
    "half a request": _half_a_request,
    "garbage": _sending(garbage(4096)),
    "HTTP request": _sending(b"GET / HTTP/1.1\r\nHost: archive\r\n\r\n"),
    "TLS hello": _sending(bytes.fromhex("16030100c8010000c40303") + garbage(200)),
    "unknown PDU": _sending(pdu(0x42, b"")),
    "empty request": _sending(pdu(1, b"")),
    "request of 4 GiB": _sending(pdu_length(FOUR_GIB)(_REQUEST)),
    "request that is longer than said": _sending(pdu_length_by(-10)(_REQUEST)),
    "request without contexts": _sending(associate_request(user_item())),
    "request without user information": _sending(associate_request(_CONTEXT)),
    "request of 10,000 contexts": _sending(
        associate_request(*[context_item(n, VERIFICATION, IMPLICIT) for n in range(10_000)], user_item())
    ),
    "request with each id twice": _sending(associate_request(*_EVERY_ID, *_EVERY_ID, user_item())),
    "request of empty items": _sending(associate_request(*[item(0x20)] * 5000, user_item())),
    "request of items in items": _sending(associate_request(_nested(5000), user_item())),
    "request with an item past its end": _sending(associate_request(item(0x20, bytes(4), length=0xFFFF))),
    "request with a sub-item past its end": _sending(
        associate_request(_CONTEXT, item(0x50, item(0x51, bytes(4), length=0xFFF0)))
    ),
    "request with empty titles": _sending(associate_request(_CONTEXT, user_item(), called=b"", calling=b"")),
    "request with control characters": _sending(
        associate_request(_CONTEXT, user_item(), called=b"\x1b[31m\r\n\0\xff", calling=b"../..\\\0")
    ),
    "data before a request": _sending(message(1, ECHO)),
    "release before a request": _sending(pdu(5, bytes(4))),
    "acceptance as a request": _accepts_itself,
    "abort as a request": _sending(pdu(7, bytes(4))),
    # on an association
    "second request": _second_request,
    "PDU of 4 GiB": _associated(pdu_length(FOUR_GIB)(message(1, ECHO))),
    "PDU longer than allowed": _too_long_for_them,
    "PDU of unknown type": _associated(pdu_type(0x42)(message(1, ECHO))),
    "PDU without items": _associated(pdu(P_DATA_TF, b"")),
    "PDU with half an item": _associated(pdu(P_DATA_TF, bytes(5))),
    "PDU that is shorter than said": _associated(pdu_length_by(10)(message(1, ECHO))),
    "item of 4 GiB": _associated(pdv_length(FOUR_GIB)(message(1, ECHO))),
    "item of no length": _associated(pdv_length(0)(message(1, ECHO))),
    "item past its PDU": _associated(pdv_length_by(2)(message(1, ECHO))),
    "item on an unknown context": _associated(message(99, ECHO)),
    "item on an even context": _associated(message(2, ECHO)),
    "data set first": _associated(p_data(pdv(3, LAST, bytes(100)))),
    "command within a data set": _associated(*_HALF_STORE, message(1, ECHO)),
    "message on two contexts": _associated(message(3, STORE), p_data(pdv(1, LAST, bytes(10)))),
    "empty command": _associated(p_data(pdv(1, COMMAND | LAST, b""))),
    "command of garbage": _associated(message(1, garbage(200))),
    "command past its end": _associated(message(1, ECHO[:-1])),
    "command without end": _endless_command,
    "command of empty pieces": _endless_empty_pieces,
    "response that nobody asked for": _associated(message(1, ECHO.replace(b"\x30\0", b"\x30\x80"))),
    "a thousand requests": _many_unanswered,
    "half a data set": _associated(*_HALF_STORE),
    "release within a data set": _associated(*_HALF_STORE, pdu(5, bytes(4))),
    "abort within a data set": _abort_in_data,
    "end within a data set": _close_in_data,
    "reset within a data set": _reset_in_data,
    "release collision": _collision,
    "data after release": _associated(pdu(5, bytes(4)), message(1, ECHO)),
}

PATIENT: Final = frozenset(
    {
        "silence",
        "half a request",
        "half a data set",
        "PDU that is shorter than said",
        "a thousand requests",
        # may be forgiven, and then an association is there
        "request without contexts",
        "request without user information",
        "request with each id twice",
        "request of empty items",
        "request of items in items",
        "request with empty titles",
        "request with control characters",
        # may be answered, and then it is for us to close
        "release within a data set",
        "release collision",
        "data after release",
    }
)
"""After these a listener may wait: for more, for us to read, or for us to close, until its time is up."""
