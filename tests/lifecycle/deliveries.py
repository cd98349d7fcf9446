"""Deliveries to a webhook: claimed, sent and recorded; a worker may be late, and a receiver may refuse."""

from dataclasses import dataclass
from uuid import uuid4

from psycopg.types.json import Jsonb

from backend.domains.webhooks.delivery import queries as webhooks
from tests.lifecycle.checks import check
from tests.lifecycle.delivery_checks import QUEUE
from tests.lifecycle.driver import ARCHIVE, STALE
from tests.lifecycle.snapshot import Bench, Row
from tests.lifecycle.speeches import Speeches

AT_ONCE = 2
REGISTER = (
    "select id::text from voice_clone.create_webhook(%(id)s, %(user)s, 'https://example.org', %(secret)s)"
)
ENABLE = "select id::text from voice_clone.enable_webhook(%(webhook)s, %(user)s)"
REPLAY = "select webhook_id::text from voice_clone.replay_event(%(webhook)s, %(user)s, %(event)s)"
OUTCOMES = ("refused", "failed", "failed", "delivered", "delivered", "delivered", "gone")


@dataclass
class Delivering:
    """What a worker claimed. Its epoch may be stale."""

    webhook: str
    epoch: int
    events: list[int]
    message: int


class Deliveries(Speeches):
    def __init__(self, bench: Bench) -> None:
        super().__init__(bench)
        self.delivering: list[Delivering] = []

    def registers_a_webhook(self, pick: int) -> None:
        user = self.bench.users[pick % 2]
        if user not in self.model.reflections.values() or any(
            w["user_id"] == user for w in self.snapshot.webhooks
        ):
            return
        secret = "whsec_" + "A" * 43 + "="
        self.call("registers a webhook", REGISTER, id=str(uuid4()), user=user, secret=secret)

    def owner_of_a_webhook(self, pick: int) -> Row | None:
        return self.snapshot.webhooks[pick % len(self.snapshot.webhooks)] if self.snapshot.webhooks else None

    def enables_a_webhook(self, pick: int) -> None:
        if (w := self.owner_of_a_webhook(pick)) and w["status"] == "disabled":
            self.call("enables a webhook", ENABLE, webhook=w["id"], user=w["user_id"])

    def replays_an_event(self, pick: int) -> None:
        w = self.owner_of_a_webhook(pick)
        own = [d for d in self.snapshot.deliveries if w and d["webhook_id"] == w["id"]]
        if w and own and w["status"] == "enabled":
            event = own[pick % len(own)]["event_id"]
            self.call("replays an event", REPLAY, webhook=w["id"], user=w["user_id"], event=event)

    def deletes_a_webhook(self, pick: int) -> None:
        if w := self.owner_of_a_webhook(pick):
            self.call("deletes a webhook", webhooks.delete, webhook=w["id"], user=w["user_id"])

    def delivers(self, webhook: str, number: int, *, dies: bool) -> None:
        """The consumer of `webhooks`. What it sent is recorded by a step of its own."""
        held = {w["id"]: w["lease_epoch"] for w in self.snapshot.webhooks}
        row = self.call(
            "claims a webhook", webhooks.claim, webhook=webhook, worker="w", user_cap=2, most=AT_ONCE
        )
        assert row is not None
        if row["outcome"] == "claimed":
            check(4, row["lease_epoch"] == held[webhook] + 1, "a webhook's epoch does not grow by one")
            events = [each["event_id"] for each in row["work"]["deliveries"]]
            check(3, events, "a webhook is claimed, and nothing is due")
            if not dies:
                self.delivering.append(Delivering(webhook, row["lease_epoch"], events, number))
        else:
            self.verify_invariants()
            self.call("leaves a webhook", ARCHIVE, queue=QUEUE, number=number)

    def ends_a_delivery(self, pick: int) -> None:
        done = self.delivering.pop(pick % len(self.delivering))
        w = next((w for w in self.snapshot.webhooks if w["id"] == done.webhook), None)
        holds = w is not None and w["lease_epoch"] == done.epoch
        results = [
            {
                "event_id": event,
                "outcome": OUTCOMES[(pick + place) % len(OUTCOMES)],
                "code": "webhook_refused",
            }
            for place, event in enumerate(done.events)
        ]
        self.call(
            "delivers", webhooks.record, None if holds else STALE, webhook=done.webhook, epoch=done.epoch,
            results=Jsonb(results), retry_after=0, message=done.message,
        )  # fmt: skip
        where = (QUEUE, done.message)
        self.step.archived, self.step.kept = (where, None) if holds else (None, where)
