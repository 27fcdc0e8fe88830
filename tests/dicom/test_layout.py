"""Layouts: paths stay inside, stay apart and stay readable, whatever the values are."""

from __future__ import annotations

import doctest
import gc
import pickle
import re
import tracemalloc
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from dcmflow.dicom import layout as layout_module
from dcmflow.dicom import safe_names
from dcmflow.dicom.instance import Instance, Origin
from dcmflow.dicom.layout import Layout
from dcmflow.dicom.safe_names import safe_name
from dcmflow.errors import ConfigError

DEFAULT = "{PatientID}/{StudyInstanceUID}/{SeriesInstanceUID}/{SOPInstanceUID}.dcm"


def made(origin: Origin | None = None, **elements: Any) -> Instance:
    ds = Dataset()
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
    ds.SOPInstanceUID = "1.2.3"
    ds.SpecificCharacterSet = "ISO_IR 192"
    for keyword, value in elements.items():
        setattr(ds, keyword, value)
    block = ds.private_block(0x0019, "ACME", create=True)
    block.add_new(0x10, "LO", "secret/1")
    item = Dataset()
    item.ScheduledProcedureStepID = "step 1"
    ds.RequestAttributesSequence = [item]
    return Instance.from_dataset(ds, origin=origin or Origin())


LABELLED = made()


def labelled(template: str, *values: str) -> str:
    """The path for a template with the labels a, b, c."""
    return Layout(template).path(LABELLED.with_labels(**dict(zip("abc", values, strict=False))))


# What people see


@pytest.mark.parametrize(
    ("template", "elements", "path"),
    [
        (DEFAULT, {"PatientID": "4711", "StudyInstanceUID": "1.1", "SeriesInstanceUID": "1.2"}, "4711/1.1/1.2/1.2.3.dcm"),
        (
            "{SeriesNumber:03d}-{SeriesDescription}",
            {"SeriesNumber": 2, "SeriesDescription": "Accelerated Sagittal MPRAGE"},
            "002-Accelerated Sagittal MPRAGE",
        ),
        (
            "{PatientID}/{StudyInstanceUID}/{Modality}/{SeriesNumber:03d}-{SeriesDescription}/{SOPInstanceUID}.dcm",
            {"PatientID": "TestPat1", "StudyInstanceUID": "2.25.1", "Modality": "MR", "SeriesNumber": 14},
            "TestPat1/2.25.1/MR/014-%no-SeriesDescription/1.2.3.dcm",
        ),
        ("{StudyDate:%Y}/{StudyDate:%Y-%m}/{StudyDate}", {"StudyDate": "20190625"}, "2019/2019-06/20190625"),
        ("{StudyDate:%d.%m.%y %j}", {"StudyDate": "20190625"}, "25.06.19 176"),
        ("{StudyDate:%G-W%V-%u}", {"StudyDate": "20181231"}, "2019-W01-1"),
        ("{StudyTime:%Hh%M}", {"StudyTime": "091530.25"}, "09h15"),
        ("{StudyTime:%H.%M.%S.%f}", {"StudyTime": "091530.25"}, "09.15.30.250000"),
        ("{AcquisitionDateTime:%Y%m%d-%H%M}", {"AcquisitionDateTime": "20190625091530+0200"}, "20190625-0915"),
        ("{Modality}{SeriesNumber:03d}", {"Modality": "CT", "SeriesNumber": 2}, "CT002"),
        ("{PatientID|unknown}", {}, "unknown"),
        ("{PatientID|unknown}", {"PatientID": ""}, "unknown"),
        ("{PatientID|unknown}", {"PatientID": "1"}, "1"),
        ("{SeriesNumber:03d|none}", {}, "none"),
        ("{SeriesNumber:03d|none}", {"SeriesNumber": None}, "none"),
        ("{SeriesNumber:03d|none}", {"SeriesNumber": 7}, "007"),
        ("{StudyDate:%Y|no date}/{SOPInstanceUID}", {}, "no date/1.2.3"),
        ("{PatientID}", {}, "%no-PatientID"),
        ("{PatientID}", {"PatientID": ""}, "%no-PatientID"),
        ("{EchoTime}", {"EchoTime": "4.00"}, "4"),
        ("{EchoTime}", {"EchoTime": "2.46"}, "2.46"),
        ("{EchoTime:.1f}", {"EchoTime": "2.46"}, "2.5"),
        ("{EchoTime:06.2f}", {"EchoTime": 4}, "004.00"),
        ("{EchoTime:03d}", {"EchoTime": "4.0"}, "004"),
        ("{EchoTime:03d}", {"EchoTime": "4.25"}, "4.25"),
        ("{SeriesNumber:+d}", {"SeriesNumber": 4}, "+4"),
        ("{SeriesNumber:04x}", {"SeriesNumber": 255}, "00ff"),
        ("{Rows:05d}", {"Rows": 512}, "00512"),
        ("{ImageType}", {"ImageType": ["ORIGINAL", "PRIMARY"]}, "ORIGINAL%5CPRIMARY"),
        ("{ImageType[1]}", {"ImageType": ["ORIGINAL", "PRIMARY"]}, "PRIMARY"),
        ("{PatientName}", {"PatientName": "Yamada^Tarou=山田^太郎"}, "Yamada^Tarou=山田^太郎"),
        ("{SeriesDescription}", {"SeriesDescription": "Kopf 🧠 nativ\nT1"}, "Kopf 🧠 nativ%0AT1"),
        ("{(0008,0060)}-{(0010,0020):x}", {"Modality": "CT"}, None),
        ("{(0008,0060)}", {"Modality": "CT"}, "CT"),
        ('{("ACME",0019,10)}', {}, "secret%2F1"),
        ("{('ACME',0019,10)|none}", {}, "secret%2F1"),
        ("{('OTHER',0019,10)|none}", {}, "none"),
        ("{RequestAttributesSequence[0].ScheduledProcedureStepID}", {}, "step 1"),
        ("{RequestAttributesSequence[1].ScheduledProcedureStepID|none}", {}, "none"),
        ("{TransferSyntaxUID}", {}, "1.2.840.10008.1.2.1"),
        ("{{{PatientID}}}", {"PatientID": "1"}, "{1}"),
        ("all images/{PatientID}", {"PatientID": "1"}, "all images/1"),
        ("a~b/{PatientID}.x.dcm", {"PatientID": "1"}, "a~b/1.x.dcm"),
    ],
)  # fmt: skip
def test_paths(template: str, elements: dict[str, Any], path: str | None) -> None:
    if path is None:
        with pytest.raises(ConfigError, match="a format for numbers, and this is a text"):
            Layout(template)
        return
    assert Layout(template).path(made(**elements)) == path


