"""Pseudonyms for `research-copy.toml`: the same patient and key give the same pseudonym."""

import hmac
import os

from dcmflow import Instance


def patient(instance: Instance) -> Instance:
    """The instance with a keyed hash for its PatientID. The key is the environment variable KEY."""
    known_as = str(instance.header.get("PatientID", ""))
    digest = hmac.new(os.environ["KEY"].encode(), known_as.encode(), "sha256").hexdigest()
    return instance.with_elements({"PatientID": digest[:16].upper()})
