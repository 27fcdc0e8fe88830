"""Whether a data set is the SOP Instance that the command which brought it says it is."""

from __future__ import annotations

from dcmflow.dicom.instance import Instance
from dcmflow.dicom.uids import DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN
from dcmflow.errors import DatasetError, Refused
from dcmflow.status import Status

_MISMATCH = Status(0xA900)


def mismatch(instance: Instance) -> DatasetError | Refused | None:
    """Why it is another SOP Instance than the command says (PS3.4 B.2.3, A9xx), or none at all; None: it is the one."""
    if instance.transfer_syntax_uid == DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN:
        return None
    try:
        header = instance.header
        sop_class, sop_instance = header.get("SOPClassUID"), header.get("SOPInstanceUID")
    except DatasetError as error:
        return error
    for name, said, found in (
        ("SOP Instance", instance.sop_instance_uid, sop_instance),
        ("SOP Class", instance.sop_class_uid, sop_class),
    ):
        if not found:
            return DatasetError(f"the data set has no {name} UID")
        if found != said:
            return Refused(
                f"the data set has {name} UID {found}, the command {said}",
                status=_MISMATCH,
                instance_uid=instance.sop_instance_uid,
            )
    return None