@pytest.mark.parametrize(
    ("template", "path"),
    [
        ("{calling_ae}/{called_ae}/{address}", "MODALITY/DCMFLOW/10.0.0.7"),
        ("{path}", "%2Finbox%2Fa.dcm"),
        ("{label.site}/{label.other|none}", "Wien/none"),
        ("{label.other}", "%no-label.other"),
    ],
)
def test_origin_and_labels(template: str, path: str) -> None:
    origin = Origin(calling_ae="MODALITY", called_ae="DCMFLOW", address="10.0.0.7", path="/inbox/a.dcm")
    assert Layout(template).path(made(origin).with_labels(site="Wien")) == path


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("..", "%2E%2E"),
        (".", "%2E"),
        ("...", "%2E.%2E"),
        (".hidden", "%2Ehidden"),
        ("a/b", "a%2Fb"),
        ("../../etc/passwd", "%2E.%2F..%2Fetc%2Fpasswd"),
        ("/etc", "%2Fetc"),
        ("a\\b", "a%5Cb"),
        ("C:", "C%3A"),
        ("~root", "%7Eroot"),
        ("a\0b", "a%00b"),
        ("a\x1b[2Jb", "a%1B[2Jb"),
        ("a\x85b\u2028c", "a%C2%85b%E2%80%A8c"),
        ("100%", "100%25"),
        ("%no-PatientID", "%25no-PatientID"),
        ("x ", "x%20"),
        (" x", " x"),
        ("x.", "x%2E"),
        ("CON", "%43ON"),
        ("con.txt", "%63on.txt"),
        ("Nul ", "Nul%20"),
        ("nul .x", "%6Eul .x"),
        ("LPT1", "%4CPT1"),
        ("COM³", "%43OM³"),
        ("CONSOLE", "CONSOLE"),
        ("COM10", "COM10"),
        ("-rf", "-rf"),
        ("x" * 64, "x" * 64),
        ("<a|b>?*\"", "%3Ca%7Cb%3E%3F%2A%22"),
        ("\ud800", "%ED%A0%80"),
        ("👩\u200d⚕️", "👩\u200d⚕️"),
    ],
)  # fmt: skip
def test_evil_values(value: str, name: str) -> None:
    assert safe_name(value) == name
    assert labelled("{label.a}", value) == name
    assert labelled("{label.a}/{SOPInstanceUID}", value) == f"{name}/1.2.3"


