"""The tree of errors, what peers are told, and what is worth trying again."""

from __future__ import annotations

import copy
import pickle
import re

import pytest

from dcmflow import errors
from dcmflow.errors import (
    AssociationAborted,
    AssociationRejected,
    ConfigError,
    ConnectError,
    DatasetError,
    DcmflowError,
    NetworkTimeout,
    NoAcceptedContext,
    NotDicom,
    Refused,
    RemoteProtocolError,
    StageError,
)
from dcmflow.status import Status

EXAMPLES = [
    DcmflowError("something", status=0x0213, transient=True),
    ConfigError("no such key", file="flow.toml", table="sinks.pacs", key="too", line=7, column=3),
    StageError("cannot open", stage="archive", opening=True),
    Refused("disk full", status=0xA700, instance_uid="1.2.3", stage="archive", transient=True),
    ConnectError("nobody listens"),
    NetworkTimeout("no answer in 30 s"),
    AssociationRejected("called AE title not recognized", result=1, source=1, reason=7),
    AssociationAborted("aborted", source=2, reason=0),
    NoAcceptedContext(
        "not for CT", sop_class="1.2.840.10008.5.1.4.1.1.2", transfer_syntax="1.2.840.10008.1.2.1"
    ),
    RemoteProtocolError("PDU of unknown type"),
    NotDicom("text"),
]


def _tree(cls: type[DcmflowError]) -> dict[str, str]:
    found = {}
    for child in cls.__subclasses__():
        if child.__module__ != errors.__name__:
            continue
        found |= {child.__name__: cls.__name__, **_tree(child)}
    return found


def test_the_tree_is_the_one_drawn_at_the_top() -> None:
    drawn: dict[str, str] = {}
    path: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"(    (?:[│├└─ ]*))([A-Z]\w+)", line)
        if match is None:
            continue
        depth, name = len(match[1]), match[2]
        while path and path[-1][0] >= depth:
            path.pop()
        if path:
            drawn[name] = path[-1][1]
        path.append((depth, name))
    assert drawn == _tree(DcmflowError)


def test_every_error_of_the_module_is_in_the_tree() -> None:
    raised = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, Exception)
    }
    assert raised == {"DcmflowError", *_tree(DcmflowError)}


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("through", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy, copy.deepcopy])
def test_errors_cross_a_process_border_whole(error: DcmflowError, through: object) -> None:
    error.add_note("on the way: inbox, archive")
    assert callable(through)
    other = through(error)
    assert type(other) is type(error)
    assert str(other) == str(error)
    assert vars(other) == vars(error)
    assert (other.status, other.transient) == (error.status, error.transient)


def test_base_class_defaults() -> None:
    error = DcmflowError("what failed")
    assert (error.status, error.transient) == (0x0110, False)
    assert str(error) == "what failed"


def test_status_and_transient_are_set_for_one_error_only() -> None:
    DcmflowError("x", status=0xA700, transient=True)
    assert (DcmflowError.status, DcmflowError.transient) == (0x0110, False)
    error = Refused("x", status=0xC123)
    assert isinstance(error.status, Status)
    assert error.status.name == "cannot understand"


def test_no_status_beyond_sixteen_bits() -> None:
    with pytest.raises(ValueError, match="0000 to FFFF"):
        Refused("x", status=0x10000)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Refused("x"), 0xA700),
        (ConnectError("x"), 0xA700),
        (DatasetError("x"), 0xC000),
        (NotDicom("x"), 0xC000),
        (NoAcceptedContext("x", sop_class="1.2", transfer_syntax="1.2"), 0x0122),
        (RemoteProtocolError("x"), 0x0110),
    ],
)
def test_what_a_peer_is_told(error: DcmflowError, status: int) -> None:
    assert error.status == status
    assert error.status.category == "failure"


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (ConnectError("x"), True),
        (NetworkTimeout("x"), True),
        (AssociationAborted("x", source=2, reason=0), True),
        (AssociationRejected("x", result=1, source=1, reason=7), False),
        (AssociationRejected("x", result=2, source=3, reason=1), True),
        (NoAcceptedContext("x", sop_class="1.2", transfer_syntax="1.2"), False),
        (Refused("x"), False),
        (Refused("x", transient=True), True),
        (DatasetError("x"), False),
        (RemoteProtocolError("x"), False),
    ],
)
def test_what_is_worth_trying_again(error: DcmflowError, transient: bool) -> None:
    assert error.transient is transient


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ({}, "unknown type"),
        ({"file": "flow.toml"}, "flow.toml: unknown type"),
        ({"file": "flow.toml", "line": 7}, "flow.toml:7: unknown type"),
        ({"file": "flow.toml", "line": 7, "column": 3}, "flow.toml:7:3: unknown type"),
        ({"line": 7, "column": 3}, "line 7:3: unknown type"),
        ({"table": "sinks.pacs"}, "[sinks.pacs]: unknown type"),
        ({"key": "type"}, "type: unknown type"),
        (
            {"file": "flow.toml", "line": 7, "table": "sinks.pacs", "key": "type"},
            "flow.toml:7 [sinks.pacs] type: unknown type",
        ),
    ],
)
def test_config_error_says_where(place: dict[str, object], text: str) -> None:
    error = ConfigError("unknown type").at(**place)  # type: ignore[arg-type]
    assert str(error) == text
    assert error.problem == "unknown type"


def test_config_error_keeps_what_was_known_first() -> None:
    error = ConfigError("x", table="sinks.pacs", line=3).at(file="flow.toml", table="sinks", line=1, key="to")
    assert (error.file, error.table, error.line, error.key) == ("flow.toml", "sinks.pacs", 3, "to")
