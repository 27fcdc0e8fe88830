"""Is a node there? What `dcmflow echo` says of real servers, of none at all, and of those that want nothing to do with us."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import anyio
import pytest

from acceptance_kit import Command, Done, pipeline_file, visible
from acceptance_wire import (
    BOTH_LOOPS,
    Scripted,
    gate,
    here,
    loop,
    scripted,
    secure,
    serving,
    tls_options,
    wait_for,
)
from corpus import Corpus
from dcmflow import AssociationRejected, ConnectError
from dcmflow.net.client import Client
from dcmflow.testing import AbortNow, Accept, Answer, CloseNow, Reject, Silence
from peers.base import HOST, Address, Server, free_port
from peers.dcmjs import Dcmjs
from peers.dcmtk import Dcmtk
from peers.fixtures import Certificates
from peers.orthanc import Orthanc
from peers.orthanc import orthanc as run_orthanc
from peers.pynet import Pynetdicom
from wire_data import uid_of

VERIFICATION = "1.2.840.10008.1.1"
PEERS = ["dcmqrscp", "storescp", "orthanc", "pynetdicom", "dcmjs"]


def answers(done: Done) -> list[dict[str, Any]]:
    """The objects on stdout, one a line."""
    return [json.loads(line) for line in done.out.splitlines()]


def complaint(done: Done, code: int = 3) -> str:
    """The one line that says why there was no answer."""
    lines = done.must(code).err.splitlines()
    assert len(lines) == 1, done
    assert lines[0].startswith("dcmflow: error: "), done
    return lines[0]


@pytest.fixture(params=PEERS)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """Each of the servers, listening."""
    folder = tmp_path / "peer"
    starting: AbstractContextManager[Server]
    match request.param:
        case "dcmqrscp":
            starting = request.getfixturevalue("dcmtk_peer").dcmqrscp(folder)
        case "storescp":
            starting = request.getfixturevalue("dcmtk_peer").storescp(folder)
        case "orthanc":
            yield request.getfixturevalue("orthanc")
            return
        case "pynetdicom":
            starting = request.getfixturevalue("pynetdicom_peer").scp(folder)
        case _:
            starting = request.getfixturevalue("dcmjs_peer").scp(folder)
    with starting as started:
        yield started


# there, or not ------------------------------------------------------------------------------------------------------


@pytest.mark.interop
def test_every_server_answers_the_command_and_the_api(run: Command, server: Server) -> None:
    where = f"{HOST}:{server.address.ae_title}:{server.address.port}"
    done = run("echo", where).must(0)
    [answer] = answers(done)
    assert (answer["status"], answer["name"], done.err) == ("0000", "success", "")
    said = run("echo", where, "--format", "text").must(0).out
    assert said.startswith(f"{server.address}: Success in ")

    async def ask() -> bool:
        async with Client("DCMFLOW") as client:
            return (await client.echo(where)).accepted

    assert anyio.run(ask) is True
    assert anyio.run(ask, backend="trio") is True


@pytest.mark.interop
def test_the_server_saw_a_c_echo_and_a_release(run: Command, dcmtk_peer: Dcmtk, tmp_path: Path) -> None:
    with dcmtk_peer.storescp(tmp_path / "in") as server:
        run("echo", server.address, "--calling-ae", "ASKING").must(0)
        wait_for(lambda: "Association Release" in server.log)
        assert "Received Echo Request" in server.log
        assert "Abort" not in server.log


def test_nobody_there_is_said_at_once_and_in_one_line(run: Command) -> None:
    node = f"PACS@{HOST}:{free_port()}"
    done = run("echo", node, "--timeout", "10 min")
    said = complaint(done)
    assert f"{node} cannot be reached: connection refused" in said
    [answer] = answers(done)
    assert answer["error"] == "ConnectError"


@BOTH_LOOPS
def test_nobody_there_is_an_exception_of_the_api(backend: str) -> None:
    async def ask() -> None:
        async with Client("DCMFLOW") as client:
            await client.echo(f"PACS@{HOST}:{free_port()}")

    with pytest.raises(ConnectError, match="connection refused"):
        anyio.run(ask, backend=backend)


def test_one_of_two_nodes_that_is_down_does_not_hide_the_other(run: Command) -> None:
    down = f"DOWN@{HOST}:{free_port()}"
    with scripted() as up:
        done = run("echo", down, up.node).must(1)
    found = {answer["node"]: answer for answer in answers(done)}
    assert found[up.node]["status"] == "0000"
    assert found[down]["error"] == "ConnectError"
    assert down in done.err
    assert up.node not in done.err


def test_a_server_that_never_answers_costs_no_more_than_the_timeout(run: Command) -> None:
    with scripted(accept=Silence()) as deaf:
        assert "did not answer" in complaint(run("echo", deaf.node, "--timeout", "200 ms"))
    with scripted(on_echo=Silence()) as mute:
        assert "did not answer" in complaint(run("echo", mute.node, "--timeout", "200 ms"), 1)


# turned away --------------------------------------------------------------------------------------------------------


@pytest.mark.interop
@pytest.mark.parametrize("tool", ["dcmqrscp", "storescp"])
def test_dcmtk_that_refuses_is_reported_with_source_and_reason(
    run: Command, dcmtk_peer: Dcmtk, tool: str, tmp_path: Path
) -> None:
    with getattr(dcmtk_peer, tool)(tmp_path / "in", "--refuse") as server:
        done = run("echo", server.address)
        said = complaint(done)
        wait_for(lambda: "efus" in server.log)
    assert f"{server.address} rejected the association: " in said
    assert "(rejected-permanent, service-user 1)" in said
    [answer] = answers(done)
    assert [answer[key] for key in ("error", "result", "source", "reason")] == [
        "AssociationRejected",
        1,
        1,
        1,
    ]


REJECTIONS = {
    (1, 1, 2): "application context name not supported (rejected-permanent, service-user 2)",
    (1, 1, 3): "calling AE title not recognized (rejected-permanent, service-user 3)",
    (1, 1, 7): "called AE title not recognized (rejected-permanent, service-user 7)",
    (1, 2, 2): "protocol version not supported (rejected-permanent, ",
    (2, 3, 1): "temporary congestion (rejected-transient, ",
    (2, 3, 2): "local limit exceeded (rejected-transient, ",
}


def test_each_rejection_is_told_in_the_words_of_the_standard(run: Command) -> None:
    with scripted(accept=[Reject(*numbers) for numbers in REJECTIONS]) as server:
        done = run("echo", server.node, "--count", len(REJECTIONS), "--interval", "1 ms").must(3)
    found = [
        (answer["result"], answer["source"], answer["reason"])
        for answer in answers(done)
        if "error" in answer
    ]
    assert found == list(REJECTIONS)
    for words in REJECTIONS.values():
        assert f"{server.node} rejected the association: {words}" in done.out + done.err


@BOTH_LOOPS
def test_a_rejection_is_an_exception_with_its_numbers(backend: str) -> None:
    async def ask(node: str) -> None:
        async with Client("DCMFLOW") as client:
            await client.echo(node)

    with scripted(accept=Reject(2, 3, 2)) as server, pytest.raises(AssociationRejected) as caught:
        anyio.run(ask, server.node, backend=backend)
    error = caught.value
    assert (error.result, error.source, error.reason, error.transient) == (2, 3, 2, True)


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[Orthanc]:
    """An Orthanc that wants to be called by its title, over TLS, and by FRIEND alone."""
    rules = {"DicomCheckCalledAet": True, "DicomAlwaysAllowEcho": False, "DicomAlwaysAllowStore": False}
    known = {"friend": Address(free_port(), "FRIEND")}
    folder = tmp_path_factory.mktemp("strict")
    with run_orthanc(folder, clients=known, tls=certificates.server, mutual=False, **rules) as server:
        yield server


@pytest.mark.interop
def test_an_archive_that_takes_neither_a_wrong_title_nor_strangers(
    run: Command, strict: Orthanc, certificates: Certificates, base_set: Corpus
) -> None:
    trust = tls_options(certificates.client, shown=False)
    file = base_set.paths[0]
    wrong = Address(strict.address.port, "NOBODY")
    for command, *more in (["echo"], ["send", file, "--quiet"]):
        said = complaint(run(command, secure(wrong), *more, *trust, "--calling-ae", "FRIEND"))
        assert f"{wrong} rejected the association: called AE title not recognized" in said
        assert "check the called AE title" in said
        done = run(command, secure(strict.address), *more, *trust, "--calling-ae", "STRANGER")
        assert done.code in (1, 3), done
        assert str(strict.address) in done.readable().err
        assert "register STRANGER" in done.err
    assert strict.instances() == {}
    run("send", secure(strict.address), file, "--quiet", *trust, "--calling-ae", "FRIEND").must(0)
    assert strict.instances().keys() == {uid_of(file)}


@pytest.mark.parametrize("how", ["at the request", "at the echo"])
def test_an_abort_is_reported_as_such_with_what_to_try(run: Command, how: str) -> None:
    script = {"accept": AbortNow()} if how == "at the request" else {"on_echo": AbortNow()}
    with scripted(**script) as server:
        done = run("echo", server.node, "--calling-ae", "STRANGER")
    said = complaint(done, 3 if how == "at the request" else 1)
    assert f"{server.node} aborted the association" in said
    assert "register" in said
    assert "STRANGER" in said
    [answer] = answers(done)
    assert answer["error"] == "AssociationAborted"


@pytest.mark.parametrize("how", ["at the request", "at the echo"])
def test_a_connection_that_is_closed_is_no_success(run: Command, how: str) -> None:
    script = {"accept": CloseNow()} if how == "at the request" else {"on_echo": CloseNow(reset=True)}
    with scripted(**script) as server:
        assert server.node in complaint(run("echo", server.node), 3 if how == "at the request" else 1)


def test_verification_that_is_not_accepted_is_said(run: Command) -> None:
    with scripted(accept=Accept(refuse={VERIFICATION: 3})) as server:
        done = run("echo", server.node)
        assert "C-ECHO-RQ" not in server.whats
    said = complaint(done)
    assert f"{server.node} does not accept Verification" in said
    assert VERIFICATION in said
    [answer] = answers(done)
    assert answer["error"] == "NoAcceptedContext"


def test_a_failure_status_is_no_success(run: Command) -> None:
    with scripted(on_echo=Answer(0x0122, "no echo today")) as server:
        done = run("echo", server.node).must(1)
    [answer] = answers(done)
    assert answer["status"] == "0122"
    assert "0122" in done.err, "people are told, too"


# how a node is written ----------------------------------------------------------------------------------------------


@pytest.mark.interop
def test_forms_that_name_a_server(run: Command, dcmtk_peer: Dcmtk, tmp_path: Path) -> None:
    forms = ["{ae}@{host}:{port}", "{host}:{ae}:{port}", "{host}:{port}", "dicom://{ae}@{host}:{port}"]
    with dcmtk_peer.storescp(tmp_path / "in") as server:
        ae_title, port = server.address.ae_title, server.address.port
        nodes = [
            form.format(ae=ae_title, host=host, port=port) for form in forms for host in (HOST, "localhost")
        ]
        found = answers(run("echo", *nodes).must(0))
    assert {answer["node"]: answer["status"] for answer in found} == dict.fromkeys(nodes, "0000")


def test_the_title_before_the_at_is_the_one_that_is_called(run: Command) -> None:
    with scripted() as server:
        place = server.node.rpartition("@")[2]
        host, _, port = place.rpartition(":")
        for form in (f"FIRST@{place}", f"{host}:SECOND:{port}"):
            run("echo", form, "--calling-ae", "US").must(0)
        pdus: list[Any] = [seen.pdu for seen in server.of("A-ASSOCIATE-RQ")]
    assert [(pdu.called_ae, pdu.calling_ae) for pdu in pdus] == [
        ("FIRST", "US"),
        ("SECOND", "US"),
    ]


def test_without_a_port_it_is_104(run: Command) -> None:
    done = run("echo", f"PACS@{HOST}", "--timeout", "2 s").readable()
    [answer] = answers(done)
    assert answer["address"] == f"PACS@{HOST}:104"


def test_an_address_of_ipv6_stands_in_brackets(run: Command, tmp_path: Path) -> None:
    at = here(free_port(), "GATE", "[::1]")
    with serving(run, "forward", tmp_path / "in", "--listen", at, ports=[at.port]):
        for form in (f"GATE@[::1]:{at.port}", f"[::1]:GATE:{at.port}"):
            [answer] = answers(run("echo", form).must(0))
            assert answer["status"] == "0000"
        assert "connection refused" in complaint(run("echo", f"GATE@{HOST}:{at.port}"))


@pytest.mark.parametrize(
    "word", ["PACS:host:104:more", "PACS@host:GATE:104", "PACS@host:99999", "PACS@", "::1", "A-TITLE-OF-17-CHARS@host:104"]
)  # fmt: skip
def test_what_is_no_node_is_an_error_that_shows_the_form(run: Command, word: str) -> None:
    done = run("echo", word).must(2)
    assert done.out == ""
    assert word in done.err
    assert "AE@host:port" in done.err


def test_a_bare_word_is_a_known_name_and_never_a_host(run: Command, tmp_path: Path) -> None:
    with scripted() as server:
        settings = tmp_path / "settings.toml"
        settings.write_text(f'[nodes.mypacs]\naddress = "{server.node}"\n')
        run("echo", "mypacs", "--config", settings).must(0)
        said = complaint(run("echo", "mypasc", "--config", settings), 2)
        assert "mypasc" in said
        assert "mypacs" in said.replace("mypasc", ""), "the name that was meant"
        assert "AE@host:port" in complaint(run("echo", "localhost"), 2)
        assert len(server.of("connect")) == 1


# who asks us --------------------------------------------------------------------------------------------------------


@pytest.mark.interop
@BOTH_LOOPS
def test_others_are_answered_also_while_a_transfer_runs(
    run: Command,
    dcmtk_peer: Dcmtk,
    pynetdicom_peer: Pynetdicom,
    base_set: Corpus,
    backend: str,
    tmp_path: Path,
) -> None:
    at, held = here(free_port()), gate(tmp_path)
    file = pipeline_file(
        tmp_path / "p.toml",
        sources={"scp": {"type": "scp", "listen": str(at)}},
        filters={"gate": {"type": "call", "from": "scp", "function": held.function}},
        sinks={"out": {"type": "directory", "from": "gate", "path": "out"}},
    )
    with serving(run, "run", file, "--backend", backend, ports=[at.port]) as service, loop() as portal:
        assert dcmtk_peer.echoscu(at).returncode == 0
        transfer = portal.start_task_soon(
            anyio.to_thread.run_sync, lambda: pynetdicom_peer.send(at, *base_set.paths[:3])
        )
        wait_for(lambda: held.reached)
        for _ in range(3):
            assert dcmtk_peer.echoscu(at).returncode == 0
        run("echo", at).must(0)
        assert visible(tmp_path / "out") == []
        held.open()
        assert transfer.result(30).returncode == 0
        assert len(visible(tmp_path / "out")) == 3
        service.stop().must(0)


# TLS ----------------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["storescp", "pynetdicom", "dcmjs"])
def tls_server(
    request: pytest.FixtureRequest, certificates: Certificates, tmp_path: Path
) -> Iterator[Server]:
    """A server that shows a certificate, and asks for one."""
    folder = tmp_path / "peer"
    starts: dict[str, Callable[[], AbstractContextManager[Server]]] = {
        "storescp": lambda: _fixture(request, "dcmtk_peer", Dcmtk).storescp(folder, tls=certificates.server),
        "pynetdicom": lambda: _fixture(request, "pynetdicom_peer", Pynetdicom).scp(
            folder, tls=certificates.server
        ),
        "dcmjs": lambda: _fixture(request, "dcmjs_peer", Dcmjs).scp(folder, tls=certificates.server),
    }
    with starts[request.param]() as server:
        yield server


def _fixture(request: pytest.FixtureRequest, name: str, kind: type) -> Any:
    found = request.getfixturevalue(name)
    assert isinstance(found, kind)
    return found


@pytest.mark.interop
def test_a_tls_server_answers_who_trusts_it_and_no_other(
    run: Command, tls_server: Server, certificates: Certificates
) -> None:
    node = secure(tls_server.address)
    [answer] = answers(run("echo", node, *tls_options(certificates.client)).must(0))
    assert answer["status"] == "0000"
    # nobody the system trusts has signed it
    unknown = complaint(run("echo", node))
    assert "cannot be reached: its certificate is " in unknown
    assert "--tls-ca" in unknown
    # it wants to know who we are
    nameless = complaint(run("echo", node, *tls_options(certificates.client, shown=False)))
    assert "certificate" in nameless or "closed the connection" in nameless
    # the stranger's certificate is signed by nobody it trusts
    stranger = complaint(run("echo", node, *tls_options(certificates.stranger)))
    assert "certificate" in stranger or "closed the connection" in stranger


@pytest.mark.interop
def test_an_orthanc_that_asks_for_no_certificate(
    run: Command, strict: Orthanc, certificates: Certificates
) -> None:
    line = ["echo", secure(strict.address), "--calling-ae", "FRIEND"]
    run(*line, *tls_options(certificates.client, shown=False)).must(0)
    # an authority that has not signed it
    assert "certificate" in complaint(run(*line, "--tls-ca", certificates.stranger.cert))


@pytest.mark.interop
def test_tls_and_no_tls_do_not_meet(
    run: Command, dcmtk_peer: Dcmtk, certificates: Certificates, tmp_path: Path
) -> None:
    with dcmtk_peer.storescp(tmp_path / "tls", tls=certificates.server) as server:
        said = complaint(run("echo", server.address, "--timeout", "5 s"))
        assert "or it speaks TLS there" in said
    with scripted(check=False) as plain:
        said = complaint(
            run("echo", f"dicoms://{plain.node}", *tls_options(certificates.client), "--timeout", "5 s")
        )
    assert "TLS" in said


def test_our_own_listener_speaks_tls(run: Command, certificates: Certificates, tmp_path: Path) -> None:
    at = here(free_port(), "SECURE")
    ours = ["--tls-cert", certificates.server.cert, "--tls-key", certificates.server.key]
    with serving(run, "forward", tmp_path / "in", "--listen", secure(at), *ours, ports=[at.port]) as service:
        run("echo", secure(at), *tls_options(certificates.client, shown=False)).must(0)
        complaint(run("echo", at))
        complaint(run("echo", secure(at)))
        run("echo", secure(at), *tls_options(certificates.client, shown=False)).must(0)
        service.stop().must(0)


def test_options_for_tls_without_tls_are_a_mistake(run: Command, certificates: Certificates) -> None:
    with scripted() as server:
        said = complaint(run("echo", server.node, "--tls-ca", certificates.client.ca), 2)
        assert "dicoms://" in said
        assert_untouched(server)


def assert_untouched(server: Scripted) -> None:
    assert server.whats == []
