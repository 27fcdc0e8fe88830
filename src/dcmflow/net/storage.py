"""Which SOP Classes are stored: all that are not known to be something else (PS3.4 Annex B, GG; PS3.6 Annex A).

Objects with private SOP Classes, and with classes that are younger than this file, are ordinary: a table of the storage classes
would refuse them. So this is a table of the services of the standard that are not storage.
"""

from __future__ import annotations

from functools import lru_cache

VERIFICATION = "1.2.840.10008.1.1"

_STANDARD = "1.2.840.10008."
_STORED_PRINT = ("1.2.840.10008.5.1.1.27", "1.2.840.10008.5.1.1.29", "1.2.840.10008.5.1.1.30")
_OTHERS = (
    "1.2.840.10008.1.",  # verification, transfer syntaxes, commitment, media directory, notification
    "1.2.840.10008.2.",
    "1.2.840.10008.3.",  # patient and study management, performed procedure steps
    "1.2.840.10008.4.",
    "1.2.840.10008.5.1.1.",  # print
    "1.2.840.10008.5.1.4.1.2.",  # query and retrieve
    "1.2.840.10008.5.1.4.1.1.201.1.1",  # the well-known instance of storage management
    "1.2.840.10008.5.1.4.20",  # defined procedure protocol query and retrieve
    "1.2.840.10008.5.1.4.31",  # worklists
    "1.2.840.10008.5.1.4.32",
    "1.2.840.10008.5.1.4.33",  # instance availability
    "1.2.840.10008.5.1.4.34.2",
    "1.2.840.10008.5.1.4.34.3",
    "1.2.840.10008.5.1.4.34.4",
    "1.2.840.10008.5.1.4.34.5",
    "1.2.840.10008.5.1.4.34.6",
    "1.2.840.10008.5.1.4.34.8",  # conventional machine verification
    "1.2.840.10008.5.1.4.34.9",
    "1.2.840.10008.5.1.4.37",  # relevant patient information
    "1.2.840.10008.5.1.4.38.2",  # query and retrieve of what is not about a patient
    "1.2.840.10008.5.1.4.38.3",
    "1.2.840.10008.5.1.4.38.4",
    "1.2.840.10008.5.1.4.39.2",
    "1.2.840.10008.5.1.4.39.3",
    "1.2.840.10008.5.1.4.39.4",
    "1.2.840.10008.5.1.4.41",  # product characteristics
    "1.2.840.10008.5.1.4.42",
    "1.2.840.10008.5.1.4.43.2",
    "1.2.840.10008.5.1.4.43.3",
    "1.2.840.10008.5.1.4.43.4",
    "1.2.840.10008.5.1.4.44.2",
    "1.2.840.10008.5.1.4.44.3",
    "1.2.840.10008.5.1.4.44.4",
    "1.2.840.10008.5.1.4.45.2",
    "1.2.840.10008.5.1.4.45.3",
    "1.2.840.10008.5.1.4.45.4",
    "1.2.840.10008.5.1.4.1.1.200.4",  # protocol query and retrieve
    "1.2.840.10008.5.1.4.1.1.200.5",
    "1.2.840.10008.5.1.4.1.1.200.6",
    "1.2.840.10008.5.1.4.1.1.201.2",  # storage management query and retrieve
    "1.2.840.10008.5.1.4.1.1.201.3",
    "1.2.840.10008.5.1.4.1.1.201.4",
    "1.2.840.10008.5.1.4.1.1.201.5",
    "1.2.840.10008.5.1.4.1.1.201.6",
    "1.2.840.10008.6.",
    "1.2.840.10008.7.",
    "1.2.840.10008.8.",
    "1.2.840.10008.9.",
    "1.2.840.10008.10.",  # real-time
    "1.2.840.10008.15.",
)


def is_storage(sop_class: str) -> bool:
    """Whether instances of this SOP Class are taken by a Storage SCP.

    >>> is_storage("1.2.840.10008.5.1.4.1.1.2"), is_storage("1.2.3.4.5"), is_storage("1.2.840.10008.5.1.4.1.2.2.1")
    (True, True, False)
    """
    # callers choose what is remembered, so that is nothing longer than a UID
    return _found(sop_class) if len(sop_class) <= 64 else _find(sop_class)


def _find(sop_class: str) -> bool:
    if not sop_class.startswith(_STANDARD):
        return bool(sop_class)
    if sop_class in _STORED_PRINT:
        return True
    return not any(
        sop_class == other or sop_class.startswith(other if other.endswith(".") else other + ".")
        for other in _OTHERS
    )


_found = lru_cache(maxsize=4096)(_find)
