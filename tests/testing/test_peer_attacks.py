"""The table of attacks, against the scripted SCP."""

from __future__ import annotations

import pytest

from dcmflow.testing import (
    ATTACKS,
    PATIENT,
    ScriptedScp,
    ScriptedScu,
)

pytestmark = pytest.mark.anyio


# somebody may leave, an empty piece is not forbidden, and a response is for the one who asked to judge
BLAMELESS = {
    "abort as a request",
    "abort within a data set",
    "command of empty pieces",
    "end within a data set",
    "reset within a data set",
    "response that nobody asked for",
}


@pytest.mark.parametrize("name", ATTACKS)
async def test_attack(name):
    """What our own scripted listener makes of it: an end where one is due, and the next is served."""
    async with ScriptedScp(check=False) as peer:
        async with ScriptedScu(peer.node) as scu:
            await scu.run(ATTACKS[name])
            if name not in PATIENT and not name.startswith(("end ", "reset ", "abort within")):
                scu.channel.wire.end_sending()
                assert (await scu.rest())[-1].what in ("close", "reset")
                assert bool(peer.received.wrong) == (name not in BLAMELESS)
        async with ScriptedScu(peer.node) as scu:
            await scu.associate()
            assert (await scu.echo()).status == 0


async def test_table_of_attacks_names_what_it_has():
    assert set(ATTACKS) >= PATIENT
    assert len(ATTACKS) > 40