# Guarantees

PIECES = st.sampled_from(
    [*list("ab0-_.%~/ \\C"), "CON", "..", "%2D", "%_", "%no-label.a", "%~", "é", "山", "🧠", "x" * 150]
)
VALUES = st.one_of(
    st.lists(PIECES, max_size=5).map("".join),
    st.text(max_size=20),
    st.text(st.characters(exclude_categories=()), max_size=10),
    st.integers(100, 300).map(lambda length: "x" * length),
)
TEMPLATES = [
    "{label.a}/{label.b}/{label.c}",
    "{label.a}-{label.b}/{label.c}.dcm",
    "{label.a}-{label.b}-{label.c}",
    "{label.a}--{label.b}_{label.c}",
    "{label.a}.{label.b}.{label.c}.dcm",
    "{label.a}{label.b}/{label.c}",
    "{label.a}{label.b}{label.c}",
    "x{label.a}{label.b}-{label.c}",
    "{label.a}{label.b}0{label.c}",
    "{label.a}2{label.b} {label.c}",
    "CO{label.a}/{label.b}N{label.c}",
    "{label.a}_{label.b}{label.c}.dcm",
    "{label.a}n{label.b}o{label.c}",
]
THREE = st.tuples(VALUES, VALUES, VALUES)


@given(template=st.sampled_from(TEMPLATES), values=THREE)
@example(template="{label.a}/{label.b}/{label.c}", values=("..", ".", ""))
def test_a_path_stays_inside_and_is_portable(template: str, values: tuple[str, str, str]) -> None:
    path = labelled(template, *values)
    parts = path.split("/")
    assert len(parts) == template.count("/") + 1
    assert not PurePosixPath(path).is_absolute()
    assert not PureWindowsPath(path).drive
    assert PurePosixPath(path).parts == tuple(parts) == PureWindowsPath(path).parts
    for part in parts:
        assert part not in ("", ".", "..")
        assert part[0] not in ".~"
        assert part[-1] not in ". "
        assert len(part.encode()) <= 200
        assert not re.search(r'[\x00-\x1f\x7f-\x9f\\<>:"|?*\u2028\u2029]', part)
        assert not safe_names.reserved(part)


@given(template=st.sampled_from(TEMPLATES), one=THREE, other=THREE)
@example(template="{label.a}-{label.b}-{label.c}", one=("a-b", "c", "d"), other=("a", "b-c", "d"))
@example(template="{label.a}--{label.b}_{label.c}", one=("a-", "b", "c"), other=("a", "-b", "c"))
@example(template="{label.a}{label.b}{label.c}", one=("a", "0", "x2"), other=("a0", "x", "2"))
@example(template="{label.a}{label.b}/{label.c}", one=("a", "0b", "c"), other=("a0", "b", "c"))
@example(template="{label.a}/{label.b}/{label.c}", one=("", "b", "c"), other=("%no-label.a", "b", "c"))
@example(template="{label.a}2{label.b} {label.c}", one=("/", "b", "c"), other=("%", "F2b", "c"))
def test_different_values_never_share_a_path(
    template: str, one: tuple[str, ...], other: tuple[str, ...]
) -> None:
    assert (labelled(template, *one) == labelled(template, *other)) == (one == other)


