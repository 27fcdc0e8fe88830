"""Made-up objects without pixels: a structured report, an encapsulated PDF, a twelve-lead ECG."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from dcmflow.dicom.samples import SeriesFacts

_LINE = 4096  # bytes of one comment line in a PDF


def code(value: str, scheme: str, meaning: str) -> Dataset:
    """One item of a code sequence (PS3.3 8.8)."""
    from pydicom.dataset import Dataset

    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def sr(ds: Dataset, facts: SeriesFacts) -> None:
    from pydicom.dataset import Dataset

    ds.SeriesDescription = "Report"
    ds.CompletionFlag, ds.VerificationFlag = "COMPLETE", "UNVERIFIED"
    ds.ReferencedPerformedProcedureStepSequence = []
    ds.PerformedProcedureCodeSequence = []
    finding = Dataset()
    finding.RelationshipType, finding.ValueType = "CONTAINS", "TEXT"
    finding.ConceptNameCodeSequence = [code("121071", "DCM", "Finding")]
    finding.TextValue = "Hypodense Läsion rechts temporal, 20 mm. No midline shift."
    findings = Dataset()
    findings.RelationshipType, findings.ValueType = "CONTAINS", "CONTAINER"
    findings.ConceptNameCodeSequence = [code("121070", "DCM", "Findings")]
    findings.ContinuityOfContent = "SEPARATE"
    findings.ContentSequence = [finding]
    ds.ValueType, ds.ContinuityOfContent = "CONTAINER", "SEPARATE"
    ds.ConceptNameCodeSequence = [code("11528-7", "LN", "Radiology Report")]
    ds.ContentSequence = [findings]


def pdf(ds: Dataset, facts: SeriesFacts) -> None:
    ds.SeriesDescription = "Report as PDF"
    ds.BurnedInAnnotation, ds.ConversionType = "NO", "WSD"
    ds.AcquisitionDateTime = f"{facts.date}{facts.time()}"
    ds.DocumentTitle = "Made-up report"
    ds.ConceptNameCodeSequence = [code("18748-4", "LN", "Diagnostic imaging report")]
    ds.MIMETypeOfEncapsulatedDocument = "application/pdf"
    document = _one_page(facts.size)
    ds.EncapsulatedDocumentLength = len(document)
    ds.EncapsulatedDocument = document + b"\0" * (len(document) % 2)


def _one_page(size: int) -> bytes:
    """A PDF with one line of text, and a comment that makes it about `size` bytes."""
    text = b"BT /F1 24 Tf 72 720 Td (made up by dcmflow) Tj ET"
    objects = (
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R"
        b" /Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(text), text),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    )
    document, places = bytearray(b"%PDF-1.4\n"), []
    for number, body in enumerate(objects, 1):
        places.append(len(document))
        document += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    lines, rest = divmod(max(0, size - len(document) - 300), _LINE)
    document += (b"%" + b"." * (_LINE - 2) + b"\n") * lines + b"%" + b"." * rest + b"\n"
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    start = len(document)
    document += b"xref\n0 6\n0000000000 65535 f \n" + table
    return bytes(document) + b"trailer\n<< /Size 6 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % start


def ecg(ds: Dataset, facts: SeriesFacts) -> None:
    from pydicom.dataset import Dataset

    leads = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
    ds.SeriesDescription = "Resting ECG"
    ds.AcquisitionDateTime = f"{facts.date}{facts.time()}"
    ds.AcquisitionContextSequence = []
    group = Dataset()
    group.WaveformOriginality, group.SamplingFrequency = "ORIGINAL", "500"
    group.NumberOfWaveformChannels = len(leads)
    group.NumberOfWaveformSamples = samples = max(1, min(facts.size // 2 // len(leads), 16_384))
    group.WaveformBitsAllocated, group.WaveformSampleInterpretation = 16, "SS"
    channels = []
    for number, lead in enumerate(leads, 1):
        channel = Dataset()
        channel.ChannelSourceSequence = [code(f"5.6.3-9-{number}", "SCPECG", f"Lead {lead}")]
        channel.ChannelSensitivity, channel.ChannelBaseline = "1", "0"
        channel.ChannelSensitivityUnitsSequence = [code("uV", "UCUM", "microvolt")]
        channel.ChannelSensitivityCorrectionFactor, channel.ChannelSampleSkew = "1", "0"
        channel.WaveformBitsStored = 16
        channels.append(channel)
    group.ChannelDefinitionSequence = channels
    beat = [
        round(1000 * math.exp(-(((t - 120) / 6) ** 2)) + 150 * math.exp(-(((t - 260) / 30) ** 2)))
        for t in range(400)
    ]
    wave = b"".join(beat[t % 400].to_bytes(2, "little", signed=True) * len(leads) for t in range(samples))
    group.add_new("WaveformData", "OW", wave)
    ds.WaveformSequence = [group]
