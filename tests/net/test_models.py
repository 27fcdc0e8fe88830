"""Information models: what is proposed, and which one is asked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcmflow.dicom.level import Level
from dcmflow.net import models
from dcmflow.net.models import Model, Operation
from dcmflow.net.node import Node
from dcmflow.net.pool import Pool
from dcmflow.testing import Accept, ScriptedScp

STUDY, PATIENT, ONLY = Model.STUDY_ROOT, Model.PATIENT_ROOT, Model.PATIENT_STUDY_ONLY
ROOT = "1.2.840.10008.5.1.4.1.2."


@pytest.mark.parametrize(
    ("model", "operation", "uid"),
    [
        (PATIENT, "find", "1.1"),
        (PATIENT, "move", "1.2"),
        (PATIENT, "get", "1.3"),
        (STUDY, "find", "2.1"),
        (STUDY, "move", "2.2"),
        (STUDY, "get", "2.3"),
        (ONLY, "find", "3.1"),
        (ONLY, "move", "3.2"),
        (ONLY, "get", "3.3"),
    ],
)
def test_sop_classes(model: Model, operation: Operation, uid: str) -> None:
    assert model.sop_class(operation) == ROOT + uid


@pytest.mark.parametrize(
    ("offered", "level", "chosen"),
    [
        ([STUDY, PATIENT, ONLY], Level.STUDY, STUDY),
        ([STUDY, PATIENT, ONLY], Level.IMAGE, STUDY),
        ([STUDY, PATIENT, ONLY], Level.PATIENT, PATIENT),
        ([PATIENT], Level.IMAGE, PATIENT),
        ([STUDY], Level.PATIENT, STUDY),
        ([ONLY], Level.PATIENT, ONLY),
        ([ONLY], Level.STUDY, ONLY),
        ([ONLY], Level.SERIES, None),
        ([STUDY, ONLY], Level.PATIENT, ONLY),
        ([], Level.STUDY, None),
    ],
)
def test_which_model_is_asked(offered: list[Model], level: Level, chosen: Model | None) -> None:
    assert models.choose(offered, level) is chosen


@given(st.sets(st.sampled_from(list(Model))), st.sampled_from(list(Level)))
def test_a_model_that_is_chosen_is_offered_and_can_do_it(offered: set[Model], level: Level) -> None:
    there = [model for model in Model if model in offered]
    chosen = models.choose(there, level)
    if chosen is None:
        assert not any(level in model.levels for model in there)
    else:
        assert chosen in offered
        assert level in chosen.levels or (chosen is STUDY and level is Level.PATIENT)
        assert chosen.top is chosen.levels[0]


def test_each_model_is_proposed_once_and_to_move_finding_too() -> None:
    for operation, number in (("find", 3), ("get", 3), ("move", 6)):
        contexts = models.proposed(operation)  # type: ignore[arg-type]
        assert len({context.abstract_syntax for context in contexts}) == len(contexts) == number
        assert [context.id for context in contexts] == list(range(1, 2 * number, 2))
        assert contexts[0].abstract_syntax == STUDY.sop_class(operation)  # type: ignore[arg-type]


@pytest.mark.anyio
async def test_what_a_peer_offers_and_whether_it_is_relational() -> None:
    refuse = {STUDY.sop_class("find"): 3}
    async with (
        ScriptedScp(accept=Accept(refuse=refuse)) as peer,
        Pool(Node(host="127.0.0.1", port=peer.port), calling_ae="HERE") as pool,
        pool.associate(models.proposed("find")) as association,
    ):
        assert list(models.offered(association, "find")) == [PATIENT, ONLY]
        assert models.offered(association, "move") == {}
        assert not models.is_relational(association, PATIENT, "find")
