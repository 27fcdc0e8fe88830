"""The archives that queries and retrievals are tested against, asked by DCMTK's clients: without dcmflow between them.

What a test of dcmflow may expect of an archive that holds BASE is proven here, ways of its own included.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import pytest
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from base_data import (
    BASE,
    ECHOES,
    EVERYTHING,
    KEYWORDS,
    LEVELS,
    MPRAGE,
    ONE,
    PRIVATE,
    PUBLIC,
    SUBSETS,
    Fact,
    counts,
    matching,
    paths,
    tree,
    uids,
    write_base,
)
from corpus import encode
from peers.archives import KINDS, Archive, Archives
from peers.base import Address, reserved_port
from peers.dcmtk import Dcmtk
from wire_data import dataset_bytes, syntax_of, uid_of

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]


def test_facts(tmp_path: Path) -> None:
    written = write_base(tmp_path)
    assert [uid_of(path) for path in written] == [fact.image for fact in BASE]
    assert (counts(), counts(PUBLIC), counts(EVERYTHING.facts)) == (
        (2, 3, 7, 12),
        (2, 3, 6, 11),
        (2, 3, 7, 12),
    )
    assert [len(subset.facts) for subset in SUBSETS.values()] == [8, 4, 3, 2, 1, 7, 3, 6]
    assert (
        sum(
            len(images)
            for study in tree().values()
            for series in study.values()
            for images in series.values()
        )
        == 12
    )
    assert [fact.text("EchoTime") for fact in ECHOES] == ["2.46", "4.25"]
    assert {fact.text("AccessionNumber") for fact in BASE} == {"ACC20190625", "ACC20180530", "ACC20190615"}


@pytest.mark.parametrize("level", LEVELS)
def test_everything_at_each_level(archive: Archive, dcmtk_peer: Dcmtk, level: str) -> None:
    keys = KEYWORDS[: LEVELS.index(level) + 1]
    asked = dcmtk_peer.findscu(archive.address, level, keys, model="patient")
    assert asked.status == 0
    found = {tuple(str(ds[key].value) for key in keys) for ds in asked.answers}
    assert found == paths(level, archive.expected)
    per_entity = len(archive.expected if archive.kind == "qrscp" else found)
    assert asked.pending == len(asked.answers) == per_entity


def test_counts_of_entities(archive: Archive, dcmtk_peer: Dcmtk) -> None:
    keys = ["StudyInstanceUID", "NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances"]
    asked = dcmtk_peer.findscu(archive.address, "study", keys)
    numbers = {ds.StudyInstanceUID: tuple(ds.get(key) for key in keys[1:]) for ds in asked.answers}
    if archive.kind == "orthanc":
        assert numbers == {
            study: counts(matching({"StudyInstanceUID": study}))[2:] for study in uids("study")
        }
    else:
        assert numbers == dict.fromkeys(uids("study"), (None, None))


def test_series_description_is_known_to_orthanc_alone(archive: Archive, dcmtk_peer: Dcmtk) -> None:
    keys = {"StudyInstanceUID": MPRAGE.study, "SeriesInstanceUID": "", "SeriesDescription": "*MPRAGE*"}
    asked = dcmtk_peer.findscu(archive.address, "series", keys)
    found = set(asked.values("SeriesInstanceUID"))
    if archive.kind == "orthanc":
        assert found == {MPRAGE.series}
        assert asked.values("SeriesDescription") == ["Accelerated Sagittal MPRAGE"]
    else:
        here = [fact for fact in archive.expected if fact.study == MPRAGE.study]
        assert found == uids("series", here)
        assert set(asked.values("SeriesDescription")) == {""}


def test_dates_match_studies(archive: Archive, dcmtk_peer: Dcmtk) -> None:
    def studies(dates: str) -> set[str]:
        asked = dcmtk_peer.findscu(archive.address, "study", {"StudyInstanceUID": "", "StudyDate": dates})
        assert asked.status == 0
        return set(asked.values("StudyInstanceUID"))

    assert len(studies("20190101-20191231")) == 2
    assert studies("20190620-") == {ONE.study}
    assert studies("20190625-20190625") == {ONE.study}
    # the private object says another date than the rest of its study, and dcmqrscp looks at objects
    assert studies("19000101") == ({PRIVATE.study} if archive.kind == "dcmqrscp" else set())


@pytest.mark.parametrize("level", ["study", "series", "image"])
def test_lists_of_uids(archive: Archive, dcmtk_peer: Dcmtk, level: str) -> None:
    some = [fact for fact in archive.expected if fact.study == MPRAGE.study and not fact.private]
    two = sorted(uids(level, archive.expected if level == "study" else some))[:2]
    keyword = KEYWORDS[LEVELS.index(level)]
    keys = dict.fromkeys(KEYWORDS[1 : LEVELS.index(level)], "") | {keyword: "\\".join(two)}
    asked = dcmtk_peer.findscu(archive.address, level, keys)
    if archive.kind == "qrscp":
        assert (asked.status, asked.answers) == (0xC320, ())
    else:
        assert (asked.status, set(asked.values(keyword))) == (0, set(two))


def test_keys_of_upper_levels(archive: Archive, dcmtk_peer: Dcmtk) -> None:
    empty = {"StudyInstanceUID": "", "SeriesInstanceUID": "", "SOPInstanceUID": ""}
    two = [fact for fact in BASE if fact.patient == "TestPat2"]
    asked = dcmtk_peer.findscu(archive.address, "image", {"PatientID": "TestPat2", **empty})
    # dcmqrscp does not look at what is no unique key of the study root
    found = BASE if archive.kind == "dcmqrscp" else two
    assert (asked.status, set(asked.values("SOPInstanceUID"))) == (0, uids("image", found))
    alone = dcmtk_peer.findscu(archive.address, "image", {"SOPInstanceUID": ONE.image})
    status = {"dcmqrscp": 0xC000, "orthanc": 0, "qrscp": 0xA900}[archive.kind]
    assert (alone.status, alone.values("SOPInstanceUID")) == (status, [] if status else [ONE.image])


@pytest.mark.parametrize("name", SUBSETS)
def test_moves_each_subset(archive: Archive, dcmtk_peer: Dcmtk, tmp_path: Path, name: str) -> None:
    subset, to = SUBSETS[name], archive.clients["STORESCP"]
    with dcmtk_peer.storescp(tmp_path, ae_title=to.ae_title, port=to.port) as server:
        for level, keys in subset.requests:
            there = matching(keys, archive.expected)
            asked = dcmtk_peer.movescu(archive.address, level, keys, destination=to.ae_title)
            assert (asked.status, asked.counts) == (0, (len(there), 0, 0)), asked.log
            assert asked.pending == len(there) - (archive.kind == "orthanc")
    _are(server.stored(), subset.of(archive.expected))


@pytest.mark.parametrize("name", ["study", "patient+series+image"])
def test_gives_each_subset(archive: Archive, dcmtk_peer: Dcmtk, name: str) -> None:
    files: dict[str, Path] = {}
    public = [fact for fact in SUBSETS[name].of(archive.expected) if not fact.private]
    for level, keys in SUBSETS[name].requests:
        asked = dcmtk_peer.getscu(archive.address, level, keys)
        files |= asked.files
        if matching(keys, public):
            assert (asked.status, asked.counts) == (0, (len(matching(keys, public)), 0, 0)), asked.log
    # getscu proposes standard SOP Classes, and qrscp chooses Implicit VR wherever it can
    _are(files, public, ImplicitVRLittleEndian if archive.kind == "qrscp" else ExplicitVRLittleEndian)


def _are(files: Mapping[str, Path], facts: Collection[Fact], syntax: str = ExplicitVRLittleEndian) -> None:
    """The files hold these objects and nothing else, byte by byte as BASE has them where it is its own transfer syntax."""
    assert {syntax_of(path) for path in files.values()} <= {syntax}
    assert {uid: dataset_bytes(path) for uid, path in files.items()} == {
        fact.image: encode(fact.ds, syntax) for fact in facts
    }


def test_movescu_receives_by_itself(archive: Archive, dcmtk_peer: Dcmtk) -> None:
    port = archive.clients["MOVESCU"].port
    asked = dcmtk_peer.movescu(archive.address, "series", MPRAGE.keys("series"), listen=port)
    assert (asked.status, asked.counts) == (0, (2, 0, 0))
    _are(asked.files, matching(MPRAGE.keys("series")))


def test_where_it_cannot_move_to(archive: Archive, dcmtk_peer: Dcmtk) -> None:
    def moved(destination: str) -> int | None:
        asked = dcmtk_peer.movescu(archive.address, "study", ONE.keys("study"), destination=destination)
        return asked.status

    unknown, deaf = {"dcmqrscp": (0xA801, 0xA702), "orthanc": (0xC000, 0xC000), "qrscp": (0xA801, 0xA801)}[
        archive.kind
    ]
    assert (moved("NOBODY"), moved("DCMFLOW3")) == (unknown, deaf)


def test_upper_keys_that_contradict(archive: Archive, dcmtk_peer: Dcmtk) -> None:
    wrong = {**MPRAGE.keys("series"), "PatientID": "TestPat2"}
    asked = dcmtk_peer.movescu(archive.address, "series", wrong, listen=archive.clients["MOVESCU"].port)
    moved = uids("image", matching(MPRAGE.keys("series"))) if archive.kind == "orthanc" else set()
    assert (asked.status, asked.files.keys()) == (0, moved)


def test_who_may_ask(archive: Archive, dcmtk_peer: Dcmtk) -> None:
    asked = dcmtk_peer.findscu(archive.address, "study", ["StudyInstanceUID"], calling_ae="STRANGER")
    assert asked.status == (None if archive.kind == "orthanc" else 0)


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_moves_to_another(
    archives: Archives, dcmtk_peer: Dcmtk, tmp_path: Path, kind: str
) -> None:
    there = Address(reserved_port(), "THERE")
    with (
        archives.start(
            kind, tmp_path / "here", files=archives.base(), expected=BASE, clients={"THERE": there}
        ) as here,
        archives.start("dcmqrscp", tmp_path / "there", ae_title="THERE", port=there.port) as other,
    ):
        assert other.address == there
        assert dcmtk_peer.findscu(other.address, "study", ["StudyInstanceUID"]).answers == ()
        asked = dcmtk_peer.movescu(here.address, "series", MPRAGE.keys("series"), destination="THERE")
        assert (asked.status, asked.counts) == (0, (2, 0, 0)), asked.log
        found = dcmtk_peer.findscu(other.address, "image", {**MPRAGE.keys("series"), "SOPInstanceUID": ""})
        assert set(found.values("SOPInstanceUID")) == uids("image", matching(MPRAGE.keys("series")))


def test_dcmqrscp_with_standard_classes_only(archives: Archives, dcmtk_peer: Dcmtk, tmp_path: Path) -> None:
    to = archives.clients["MOVESCU"]
    with archives.start("dcmqrscp", tmp_path, files=archives.base(), private=False) as archive:
        asked = dcmtk_peer.movescu(archive.address, "study", PRIVATE.keys("study"), listen=to.port)
    assert (asked.status, asked.counts) == (0xB000, (4, 1, 0))
    assert asked.files.keys() == uids("image", matching({"StudyInstanceUID": PRIVATE.study}, PUBLIC))


@pytest.mark.parametrize(
    ("option", "refused"), [("--no-patient-root", "patient"), ("--no-study-root", "study")]
)
def test_dcmqrscp_without_a_model(
    archives: Archives, dcmtk_peer: Dcmtk, tmp_path: Path, option: str, refused: str
) -> None:
    with archives.start("dcmqrscp", tmp_path, option, files=archives.base(), private=False) as archive:
        for model in ("patient", "study"):
            asked = dcmtk_peer.findscu(
                archive.address, "study", ["PatientID", "StudyInstanceUID"], model=model
            )
            assert asked.status == (None if model == refused else 0)
