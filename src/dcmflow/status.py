"""DIMSE statuses (PS3.7 Annex C): code, category and name."""

from __future__ import annotations

from typing import ClassVar, Literal, final

Category = Literal["success", "warning", "failure", "cancel", "pending"]

_NAMES: dict[int, str] = {
    0x0000: "success",
    0x0001: "requested optional attributes are not supported",
    0x0105: "no such attribute",
    0x0106: "invalid attribute value",
    0x0107: "attribute list error",
    0x0110: "processing failure",
    0x0111: "duplicate SOP instance",
    0x0112: "no such SOP instance",
    0x0113: "no such event type",
    0x0114: "no such argument",
    0x0115: "invalid argument value",
    0x0116: "attribute value out of range",
    0x0117: "invalid SOP instance",
    0x0118: "no such SOP class",
    0x0119: "class-instance conflict",
    0x0120: "missing attribute",
    0x0121: "missing attribute value",
    0x0122: "SOP class not supported",
    0x0123: "no such action type",
    0x0124: "not authorized",
    0x0210: "duplicate invocation",
    0x0211: "unrecognized operation",
    0x0212: "mistyped argument",
    0x0213: "resource limitation",
    0xA700: "out of resources",
    0xA701: "out of resources, unable to count matches",
    0xA702: "out of resources, unable to perform sub-operations",
    0xA801: "move destination unknown",
    0xA900: "data set does not match SOP class",
    0xB000: "coercion of data elements",
    0xB006: "elements discarded",
    0xB007: "data set does not match SOP class",
    0xC000: "cannot understand",
    0xFE00: "cancelled",
    0xFF00: "pending",
    0xFF01: "pending, optional keys not supported",
}

# PS3.4 Annex B.2.3: the services leave the last one or two hexadecimal digits to the implementation
_FAMILIES: tuple[tuple[int, int, str], ...] = (
    (0xFF00, 0xA700, "out of resources"),
    (0xFF00, 0xA900, "data set does not match SOP class"),
    (0xF000, 0xC000, "cannot understand"),
)

_GENERAL_WARNINGS = frozenset({0x0001, 0x0107, 0x0116})


@final
class Status(int):
    """A DIMSE status code (an integer, 0 to 65535) that knows its meaning.

    >>> Status(0xA700)
    Status(0xA700, 'out of resources')
    >>> f"{Status(0xB006)}", Status(0xB006).category
    ('B006 elements discarded', 'warning')
    """

    SUCCESS: ClassVar[Status]
    PROCESSING_FAILURE: ClassVar[Status]
    OUT_OF_RESOURCES: ClassVar[Status]
    CANNOT_UNDERSTAND: ClassVar[Status]
    CANCELLED: ClassVar[Status]

    def __new__(cls, code: int) -> Status:
        if not 0 <= code <= 0xFFFF:
            raise ValueError(f"a status is a number from 0000 to FFFF, not {code:#x}")
        return super().__new__(cls, code)

    @property
    def category(self) -> Category:
        """What kind of answer this is (PS3.7 Annex C.1)."""
        code = int(self)
        if code == 0:
            return "success"
        if code in (0xFF00, 0xFF01):
            return "pending"
        if code == 0xFE00:
            return "cancel"
        if code & 0xF000 == 0xB000 or code in _GENERAL_WARNINGS:
            return "warning"
        return "failure"

    @property
    def name(self) -> str:
        """The meaning in words, lower case."""
        code = int(self)
        if code in _NAMES:
            return _NAMES[code]
        for mask, value, name in _FAMILIES:
            if code & mask == value:
                return name
        return f"unknown {self.category}"

    @property
    def accepted(self) -> bool:
        """True when a peer that answers so has kept the object: success, or success with a warning."""
        return self.category in ("success", "warning")

    def __repr__(self) -> str:
        return f"Status({int(self):#06X}, {self.name!r})".replace("0X", "0x")

    def __str__(self) -> str:
        return f"{int(self):04X} {self.name}"

    def __format__(self, spec: str) -> str:
        return format(int(self) if spec else str(self), spec)

    def __reduce__(self) -> tuple[type[Status], tuple[int]]:
        return Status, (int(self),)


Status.SUCCESS = Status(0x0000)
Status.PROCESSING_FAILURE = Status(0x0110)
Status.OUT_OF_RESOURCES = Status(0xA700)
Status.CANNOT_UNDERSTAND = Status(0xC000)
Status.CANCELLED = Status(0xFE00)
