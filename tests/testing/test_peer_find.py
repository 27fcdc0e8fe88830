"""C-FIND of the scripted peers."""

from __future__ import annotations

from itertools import count

import pytest
from msgspec.structs import replace
from pydicom.dataset import Dataset

import raw_dicom as raw
from dcmflow.protocol.command import c_cancel_rq, c_find_rq
from dcmflow.testing import (
    AbortNow,
    Answer,
    CloseNow,
    Matches,
    ScriptedScp,
    ScriptedScu,
    Wait,
)
from dcmflow.testing.peer_dataset import decoded
from dcmflow.testing.peer_scu import IMPLICIT

pytestmark = pytest.mark.anyio

FIND = "1.2.840.10008.5.1.4.1.2.2.1"
EXPLICIT = "1.2.840.10008.1.2.1"


def study(number):
    ds = Dataset()
    ds.QueryRetrieveLevel, ds.StudyInstanceUID = "STUDY", f"2.25.{number}"
    return ds


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT])
async def test_matches_in_the_transfer_syntax_of_the_request(syntax):
    async with (
        ScriptedScp(on_find=Matches(study(n) for n in range(1, 4))) as peer,
        ScriptedScu(peer.node) as scu,
    ):
        await scu.associate((FIND, syntax))
        *pending, final = await scu.find(FIND, study(7))
        await scu.release()
    assert [seen.status for seen in pending] == [0xFF00] * 3
    assert (final.status, final.data) == (0, None)
    found = [decoded(seen.data, syntax).StudyInstanceUID for seen in pending]
    assert found == ["2.25.1", "2.25.2", "2.25.3"]
    assert decoded(peer.received.of("C-FIND-RQ")[0].data, syntax).QueryRetrieveLevel == "STUDY"


async def test_matches_for_what_was_asked():
    def answer(exchange):
        return [exchange.dataset()] * 2

    async with ScriptedScp(on_find=Matches(answer)) as peer, ScriptedScu(peer.node) as scu:
        await scu.associate((FIND, IMPLICIT))
        found = await scu.find(FIND, study(5))
    assert [decoded(seen.data, IMPLICIT) for seen in found[:-1]] == [study(5)] * 2


@pytest.mark.parametrize(
    ("final", "ends"),
    [
        (0xA700, ["C-FIND-RSP"]),
        (Answer(0xC000, "no luck"), ["C-FIND-RSP"]),
        (AbortNow(), ["A-ABORT"]),
        (CloseNow(), ["close"]),
    ],
)
async def test_failure_after_three_answers(final, ends):
    async with (
        ScriptedScp(on_find=[Matches(map(study, range(3)), final=final)]) as peer,
        ScriptedScu(peer.node) as scu,
    ):
        await scu.associate((FIND, IMPLICIT))
        found = await scu.find(FIND, study(7))
    assert [seen.what for seen in found] == ["C-FIND-RSP"] * 3 + ends
    if ends == ["C-FIND-RSP"]:
        assert found[-1].status in (0xA700, 0xC000)


async def test_endless_matches_are_made_as_they_are_taken_and_end_by_cancel():
    made = []

    def endless():
        for number in count(1):
            made.append(number)
            yield bytes(10_000)

    async with ScriptedScp(on_find=Matches(endless())) as peer, ScriptedScu(peer.node) as scu:
        await scu.associate((FIND, IMPLICIT))
        number = scu.message_id()
        command = replace(c_find_rq(number, FIND), has_data=True)
        await scu.message(1, command, b"")
        for _ in range(20):
            assert (await scu.receive()).status == 0xFF00
        assert len(made) < 100_000
        await scu.message(1, c_cancel_rq(number))
        while (seen := await scu.receive()).status == 0xFF00:
            pass
        assert seen.status == 0xFE00
        assert peer.received.of("C-CANCEL-RQ")


async def test_cancel_is_not_heeded():
    find = (Wait("C-CANCEL-RQ"), Matches([study(1)], heed_cancel=False))
    async with ScriptedScp(on_find=find) as peer, ScriptedScu(peer.node) as scu:
        await scu.associate((FIND, IMPLICIT))
        await scu.message(1, replace(c_find_rq(1, FIND), has_data=True), b"")
        await scu.message(1, c_cancel_rq(1))
        assert [(await scu.receive()).status for _ in range(2)] == [0xFF00, 0]


@pytest.mark.timeout(120)
async def test_a_hundred_thousand_matches():
    match = bytes(60)
    async with ScriptedScp(on_find=Matches(match for _ in range(100_000))) as peer:
        client = await raw.connect(peer.port)
        async with client.stream:
            await client.associate((1, FIND, IMPLICIT))
            request = raw.p_data(1, 3, raw.command(0x0020, 1, FIND, data=True))
            await client.send(request, raw.p_data(1, 2, b""), raw.RELEASE_RQ)
            got = b"".join([piece async for piece in _until(client, raw.RELEASE_RP)])
    data = raw.p_data(1, 2, match)
    assert got.count(data) == 100_000
    one = got[: got.index(data) + len(data)]
    assert got.startswith(one * 100_000)


async def _until(client, end):
    """Pieces of what comes, without making one text of 100,000 answers in between."""
    tail = b""
    while not tail.endswith(end):
        piece = await client.stream.receive(1 << 18)
        tail = (tail + piece)[-len(end) :]
        yield piece