@given(
    template=st.sampled_from(TEMPLATES),
    text=st.text("ab01-_.% n", max_size=8),
    cuts=st.tuples(*[st.integers(0, 8)] * 4),
)
def test_the_same_text_cut_at_other_places_gives_another_path(
    template: str, text: str, cuts: tuple[int, int, int, int]
) -> None:
    def cut(first: int, second: int) -> tuple[str, str, str]:
        first, second = sorted((first, second))
        return text[:first], text[first:second], text[second:]

    one, other = cut(*cuts[:2]), cut(*cuts[2:])
    assert (labelled(template, *one) == labelled(template, *other)) == (one == other)


@given(VALUES.filter(bool), VALUES.filter(bool))
def test_safe_names_are_names_of_their_own(one: str, other: str) -> None:
    assert (safe_name(one) == safe_name(other)) == (one == other)


@given(st.text(st.characters(categories=["L", "M", "N", "So"]), min_size=1, max_size=30))
def test_letters_of_every_script_stay_what_they_are(text: str) -> None:
    expected = text if not safe_names.reserved(text) and len(text.encode()) <= 200 else None
    if expected is not None:
        assert labelled("{label.a}", text) == expected


def test_an_empty_text_gives_no_name() -> None:
    with pytest.raises(ValueError, match="empty"):
        safe_name("")


@pytest.mark.parametrize("character", ["x", "é", "山", "🧠", "/"])
def test_long_values_are_cut_between_characters_and_keep_their_extension(character: str) -> None:
    long = [labelled("{label.a}.dcm", character * length) for length in (300, 301, 1000)]
    assert len(set(long)) == 3
    for path in long:
        assert re.search(r"%~[0-9a-f]{32}\.dcm$", path)
        assert 160 < len(path.encode()) <= 200


def test_a_value_that_looks_like_a_cut_one_is_another() -> None:
    cut = labelled("{label.a}", "x" * 300)
    assert labelled("{label.a}", cut) != cut


def test_what_is_no_number_or_date_stands_as_it_is() -> None:
    instance = made(StudyDate="20190625", Modality="CT")
    broken = instance.with_elements({"StudyDate": "20190625-20190626"})
    assert Layout("{StudyDate:%Y}").path(broken) == "20190625-20190626"


def test_a_layout_remembers_nothing_wrong() -> None:
    layout = Layout("{PatientID}/{SeriesNumber:02d}")
    for number in (1, 2, 1, 3, 1):
        assert layout.path(made(PatientID=f"p{number}", SeriesNumber=number)) == f"p{number}/0{number}"


# Templates that cannot be right

BAD = [
    ("", 1, "an empty layout"),
    ("/archive/{PatientID}", 1, "cannot begin with /"),
    ("~/{PatientID}", 1, "cannot begin with ~"),
    ("C:/dicom/{PatientID}", 2, "a layout has no drive"),
    ("dicom\\{PatientID}", 6, "parts of a layout are separated by /"),
    ("../{PatientID}", 1, "cannot begin with .: it leaves the root"),
    ("{PatientID}/../x", 13, "it leaves the root"),
    ("./{PatientID}", 1, "it leaves the root"),
    ("{PatientID}/.cache/x", 13, "is a temporary file"),
    ("{PatientID}/~x", 13, "would be somebody's home"),
    ("{PatientID}//x", 13, "an empty part"),
    ("{PatientID}/", 13, "an empty part"),
    ("{PatientID}/x./y", 14, "cannot end with a dot or blank"),
    ("{PatientID} /y", 12, "cannot end with a dot or blank"),
    ("con/{PatientID}", 1, "con is the name of a device"),
    ("{PatientID}/aux.dcm", 13, "the name of a device"),
    ("a%b/{PatientID}", 2, "escapes begin with it"),
    ("a*b/{PatientID}", 2, "no file name may contain it"),
    ("a\nb/{PatientID}", 2, "no file name may contain it"),
    ("x.dcm", 1, "without a {Keyword}"),
    ("{{PatientID}}.dcm", 1, "without a {Keyword}"),
    ("{PatientID", 1, "a { that is not closed"),
    ("PatientID}/x", 10, "a } without its {"),
    ("{}/x", 1, "an empty field"),
    ("{ }/x", 1, "an empty field"),
    ("{PatientId}/x", 2, "did you mean PatientID"),
    ("a/{SeriesNumbr:03d}", 4, "did you mean SeriesNumber"),
    ("{patient_id}", 2, "unknown keyword 'patient_id'"),
    ("{PatientID PatientName}", 12, "unexpected 'PatientName' after PatientID"),
    ("{PatientID!r}", 11, "unexpected '!' after PatientID"),
    ("{PatientID.__class__}", 11, "PatientID is no sequence"),
    ("{PatientID;}", 11, "unexpected ';'"),
    ("{SeriesNumber:03q}", 15, "is no format"),
    ("{SeriesNumber:}", 15, "is no format"),
    ("{SeriesNumber:>3d}", 15, "is no format"),
    ("{SeriesNumber:9999999d}", 15, "is no format"),
    ("{SeriesNumber:%Y}", 15, "a format for dates and times, and this is a number"),
    ("{PatientID:03d}", 12, "a format for numbers, and this is a text"),
    ("{StudyDate:03d}", 12, "a format for numbers, and this is a date"),
    ("{StudyDate:%H}", 12, "%H cannot be written of a date"),
    ("{StudyTime:%Y}", 12, "%Y cannot be written of a time"),
    ("{StudyDate:%B}", 12, "%B cannot be written of a date"),
    ("{StudyDate:%Y%}", 12, "% cannot be written of a date"),
    ("{StudyDate:%Y/%m}", 14, "write {StudyDate:%Y}/{StudyDate:%m}"),
    ("{PatientID|}", 12, "a default wants text"),
    ("{PatientID|..}", 12, "a default wants text"),
    ("{PatientID|a/b}", 13, "a default cannot contain '/'"),
    ("{PixelData}", 2, "PixelData is a binary (OB or OW)"),
    ("{ReferencedImageSequence}", 2, "ReferencedImageSequence is a sequence (SQ)"),
    ("{ReferencedImageSequence.PatientID}", 25, "say which item"),
    ("{label.}", 8, "the name of a label is missing"),
    ("x" * 101 + "{PatientID}", 1, "more than 100 bytes of text"),
]  # fmt: skip


