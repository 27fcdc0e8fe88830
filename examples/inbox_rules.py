"""What `watch-inbox.toml` lets into the archive."""

from dcmflow import Instance, Refused


def identified(instance: Instance) -> Instance:
    """Refuses an instance without a PatientID."""
    if not instance.header.get("PatientID"):
        raise Refused("no PatientID; add it and drop the file into the inbox again", status=0xA900)
    return instance
