"""Whom an application entity takes calls from, and which of several is meant."""

from __future__ import annotations

import pytest

from dcmflow.errors import ConfigError
from dcmflow.net.entity import (
    ANYONE,
    CALLED_NOT_RECOGNIZED,
    CALLING_NOT_RECOGNIZED,
    ApplicationEntity,
    Caller,
    choose,
)
from dcmflow.net.listener import Listener


def entity(title: str = "ARCHIVE", *accept_from: str, **fields: object) -> ApplicationEntity:
    return ApplicationEntity(title, accept_from=accept_from, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "calling", "address", "admitted"),
    [
        ("MR1", "MR1", "10.0.0.1", True),
        ("MR1", "MR2", "10.0.0.1", False),
        ("MR1", "mr1", "10.0.0.1", False),
        ("@10.0.0.1", "ANY", "10.0.0.1", True),
        ("@10.0.0.1", "ANY", "10.0.0.2", False),
        ("@10.0.0.0/8", "ANY", "10.200.0.2", True),
        ("@10.0.0.0/8", "ANY", "11.0.0.1", False),
        ("@10.1.2.3/8", "ANY", "10.200.0.2", True),  # bits beyond the mask do not matter
        ("MR1@10.0.0.0/8", "MR1", "10.0.0.1", True),
        ("MR1@10.0.0.0/8", "MR1", "11.0.0.1", False),
        ("MR1@10.0.0.0/8", "MR2", "10.0.0.1", False),
        ("@10.0.0.0/8", "ANY", "::ffff:10.0.0.1", True),  # IPv4 on a socket of IPv6
        ("@::1", "ANY", "::1", True),
        ("@[fe80::1]", "ANY", "fe80::1%eth0", True),
        ("@fe80::/10", "ANY", "10.0.0.1", False),
        ("@10.0.0.0/8", "ANY", "", False),
        (" MR1 ", "MR1", "10.0.0.1", True),
    ],
)
def test_callers(text: str, calling: str, address: str, admitted: bool) -> None:
    assert Caller.parse(text).matches(calling, address) is admitted
    assert entity("ARCHIVE", text).admits(calling, address) is admitted


@pytest.mark.parametrize("text", ["", " ", "@", "MR1@", "@nowhere.example.org", "MR1@10.0.0.0/33", "@10.0.0"])
def test_what_is_no_caller(text: str) -> None:
    with pytest.raises(ConfigError, match="accept-from"):
        Caller.parse(text)


def test_without_a_list_anyone_may_call() -> None:
    assert entity().admits("WHOEVER", "203.0.113.9")
    assert entity().admits("", "")


def test_chosen_by_called_title() -> None:
    one, other = entity("ONE"), entity("OTHER")
    assert choose([one, other], "OTHER", "MR1", "10.0.0.1") is other
    assert choose([one, other], "ONE", "MR1", "10.0.0.1") is one
    assert choose([one, other], "THIRD", "MR1", "10.0.0.1") == CALLED_NOT_RECOGNIZED
    assert choose([], "ONE", "MR1", "10.0.0.1") == CALLED_NOT_RECOGNIZED


def test_chosen_by_caller() -> None:
    mr, network, anyone = entity("A", "MR1"), entity("A", "@10.0.0.0/8"), entity("A")
    entities = [anyone, network, mr]
    assert choose(entities, "A", "CT1", "10.0.0.1") is network
    assert choose(entities, "A", "CT1", "11.0.0.1") is anyone
    assert choose(entities, "A", "MR1", "11.0.0.1") is mr
    assert choose([network, mr], "A", "CT1", "11.0.0.1") == CALLING_NOT_RECOGNIZED


def test_a_title_goes_before_any_title() -> None:
    named, any_title = entity("A"), entity(ANYONE)
    for entities in ([named, any_title], [any_title, named]):
        assert choose(entities, "A", "MR1", "10.0.0.1") is named
        assert choose(entities, "B", "MR1", "10.0.0.1") is any_title
    wary = entity("A", "MR1")
    assert choose([any_title, wary], "A", "CT1", "10.0.0.1") is any_title
    assert choose([entity(ANYONE, "MR1")], "A", "CT1", "10.0.0.1") == CALLING_NOT_RECOGNIZED


DISJOINT = [
    (["MR1"], ["MR2"]),
    (["@10.0.0.0/8"], ["@11.0.0.0/8"]),
    (["MR1@10.0.0.0/8"], ["MR1@11.0.0.0/8"]),
    (["MR1@10.0.0.0/8"], ["MR2@10.0.0.0/8"]),
    (["@10.0.0.0/8"], ["@fe80::/10"]),
    ([], ["MR1"]),
    ([], ["@10.0.0.0/8"]),
]
OVERLAPPING = [
    ([], []),
    (["MR1"], ["MR1"]),
    (["MR1", "MR2"], ["MR3", "MR2"]),
    (["MR1"], ["MR1@10.0.0.0/8"]),
    (["MR1"], ["@10.0.0.0/8"]),
    (["@10.0.0.0/8"], ["@10.1.0.0/16"]),
    (["@10.0.0.0/8"], ["MR1@10.1.0.0/16"]),
]


@pytest.mark.parametrize(("one", "other"), DISJOINT)
def test_no_collision(one: list[str], other: list[str]) -> None:
    for a, b in ((one, other), (other, one)):
        listener = Listener("127.0.0.1", 0)
        with listener.host(entity("A", *a)), listener.host(entity("A", *b)):
            pass


@pytest.mark.parametrize(("one", "other"), OVERLAPPING)
def test_a_caller_who_could_mean_two_is_a_collision(one: list[str], other: list[str]) -> None:
    for a, b in ((one, other), (other, one)):
        listener = Listener("127.0.0.1", 4711)
        with (
            listener.host(entity("A", *a)),
            pytest.raises(ConfigError, match=r"another one answers to A on port 4711"),
            listener.host(entity("A", *b)),
        ):
            pass
        with listener.host(entity("A", *a)), listener.host(entity("B", *b)):
            pass


def test_hosted_again_once_the_first_is_gone() -> None:
    listener = Listener("127.0.0.1", 0)
    for _ in range(2):
        with listener.host(entity("A")):
            pass


def test_what_it_supports() -> None:
    async def store(association: object, received: object) -> object:
        raise AssertionError

    verification, ct, mr, find = (
        "1.2.840.10008.1.1",
        "1.2.840.10008.5.1.4.1.1.2",
        "1.2.840.10008.5.1.4.1.1.4",
        "1.2.840.10008.5.1.4.1.2.2.1",
    )
    everything, nothing, some = entity(store=store), entity(), entity(store=store, sop_classes=[ct])
    assert [uid for uid in (verification, ct, mr, find, "2.25.1") if everything.supports(uid)] == [
        verification,
        ct,
        mr,
        "2.25.1",
    ]
    assert [uid for uid in (verification, ct, mr, find) if nothing.supports(uid)] == [verification]
    assert [uid for uid in (verification, ct, mr, find) if some.supports(uid)] == [verification, ct]
