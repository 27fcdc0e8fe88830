"""UIDs: constants agree with the register; remapping is keyed, repeatable, and spares what is no id."""

from __future__ import annotations

import doctest
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.datadict import dictionary_keyword, tag_for_keyword
from pydicom.uid import UID, UID_dictionary

from dcmflow.dicom import uids
from dcmflow.dicom.uids import UidMap, is_valid_uid, keeps_uid, new_uid

CONSTANTS = {
    name: value
    for name, value in vars(uids).items()
    if name.isupper() and isinstance(value, str) and not name.startswith("_") and name != "DICOM_ROOT"
}
ORDINARY = st.lists(st.integers(0, 10**9), min_size=2, max_size=5).map(
    lambda parts: "1." + ".".join(map(str, parts))
)


def test_the_docstrings_tell_the_truth() -> None:
    tried = doctest.testmod(uids)
    assert tried.attempted > 0
    assert tried.failed == 0


@pytest.mark.parametrize("name", CONSTANTS)
def test_a_constant_is_a_registered_uid_that_only_it_names(name: str) -> None:
    value = CONSTANTS[name]
    assert is_valid_uid(value)
    assert list(CONSTANTS.values()).count(value) == 1
    not_yet_in_pydicom = name.startswith("JPEG_XL") or name == "DEFLATED_IMAGE_FRAME_COMPRESSION"
    assert not_yet_in_pydicom or value in UID_dictionary


@pytest.mark.parametrize("uid", [uid for uid, row in UID_dictionary.items() if row[1] == "Transfer Syntax"])
def test_predicates_agree_with_pydicom(uid: str) -> None:
    theirs = UID(uid)
    elsewhere = ("JPIP", "SMPTE", "Papyrus", "RFC", "XML")
    frames = theirs.keyword == "DeflatedImageFrameCompression"  # not the data set
    assert uids.is_deflated(uid) == ("Deflate" in theirs.keyword and not frames)
    assert uids.is_big_endian(uid) == (not theirs.is_little_endian)
    if not theirs.keyword.startswith(elsewhere):
        assert uids.is_implicit(uid) == theirs.is_implicit_VR
        assert uids.is_encapsulated(uid) == theirs.is_encapsulated


def test_a_private_transfer_syntax_is_encapsulated_and_none_is_not() -> None:
    assert uids.is_encapsulated("1.3.46.670589.33.1.4.1")
    assert not uids.is_encapsulated("")
    assert not uids.is_encapsulated("1.2.840.10008.1.2.4.94")


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("1.2.3", True),
        ("0.0", True),
        ("1", True),
        ("2.25." + "9" * 59, True),
        ("2.25." + "9" * 60, False),
        ("", False),
        ("1.", False),
        (".1", False),
        ("1..2", False),
        ("1.02", False),
        ("1.2 ", False),
        ("1.2\n", False),
        ("1.a", False),
        ("1.٣", False),
    ],
)
def test_valid_uids(text: str, valid: bool) -> None:
    assert is_valid_uid(text) is valid


def test_new_uids_are_valid_and_differ() -> None:
    made = {new_uid() for _ in range(100)}
    assert len(made) == 100
    assert all(is_valid_uid(uid) and uid.startswith("2.25.") for uid in made)


@given(uid=ORDINARY, key=st.text(min_size=1))
def test_a_remapped_uid_is_valid_repeatable_and_new(uid: str, key: str) -> None:
    remapped = UidMap(key)(uid)
    assert is_valid_uid(remapped)
    assert remapped.startswith("2.25.")
    assert int(remapped[5:]) < 2**128
    assert remapped != uid
    assert UidMap(key)(uid) == remapped


@given(a=ORDINARY, b=ORDINARY)
def test_remapping_keeps_different_uids_and_different_keys_apart(a: str, b: str) -> None:
    first, second = UidMap("one"), UidMap("two")
    assert (first(a) == first(b)) == (a == b)
    assert first(a) != second(a)


@pytest.mark.parametrize(
    "uid",
    [
        "",
        "1.2.840.10008.5.1.4.1.1.2",
        "1.2.840.10008.1.2",
        "1.2.840.10008.15.1.1",
        " 1.2.840.10008.1.2",
        " ",
    ],
)
def test_what_is_no_identifier_of_data_stays(uid: str) -> None:
    assert UidMap("k")(uid) == uid


@pytest.mark.parametrize("uid", ["1.2.", "1.02.3", "no uid", "1." * 40, "\xe9"])
def test_what_is_no_valid_uid_identifies_all_the_same(uid: str) -> None:
    remapped = UidMap("k")(uid)
    assert is_valid_uid(remapped)
    assert remapped != uid
    assert UidMap("k")(f" {uid} ") == remapped


def test_a_uid_that_only_looks_like_the_dicom_root_is_remapped() -> None:
    assert UidMap("k")("1.2.840.100081.5") != "1.2.840.100081.5"


def test_a_uid_map_needs_a_key_and_hides_it() -> None:
    with pytest.raises(ValueError, match="key"):
        UidMap("")
    assert "hunter2" not in repr(UidMap("hunter2"))


def test_a_uid_map_can_be_sent_to_another_process() -> None:
    remap = UidMap("k")
    assert pickle.loads(pickle.dumps(remap))("1.2.3") == remap("1.2.3")


@pytest.mark.parametrize(
    "keyword",
    [
        "SOPClassUID",
        "MediaStorageSOPClassUID",
        "ReferencedSOPClassUID",
        "RelatedGeneralSOPClassUID",
        "OriginalSpecializedSOPClassUID",
        "SOPClassesInStudy",
        "SOPClassesSupported",
        "PertinentSOPClassesInSeries",
        "TransferSyntaxUID",
        "AvailableTransferSyntaxUID",
        "EncryptedContentTransferSyntaxUID",
        "CodingSchemeUID",
        "ContextUID",
        "MappingResourceUID",
        "ImplementationClassUID",
    ],
)
def test_elements_that_name_a_kind_keep_their_uid(keyword: str) -> None:
    assert keeps_uid(tag_for_keyword(keyword) or 0)


@pytest.mark.parametrize(
    "keyword",
    [
        "SOPInstanceUID",
        "StudyInstanceUID",
        "SeriesInstanceUID",
        "FrameOfReferenceUID",
        "ReferencedSOPInstanceUID",
        "ReferencedFrameOfReferenceUID",
        "DeviceUID",
        "IrradiationEventUID",
        "TrackingUID",
        "UID",
        "PatientID",
    ],
)
def test_elements_that_name_data_do_not(keyword: str) -> None:
    tag = tag_for_keyword(keyword) or 0
    assert dictionary_keyword(tag) == keyword
    assert not keeps_uid(tag)
