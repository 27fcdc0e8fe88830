"""TLS contexts do what is written, in real handshakes; certificates and keys that cannot be used are named."""

from __future__ import annotations

import datetime
import socket
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from dcmflow.errors import ConfigError
from dcmflow.net import reasons
from dcmflow.net.node import Tls
from dcmflow.net.tls import client_context, kept_client_context, server_context, server_name


class Authority:
    """A certificate authority whose certificates are files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._authority = trustme.CA()
        self.ca = self.write("ca.pem", self._authority.cert_pem.bytes())

    def write(self, name: str, content: bytes) -> str:
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return str(path)

    def issue(self, name: str, *identities: str, days: int = 30) -> tuple[str, str]:
        """Certificate and key, as files."""
        expires = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
        issued = self._authority.issue_cert(
            *identities, not_before=expires - datetime.timedelta(days=90), not_after=expires
        )
        chain = b"".join(part.bytes() for part in issued.cert_chain_pems)
        return self.write(f"{name}.pem", chain), self.write(f"{name}.key", issued.private_key_pem.bytes())


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("stranger"))


@pytest.fixture(scope="module")
def server(authority: Authority) -> Tls:
    cert, key = authority.issue("server", "localhost", "127.0.0.1")
    return Tls(cert=cert, key=key)


@pytest.fixture(scope="module")
def client(authority: Authority) -> Tls:
    cert, key = authority.issue("client", "client.example.org")
    return Tls(cert=cert, key=key, ca=authority.ca)


Side = Callable[[socket.socket], ssl.SSLSocket]


def talk(accepting: Side, calling: Side) -> tuple[str | OSError, str | OSError]:
    """What each side got of the other, the accepting one first: the version and a word, or an error."""
    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(1) as threads:

        def accept() -> str | OSError:
            connection, _ = listening.accept()
            return exchange(connection, accepting, send_first)

        answer = threads.submit(accept)
        here = exchange(socket.create_connection(listening.getsockname()), calling, receive_first)
        return answer.result(10), here


def exchange(connection: socket.socket, side: Side, talking: Callable[[ssl.SSLSocket], str]) -> str | OSError:
    with connection:
        connection.settimeout(10)
        try:
            with side(connection) as secured:
                return f"{secured.version()} {talking(secured)}"
        except OSError as error:
            return error


def send_first(secured: ssl.SSLSocket) -> str:
    secured.sendall(b"from the server")
    return secured.recv(100).decode()


def receive_first(secured: ssl.SSLSocket) -> str:
    word = secured.recv(100).decode()  # with TLS 1.3 a client learns here what becomes of its certificate
    secured.sendall(b"from the client")
    return word


def handshake(server: Tls, client: Tls, host: str = "localhost") -> tuple[str | OSError, str | OSError]:
    accepting, calling = server_context(server), client_context(client, host)
    return talk(
        lambda raw: accepting.wrap_socket(raw, server_side=True),
        lambda raw: calling.wrap_socket(raw, server_hostname=server_name(client, host)),
    )


def why(outcome: str | OSError) -> str:
    """The text for people."""
    assert isinstance(outcome, OSError), outcome
    return str(reasons.no_connection("PACS@pacs:2762", outcome))


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_client_checks_the_server(server: Tls, authority: Authority, host: str) -> None:
    assert handshake(server, Tls(ca=authority.ca), host) == (
        "TLSv1.3 from the client",
        "TLSv1.3 from the server",
    )


def test_both_check_each_other(server: Tls, client: Tls, authority: Authority) -> None:
    mutual = Tls(cert=server.cert, key=server.key, ca=authority.ca)
    assert handshake(mutual, client) == ("TLSv1.3 from the client", "TLSv1.3 from the server")


def test_key_and_certificate_may_be_one_file(server: Tls, authority: Authority) -> None:
    assert server.cert is not None
    assert server.key is not None
    both = authority.write("both.pem", Path(server.key).read_bytes() + Path(server.cert).read_bytes())
    assert handshake(Tls(cert=both), Tls(ca=authority.ca))[1] == "TLSv1.3 from the server"


def test_a_client_without_a_certificate_is_turned_away(server: Tls, authority: Authority) -> None:
    mutual = Tls(cert=server.cert, key=server.key, ca=authority.ca)
    there, here = handshake(mutual, Tls(ca=authority.ca))
    assert "it wants a certificate; give tls.cert and tls.key" in why(here)
    assert isinstance(there, ssl.SSLError)


def test_a_client_of_another_authority_is_turned_away(
    server: Tls, authority: Authority, stranger: Authority
) -> None:
    cert, key = stranger.issue("client", "client.example.org")
    mutual = Tls(cert=server.cert, key=server.key, ca=authority.ca)
    there, here = handshake(mutual, Tls(cert=cert, key=key, ca=authority.ca))
    assert "it does not trust our certificate" in why(here)
    assert isinstance(there, ssl.SSLCertVerificationError)


def test_a_server_that_checks_nothing(server: Tls, authority: Authority, stranger: Authority) -> None:
    cert, key = stranger.issue("client", "client.example.org")
    lenient = Tls(cert=server.cert, key=server.key, ca=authority.ca, verify=False)
    assert handshake(lenient, Tls(cert=cert, key=key, ca=authority.ca))[0] == "TLSv1.3 from the client"


def test_a_server_of_another_authority(server: Tls, stranger: Authority) -> None:
    there, here = handshake(server, Tls(ca=stranger.ca))
    assert "its certificate is signed by nobody we trust; give the certificate of who signed it" in why(here)
    assert not reasons.no_connection("PACS@pacs:2762", here).transient  # type: ignore[arg-type]
    assert isinstance(there, OSError)
    assert "signed by nobody we trust" in why(handshake(server, Tls())[1])  # nor does the system know it


def test_a_server_that_nobody_checks(server: Tls, stranger: Authority) -> None:
    for tls in (Tls(verify=False), Tls(ca=stranger.ca, verify=False)):
        assert handshake(server, tls, "other.example.org")[1] == "TLSv1.3 from the server"


def test_a_certificate_for_another_name(server: Tls, authority: Authority) -> None:
    for host in ("pacs.example.org", "10.0.0.5"):
        text = why(handshake(server, Tls(ca=authority.ca), host)[1])
        assert "its certificate is for another name; give the name in it as tls.server-name" in text
    named = Tls(ca=authority.ca, server_name="localhost")
    assert handshake(server, named, "10.0.0.5")[1] == "TLSv1.3 from the server"


def test_a_certificate_that_has_expired(authority: Authority) -> None:
    cert, key = authority.issue("old", "localhost", days=-1)
    _, here = handshake(Tls(cert=cert, key=key), Tls(ca=authority.ca))
    assert "its certificate has expired" in why(here)


def test_the_certificate_of_the_server_itself_may_be_trusted(server: Tls) -> None:
    assert handshake(server, Tls(ca=server.cert))[1] == "TLSv1.3 from the server"


def test_tls_1_2_has_forward_secrecy_and_authenticated_encryption(server: Tls, authority: Authority) -> None:
    for context in (client_context(Tls(ca=authority.ca), "localhost"), server_context(server)):
        assert context.minimum_version == ssl.TLSVersion.TLSv1_2
        names = {cipher["name"] for cipher in context.get_ciphers() if cipher["protocol"] == "TLSv1.2"}
        assert names
        assert all(name.startswith("ECDHE-") and ("GCM" in name or "CHACHA20" in name) for name in names)
    older = client_context(Tls(ca=authority.ca), "localhost")
    older.maximum_version = ssl.TLSVersion.TLSv1_2
    accepting = server_context(server)
    there, here = talk(
        lambda raw: accepting.wrap_socket(raw, server_side=True),
        lambda raw: older.wrap_socket(raw, server_hostname="localhost"),
    )
    assert (there, here) == ("TLSv1.2 from the client", "TLSv1.2 from the server")


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated:DeprecationWarning")
def test_no_older_tls(server: Tls, authority: Authority) -> None:
    assert server.cert is not None
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    old.set_ciphers("DEFAULT@SECLEVEL=0")
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.load_cert_chain(server.cert, server.key)
    calling = client_context(Tls(ca=authority.ca), "localhost")
    _, here = talk(
        lambda raw: old.wrap_socket(raw, server_side=True),
        lambda raw: calling.wrap_socket(raw, server_hostname="localhost"),
    )
    assert "it speaks only a TLS older than 1.2" in why(here)


def test_a_server_without_tls(authority: Authority) -> None:
    calling = client_context(Tls(ca=authority.ca), "localhost")
    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(1) as threads:

        def plain() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(100)
                connection.sendall(b"\x07\x00\x00\x00\x00\x04\x00\x00\x02\x01")  # A-ABORT

        threads.submit(plain)
        with (
            socket.create_connection(listening.getsockname(), timeout=10) as raw,
            pytest.raises(ssl.SSLError) as caught,
        ):
            calling.wrap_socket(raw, server_hostname="localhost")
    assert "what answers there does not speak TLS; is this its TLS port?" in why(caught.value)


def test_the_name_that_is_looked_for() -> None:
    assert server_name(Tls(), "pacs.example.org.") == "pacs.example.org"
    assert server_name(Tls(), "fe80::1%eth0") == "fe80::1"
    assert server_name(Tls(server_name="other"), "10.0.0.5") == "other"


@pytest.mark.parametrize("name", ["", ".pacs", "a" * 64, "a..b"])
def test_what_cannot_be_a_name(name: str) -> None:
    with pytest.raises(ConfigError, match=r"^tls\.server-name: .* cannot be the name in a certificate"):
        client_context(Tls(server_name=name), "pacs")
    with pytest.raises(ConfigError, match=r"^host: "):
        client_context(Tls(), name or ".")


def test_who_listens_has_a_certificate() -> None:
    with pytest.raises(ConfigError, match=r"^tls\.cert: who listens with TLS shows a certificate"):
        server_context(Tls())


def test_files_that_cannot_be_used(authority: Authority, server: Tls, tmp_path: Path) -> None:
    cert, key = server.cert, server.key
    assert cert is not None
    assert key is not None
    missing = str(tmp_path / "missing.pem")
    junk = authority.write("junk.pem", b"\x30\x82\x01\x00")
    broken = authority.write("broken.pem", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    other = authority.issue("other", "other.example.org")[1]
    secret = load_pem_private_key(Path(key).read_bytes(), None).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
    )
    encrypted = authority.write("encrypted.key", secret)
    cases: list[tuple[Tls, str]] = [
        (Tls(ca=missing), f"tls.ca: cannot read {missing}: No such file or directory"),
        (Tls(ca=str(tmp_path)), f"tls.ca: cannot read {tmp_path}: Is a directory"),
        (Tls(ca=junk), f"tls.ca: {junk} holds no certificate in PEM form"),
        (Tls(ca=broken), f"tls.ca: {broken} holds no certificates that can be used"),
        (Tls(cert=missing), f"tls.cert: cannot read {missing}"),
        (Tls(cert=key), f"tls.cert: {key} holds no certificate in PEM form"),
        (Tls(cert=cert), f"tls.key: {cert} holds a certificate and no private key: give key too"),
        (Tls(cert=cert, key=missing), f"tls.key: cannot read {missing}"),
        (Tls(cert=cert, key=cert), f"tls.key: {cert} holds no private key in PEM form"),
        (
            Tls(cert=cert, key=other),
            f"tls.key: the private key in {other} is not that of the certificate in {cert}",
        ),
        (
            Tls(cert=broken, key=key),
            f"tls.cert: {broken} and {key} hold no certificate and key that can be used",
        ),
        (Tls(cert=cert, key=encrypted), f"tls.key: the private key in {encrypted} is encrypted"),
    ]
    for tls, text in cases:
        with pytest.raises(ConfigError) as caught:
            client_context(tls, "localhost")
        assert str(caught.value).startswith(text)


def test_home_is_expanded(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(Path(authority.ca).parent))
    assert client_context(Tls(ca="~/ca.pem"), "localhost").cert_store_stats()["x509_ca"] == 1


def test_for_calling_it_is_kept_until_its_files_are_others(authority: Authority) -> None:
    cert, key = authority.issue("kept", "client.example.org")
    tls = Tls(cert=cert, key=key, ca=authority.ca)
    kept = kept_client_context(tls, "localhost")
    assert kept_client_context(tls, "localhost") is kept
    assert kept_client_context(Tls(ca=authority.ca), "localhost") is not kept
    authority.issue("kept", "other.example.org")
    renewed = kept_client_context(tls, "localhost")
    assert renewed is not kept
    Path(key).unlink()
    with pytest.raises(ConfigError, match=r"kept\.key"):
        kept_client_context(tls, "localhost")
    system = kept_client_context(Tls(), "localhost")
    assert kept_client_context(Tls(), "localhost") is system
