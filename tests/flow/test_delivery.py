"""Receipts settle once, when the last share is back, to what the shares say."""

from __future__ import annotations

import gc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcmflow.flow.capacity import Limits
from dcmflow.flow.delivery import Delivery, Receipt
from dcmflow.flow.ledger import Ledger
from dcmflow.status import Status
from little_stages import made

pytestmark = pytest.mark.anyio


def opened(ledger: Ledger, number: int = 0) -> tuple[Receipt, Delivery]:
    instance = made(number)
    assert ledger.capacity.try_acquire(instance.payload.resident)
    receipt = ledger.open("source", instance, instance.payload.resident)
    ledger.admit(receipt)
    return receipt, Delivery(instance, receipt)


def settle(delivery: Delivery, how: str) -> None:
    if how == "accept":
        delivery.accept()
    elif how == "drop":
        delivery.drop()
    else:
        delivery.refuse(Status(int(how, 16)), "stage", f"because {how}")


@given(st.lists(st.sampled_from(["accept", "drop", "A700", "0122"]), min_size=1, max_size=8))
async def test_outcome_of_any_number_of_shares(ways: list[str]) -> None:
    ledger = Ledger(Limits())
    receipt, delivery = opened(ledger)
    copies = delivery.fork(*[delivery.instance] * len(ways))
    for index, (copy, way) in enumerate(zip(copies, ways, strict=True)):
        assert receipt.outcome is None, "settled before the last share was back"
        assert ledger.unsettled == 1
        settle(copy, way)
        settle(copy, "accept" if index % 2 else "A700")  # a second word counts for nothing
    refusals = [way for way in ways if way not in ("accept", "drop")]
    if refusals:
        assert (receipt.outcome, receipt.status) == ("refused", int(refusals[0], 16))
        assert receipt.reason == f"because {refusals[0]}"
    else:
        assert receipt.status == 0
        assert receipt.outcome == ("accepted" if "accept" in ways else "dropped")
    assert await receipt.wait() == receipt.status
    assert ledger.unsettled == 0
    assert ledger.emitted == 1 == ledger.accepted + ledger.dropped + ledger.refused
    assert (ledger.capacity.instances_used, ledger.capacity.bytes_used) == (0, 0)


async def test_joined_deliveries_settle_every_receipt() -> None:
    ledger = Ledger(Limits())
    pairs = [opened(ledger, number) for number in range(3)]
    joined = Delivery.join(made(9), [delivery for _, delivery in pairs])
    joined.refuse(Status(0xA900), "batch", "does not fit")
    assert [receipt.status for receipt, _ in pairs] == [0xA900] * 3
    assert ledger.refused == 3


async def test_a_lost_delivery_warns_and_is_refused() -> None:
    ledger = Ledger(Limits())
    receipt, delivery = opened(ledger)
    with pytest.warns(ResourceWarning, match=r"2\.25\.1 was let go of unsettled"):  # noqa: PT031
        del delivery
        gc.collect()
    assert receipt.outcome == "refused"
    assert "lost" in receipt.reason


async def test_callbacks_run_once_also_when_late() -> None:
    ledger = Ledger(Limits())
    receipt, delivery = opened(ledger)
    calls: list[str] = []
    receipt.on_settled(lambda settled: calls.append(f"early {settled.outcome}"))
    delivery.accept()
    receipt.on_settled(lambda settled: calls.append(f"late {settled.outcome}"))
    assert calls == ["early accepted", "late accepted"]


async def test_complete_means_by_every_sink() -> None:
    ledger = Ledger(Limits())
    receipt, delivery = opened(ledger)
    first, second = delivery.fork(delivery.instance, delivery.instance)
    first.accept()
    second.drop(lapse=True)
    assert receipt.outcome == "accepted"
    assert not receipt.complete
