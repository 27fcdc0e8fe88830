"""Nodes as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcmflow.config.settings import Settings
from dcmflow.errors import ConfigError
from dcmflow.net.address import parse_listen, parse_node
from dcmflow.net.node import Local, Node, Tls, ae_title

SETTINGS = Settings.loads(
    '[nodes.mypacs]\naddress = "MYPACS@mypacs.org:11112"\nmax-associations = 2\n'
    '[dirs.research]\npath = "/r"\n[selectors]\nmr = "Modality == \'MR\'"\n'
)


@pytest.mark.parametrize(
    ("text", "title", "host", "port"),
    [
        ("PACS@10.0.0.5:11112", "PACS", "10.0.0.5", 11112),
        ("10.0.0.5:PACS:11112", "PACS", "10.0.0.5", 11112),
        ("pacs.example.org:4242", "ANY-SCP", "pacs.example.org", 4242),
        ("PACS@pacs", "PACS", "pacs", 104),
        ("AE@[::1]:11112", "AE", "::1", 11112),
        ("AE@[::1]", "AE", "::1", 104),
        ("[fe80::1%eth0]:AE:104", "AE", "fe80::1%eth0", 104),
        ("[::1]:104", "ANY-SCP", "::1", 104),
        ("MY PACS@pacs", "MY PACS", "pacs", 104),
        (" PACS @pacs:1 ", "PACS", "pacs", 1),
        ("A:B@pacs:104", "A:B", "pacs", 104),
        ("mypacs", "MYPACS", "mypacs.org", 11112),
    ],
)
def test_address(text: str, title: str, host: str, port: int) -> None:
    node = parse_node(text, SETTINGS)
    assert (node.ae_title, node.host, node.port) == (title, host, port)


def test_a_known_name_brings_all_that_is_known() -> None:
    assert parse_node("mypacs", SETTINGS).max_associations == 2


def test_nodes_by_name_will_do() -> None:
    assert parse_node("mypacs", SETTINGS.nodes) is SETTINGS.nodes["mypacs"]
    with pytest.raises(ConfigError, match="there is no node 'mypac'; did you mean 'mypacs'"):
        parse_node("mypac", SETTINGS.nodes)


@pytest.mark.parametrize(
    ("text", "address", "tls"),
    [
        ("dicom://PACS@pacs:11112", "PACS@pacs:11112", None),
        ("dicoms://PACS@pacs:2762", "PACS@pacs:2762", Tls()),
        (" DICOMS://pacs:PACS:2762 ", "PACS@pacs:2762", Tls()),
        ("dicoms://PACS@[::1]", "PACS@[::1]:104", Tls()),
    ],
)
def test_an_address_with_a_scheme(text: str, address: str, tls: Tls | None) -> None:
    node = parse_node(text)
    assert (node.address, node.tls) == (address, tls)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("", "ME@10.0.0.1:4242"),
        ("  ", "ME@10.0.0.1:4242"),
        ("GATE@127.0.0.1:0", "GATE@127.0.0.1:0"),
        ("GATE@0.0.0.0", "GATE@0.0.0.0:4242"),
        ("127.0.0.1:104", "ANY-SCP@127.0.0.1:104"),
        ("[::]:GATE:104", "GATE@[::]:104"),
    ],
)
def test_where_to_listen(text: str, address: str) -> None:
    assert parse_listen(text, Local(ae_title="ME", host="10.0.0.1", port=4242)).address == address


def test_where_to_listen_when_nobody_said() -> None:
    assert parse_listen("") == Local()
    assert parse_listen("dicoms://GATE@127.0.0.1:2762").tls == Tls()
    assert parse_listen("GATE@127.0.0.1", Local(tls=Tls(cert="me.pem"))).tls == Tls(cert="me.pem")
    with pytest.raises(ConfigError, match="they go from 0 to 65535"):
        parse_listen("GATE@127.0.0.1:65536")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("http://pacs:104", "http:// is neither dicom:// nor dicoms://"),
        ("dicoms://pacs", "a host alone says neither AE title nor port"),
        ("dicoms://", "'' is no host name"),
        ("mypac", "there is no node 'mypac'; did you mean 'mypacs'?"),
        ("localhost", "there is no node 'localhost'; write AE@host:port"),
        ("research", "'research' is a directory of the settings"),
        ("mr", "'mr' is a selector of the settings"),
        ("", "a node is not empty"),
        ("host:AE:104:x", "it has 4 parts; did you mean 'host:AE:104'?"),
        ("AE@host:104:x", "after the host comes the port and nothing else"),
        ("AE@host:port", "'port' is no port"),
        ("AE@host:", "'' is no port"),
        ("host:AE", "'AE' is no port; did you mean 'host:AE:104'?"),
        ("AE@host:0", "there is no port 0"),
        ("AE@host:65536", "there is no port 65536"),
        ("AE@host:-1", "'-1' is no port"),
        ("AE@host:١٠٤", "is no port"),
        ("AE@::1", "needs brackets; did you mean 'AE@[::1]'?"),
        ("AE@fe80:0:0:1:2", "needs brackets"),
        ("::1", "needs brackets; did you mean '[::1]'?"),
        ("AE@[::1", "an IPv6 address ends with ']'"),
        ("AE@[::1]104", "an IPv6 address ends with ']'"),
        ("AE@[pacs]:104", "is no IPv6 address"),
        ("@host:104", "an AE title is not empty"),
        ("host::104", "needs brackets"),
        ("A@B@host", "there is more than one '@'"),
        ("AE@", "'' is no host name"),
        ("AE@ho st:104", "'ho st' is no host name"),
        ("AE@host/x:104", "is no host name"),
        ("SEVENTEENLETTERSX@host", "has 17 characters; 16 are the most"),
        ("A\\B@host", "has the character '\\\\'"),
        ("A\tB@host", "has the character '\\t'"),
        ("ÄE@host", "has the character 'Ä'"),
    ],
)
def test_no_address(text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_node(text, SETTINGS)
    assert problem in str(caught.value)


_titles = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0x7E, exclude_characters="\\@"), min_size=1, max_size=16
)


@given(
    _titles.filter(str.strip), st.sampled_from(["pacs", "10.0.0.5", "::1", "a-b.c"]), st.integers(1, 65535)
)
def test_an_address_reads_back(title: str, host: str, port: int) -> None:
    node = Node(host=host, port=port, ae_title=title)
    assert parse_node(node.address) == node


@given(st.text(max_size=30))
def test_any_text_is_a_node_or_a_config_error(text: str) -> None:
    try:
        node = parse_node(text)
    except ConfigError:
        return
    assert node.host in text
    assert ae_title(node.ae_title) == node.ae_title
