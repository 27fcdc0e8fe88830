"""A client of literal bytes for tests of the scripted peers."""

from __future__ import annotations

import pytest

import raw_dicom as raw


@pytest.fixture
async def connect():
    """`await connect(peer)` is a raw client of it."""
    opened = []

    async def connect(peer):
        opened.append(await raw.connect(peer.port))
        return opened[-1]

    yield connect
    for client in opened:
        await client.stream.aclose()
