"""What counts as storage, against the tables of two other toolkits."""

from __future__ import annotations

import tracemalloc

import pytest
from pydicom._uid_dict import UID_dictionary
from pynetdicom import sop_class as known

from dcmflow.net.storage import is_storage
from dcmflow.testing import storage_classes
from wire_data import PRIVATE_CLASSES

STORED = ("_STORAGE_CLASSES", "_NON_PATIENT_OBJECT_CLASSES")
TABLES = {
    name: table
    for name, table in vars(known).items()
    if name.endswith("_CLASSES") and all(isinstance(uid, str) for uid in table.values())
}


def test_pynetdicom_still_has_its_tables() -> None:
    assert set(STORED) < set(TABLES)
    assert sum(map(len, TABLES.values())) > 230


@pytest.mark.parametrize("name", TABLES)
def test_every_class_that_pynetdicom_knows(name: str) -> None:
    wrong = {keyword: uid for keyword, uid in TABLES[name].items() if is_storage(uid) != (name in STORED)}
    assert wrong == {}


def test_every_storage_class_of_the_standard_retired_ones_too() -> None:
    assert [uid for uid in storage_classes(private=True) if not is_storage(uid)] == []


def test_no_other_uid_of_the_standard() -> None:
    others = {
        uid: name
        for uid, (name, kind, *_) in UID_dictionary.items()
        if name and ("Storage" not in name or kind == "Meta SOP Class" or kind == "Transfer Syntax")
    }
    assert {uid: name for uid, name in others.items() if is_storage(uid)} == {}


@pytest.mark.parametrize("uid", PRIVATE_CLASSES)
def test_private_ones_are_ordinary(uid: str) -> None:
    assert is_storage(uid)


def test_a_class_younger_than_the_table() -> None:
    assert is_storage("1.2.840.10008.5.1.4.1.1.999.1")


def test_no_uid_is_no_class() -> None:
    assert not is_storage("")


def test_what_callers_send_is_not_kept() -> None:
    long = ["1.2.840.10008.5.1.4.1.1.2." + str(number).zfill(10_000) for number in range(100)]
    tracemalloc.start()
    try:
        assert all(map(is_storage, (uid + ".1" for uid in long)))
        assert not any(map(is_storage, ("1.2.840.10008.5.1.4.1.2." + uid for uid in long)))
        assert tracemalloc.get_traced_memory()[0] < 100_000
    finally:
        tracemalloc.stop()
