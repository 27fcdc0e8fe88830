"""The scripted peers against DCMTK's tools, each way round."""

from __future__ import annotations

import socket
import subprocess
from contextlib import asynccontextmanager

import anyio
import pydicom
import pytest
from pydicom.dataset import Dataset

from dcmflow.testing import (
    AbortNow,
    Accept,
    Answer,
    CloseNow,
    Get,
    Matches,
    Move,
    Reject,
    ScriptedScp,
    ScriptedScu,
    instance,
)

pytestmark = [pytest.mark.anyio, pytest.mark.interop]

STUDY_ROOT = ("-S", "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID=2.25.1")


def bytes_of(made):
    return b"".join(made.payload.segments())


def dataset(number):
    ds = Dataset()
    ds.QueryRetrieveLevel, ds.StudyInstanceUID = "STUDY", f"2.25.{number}"
    return ds


async def run(tool, peer, *arguments, **options):
    """Exit status and all it printed."""
    command = [tool, *options.pop("before", ()), "127.0.0.1", str(peer.port), *arguments]
    done = await anyio.run_process(
        [str(each) for each in command], check=False, stderr=subprocess.STDOUT, **options
    )
    return done.returncode, done.stdout.decode(errors="replace")


async def test_echo(dcmtk):
    async with ScriptedScp(on_echo=[0, 0, 0x0122]) as peer:
        status, said = await run(dcmtk("echoscu"), peer, "--repeat", 3, "-v", "-aet", "TESTER", "-aec", "X")
        await peer.received.wait("close")
    assert peer.received.whats == [
        "connect",
        "A-ASSOCIATE-RQ",
        *["C-ECHO-RQ"] * 3,
        "A-RELEASE-RQ",
        "close",
    ]
    assert (peer.received[1].pdu.calling_ae, peer.received[1].pdu.called_ae) == ("TESTER", "X")
    assert status == 0, said
    assert "0x122" in said


async def test_echo_is_rejected_aborted_and_cut_off(dcmtk):
    async with ScriptedScp(accept=[Reject(1, 1, 7), AbortNow(), CloseNow()]) as peer:
        said = [await run(dcmtk("echoscu"), peer) for _ in range(3)]
    assert all(status for status, _ in said)
    assert "Called AE Title Not Recognized" in said[0][1]
    assert "Peer aborted Association" in said[1][1]


async def test_store(dcmtk, tmp_path):
    made = [instance() for _ in range(3)]
    for number, each in enumerate(made):
        (tmp_path / f"{number}.dcm").write_bytes(b"".join(each.part10_segments()))
    script = [0, Answer(0xA700, "disk full")]
    async with ScriptedScp(accept=Accept(maximum_length=4096), on_store=script) as peer:
        _, said = await run(dcmtk("storescu"), peer, *sorted(tmp_path.iterdir()), before=["-v", "--no-halt"])
        await peer.received.wait("close")
    stored = peer.received.of("C-STORE-RQ")
    assert [seen.command.affected_sop_instance for seen in stored] == [each.sop_instance_uid for each in made]
    assert [pydicom.dcmread(_part10(seen)) for seen in stored] == [each.read() for each in made]
    assert "Refused: OutOfResources" in said
    assert max(length for kind, length in peer.channels[0].pdus if kind == 4) <= 4096


def _part10(seen):
    from io import BytesIO

    from dcmflow.dicom.instance import Instance
    from dcmflow.dicom.payload import MemoryPayload

    made = Instance(
        sop_class_uid=seen.command.affected_sop_class,
        sop_instance_uid=seen.command.affected_sop_instance,
        transfer_syntax_uid=seen.transfer_syntax,
        payload=MemoryPayload(seen.data),
    )
    return BytesIO(b"".join(made.part10_segments()))


async def test_find(dcmtk):
    async with ScriptedScp(on_find=Matches(map(dataset, range(1, 6)), final=0xA700)) as peer:
        _, said = await run(dcmtk("findscu"), peer, before=["-v", *STUDY_ROOT])
    for number in range(1, 6):
        assert f"[2.25.{number}]" in said
    assert "OutOfResources" in said
    assert "2.25.1" in peer.received.of("C-FIND-RQ")[0].data.decode("latin-1")


async def test_find_is_cancelled_after_four_answers(dcmtk):
    def endless():
        while True:
            yield dataset(1)

    async with ScriptedScp(on_find=Matches(endless())) as peer:
        status, said = await run(dcmtk("findscu"), peer, before=["-v", "--cancel", 4, *STUDY_ROOT])
        assert peer.received.of("C-CANCEL-RQ")
    assert status == 0, said
    assert "Cancel" in said


async def test_get(dcmtk, tmp_path):
    made = [instance() for _ in range(3)]
    async with ScriptedScp(on_get=Get(made)) as peer:
        status, said = await run(dcmtk("getscu"), peer, before=["-v", "+B", "-od", tmp_path, *STUDY_ROOT])
    assert status == 0, said
    files = [pydicom.dcmread(path) for path in tmp_path.iterdir()]
    assert {ds.SOPInstanceUID for ds in files} == {each.sop_instance_uid for each in made}


@asynccontextmanager
async def storescp(tool, folder, *options):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    process = await anyio.open_process(
        [tool, "-v", "-aet", "SINK", "-od", str(folder), *options, str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while True:
            try:
                stream = await anyio.connect_tcp("127.0.0.1", port)
            except OSError:
                await anyio.sleep(0.01)
            else:
                await stream.aclose()
                break
        yield f"SINK@127.0.0.1:{port}"
    finally:
        process.kill()
        await process.aclose()


async def test_move_to_storescp(dcmtk, tmp_path):
    made = [instance() for _ in range(2)]
    async with (
        storescp(dcmtk("storescp"), tmp_path, "+B") as node,
        ScriptedScp(on_move=Move(made), destinations={"SINK": node}) as peer,
    ):
        status, said = await run(dcmtk("movescu"), peer, before=["-v", "-aem", "SINK", *STUDY_ROOT])
        unknown, _ = await run(dcmtk("movescu"), peer, before=["-v", "-aem", "NOBODY", *STUDY_ROOT])
    assert status == 0, said
    assert unknown != 0
    stored = {ds.SOPInstanceUID for ds in map(pydicom.dcmread, tmp_path.iterdir())}
    assert stored == {each.sop_instance_uid for each in made}


async def test_scu_stores_at_storescp(dcmtk, tmp_path):
    made = instance()
    async with storescp(dcmtk("storescp"), tmp_path, "+B", "--max-pdu", "4096") as node:
        async with ScriptedScu(node) as scu:
            await scu.associate(("1.2.840.10008.1.1", "1.2.840.10008.1.2"), instances=[made])
            assert scu.channel.largest == 4096
            assert (await scu.echo()).status == 0
            assert (await scu.store(made, largest=100, drip=10)).status == 0
            assert (await scu.release())[0].what == "A-RELEASE-RP"
        (path,) = tmp_path.iterdir()
    assert path.read_bytes().endswith(bytes_of(made))


@pytest.mark.parametrize(("option", "what"), [("--refuse", "A-ASSOCIATE-RJ"), ("--abort-during", "A-ABORT")])
async def test_scu_sees_what_storescp_does_wrong(dcmtk, tmp_path, option, what):
    made = instance()
    async with storescp(dcmtk("storescp"), tmp_path, option) as node, ScriptedScu(node) as scu:
        seen = await scu.associate(instances=[made])
        if seen.what == "A-ASSOCIATE-AC":
            seen = await scu.store(made)
        assert seen.what == what