@pytest.mark.parametrize(("template", "column", "said"), BAD)
def test_a_bad_template_shows_where(template: str, column: int, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Layout(template)
    assert said in str(caught.value)
    assert caught.value.column == column
    assert "^" in str(caught.value)


@given(
    st.one_of(
        st.text(max_size=40),
        st.lists(st.sampled_from(["{PatientID", "{", "}", "/", ".", ":03d", ":%Y", "|x", "StudyDate", "..", "~", "a", "%"]))
        .map("".join),
    )
)  # fmt: skip
def test_any_template_is_an_error_or_gives_a_path_inside(template: str) -> None:
    layout = attempt(template)
    if isinstance(layout, ConfigError):
        assert layout.column is not None
        return
    parts = layout.path(made(PatientID="..", StudyDate="20190625")).split("/")
    assert all(part and part[0] not in ".~" for part in parts)


def attempt(template: str) -> Layout | ConfigError:
    try:
        return Layout(template)
    except ConfigError as problem:
        return problem


@pytest.mark.parametrize("template", ["{PatientComments}", "{PatientID}_{PatientComments}"])
def test_long_values_are_not_kept(template: str) -> None:
    layout = Layout(template)
    layout.path(made(PatientID="1", PatientComments="x"))
    tracemalloc.start()
    try:
        paths = {layout.path(made(PatientID="1", PatientComments="x" * 10_000 + str(n))) for n in range(100)}
        assert len(paths) == 100
        del paths
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] < 500_000
    finally:
        tracemalloc.stop()


# The object


def test_a_layout_is_a_value() -> None:
    one = Layout(DEFAULT)
    assert one == Layout(DEFAULT) == pickle.loads(pickle.dumps(one))
    assert hash(one) == hash(Layout(DEFAULT))
    assert one != Layout("{PatientID}")
    assert one != DEFAULT
    assert one.template == DEFAULT
    assert repr(one) == f"Layout({DEFAULT!r})"
    assert one.elements == {0x00100020, 0x0020000D, 0x0020000E, 0x00080018}
    assert Layout("{label.a}/{RequestAttributesSequence[0].PatientID}").elements == {0x00400275}


def test_the_docstrings_tell_the_truth() -> None:
    for module in (layout_module, safe_names):
        tried = doctest.testmod(module)
        assert tried.attempted > 0
        assert tried.failed == 0
