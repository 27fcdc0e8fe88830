"""The DICOM upper layer (PS3.8) and DIMSE messages (PS3.7) without I/O: bytes and events, no socket, no clock."""
