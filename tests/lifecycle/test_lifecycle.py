"""The lifecycle holds in every order of events; a mutant without an invariant is found.

The orders are new each day: the seed is the date, which pytest prints. `--lifecycle-seed` gives the orders
of another day. An order that fails is kept in .local/cache/orders and tried first by the next run. Its blob
is printed, and `--lifecycle-replay` runs that order alone.
"""

import re
from collections.abc import Iterator

import hypothesis
import pytest
from hypothesis import HealthCheck, Phase, reproduce_failure, seed, settings
from hypothesis.database import DirectoryBasedExampleDatabase
from hypothesis.stateful import run_state_machine_as_test

from tests.clusters import CACHE, Database
from tests.database.invariants import INVARIANTS, Mutant, patch
from tests.database.invariants import run as execute
from tests.fixture import Fixture
from tests.lifecycle.checks import BrokenError
from tests.lifecycle.machine import Lifecycle
from tests.lifecycle.snapshot import Bench

HUNT = settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=400,
    stateful_step_count=50,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    phases=[Phase.generate],
    report_multiple_bugs=False,
)
ORDINARY = settings(
    HUNT,
    derandomize=False,
    database=DirectoryBasedExampleDatabase(CACHE / "orders"),
    max_examples=25,
    phases=[Phase.reuse, Phase.generate, Phase.shrink],
    print_blob=True,
)
MORE = settings(ORDINARY, max_examples=10)
ROUNDS_OF_MORE = 20
LONG = settings(ORDINARY, max_examples=400, stateful_step_count=100)

# Each of these changes a row, or starts a session, at least once in every run.
EFFECTS = {
    "opens an upload", "queues an attempt that is awaiting_upload", "clones a sample again",
    "uses a stock voice", "revokes a consent", "asks for a preview", "hears the preview", "retries",
    "retries elsewhere", "restores", "resets", "starts a session", "deletes a voice", "deletes a reflection",
    "claims process", "intends an enrollment", "attaches", "attaches a custom voice", "awaits verification",
    "reports a late voice", "requeues", "fails", "renews",
    "resolves an enrollment as closed", "resolves an enrollment as unknown",
    "claims preview", "marks runtime synced", "marks preview rendered", "sees it pending", "sees it verified",
    "moves a voice", "moves a voice beside", "changes over to a voice",
    "begins an inspection", "is inspected by another call", "gives way to another upload",
    "requests a speech", "claims a speech", "speaks", "requeues a speech", "deletes a speech",
    "is refused one upload more", "has made enough for a day", "waits: user_busy", "waits: all_busy",
    "hands a slot over", "sweeps: expired_samples", "sweeps: expired_previews",
    "sends a sample", "stores a sample", "deletes a sample", "claims a sample", "prepares a sample",
    "refuses a sample", "gives a sample back",
    "registers a webhook", "claims a webhook", "delivers", "replays an event", "enables a webhook",
    "loses a voice", "finds a voice gone", "takes a voice down", "lifts a takedown",
    "mirrors", "sweeps", "waits", "loses a message", "doubles a message",
}  # fmt: skip


# Each is a rule of the lifecycle that is lost, and the invariant that the model then finds broken.
MUTANTS: dict[str, tuple[int, Mutant]] = {
    "the end of a job frees no slot": (
        3,
        execute("drop trigger voice_clone_attempts_release_slot on public.voice_clone_attempts"),
    ),
    "a slot is handed over without a message": (
        3,
        patch("voice_clone.hand_over_job_slot", "if w.job_id is not null", "if false"),
    ),
    "more jobs than there are slots": (
        3,
        patch("voice_clone.try_job_slot", "f.job_id is null and f.number <= p_max_jobs", "true"),
    ),
    "a late inspection completes its sample": (
        4,
        patch("voice_clone.require_sample_lease", "and x.lease_epoch = p_epoch", ""),
    ),
    "a transition that no webhook gets": (
        3,
        patch("voice_clone.append_event", "perform voice_clone.queue_deliveries(v_event, new);", ""),
    ),
    "an event overtakes an earlier one of its attempt": (
        3,
        patch("voice_clone.due_events", "and e.event_id < d.event_id", "and false"),
    ),
    "an old answer closes what was made again": (
        14,
        patch("voice_clone.lose_voice", "and a.ready_at > p_before", "and false"),
    ),
    "a check by a worker that lost its lease": (
        4,
        patch("voice_clone.require_voice_check", "and x.lease_epoch = p_epoch", ""),
    ),
    "what is taken down keeps its slot": (
        15,
        patch("operations.take_down", "perform voice_clone.release_job_slot(q.id, q.owner)", "perform q.id"),
    ),
    "what was lifted waits for ever": (
        3,
        patch("voice_clone.append_event", "v_follows := v_queue is not null", "null"),
    ),
    "a late delivery is recorded": (
        4,
        patch("voice_clone.record_deliveries", "and x.lease_epoch = p_epoch", ""),
    ),
    "two calls inspect one upload": (
        4,
        patch(
            "voice_clone.claim_upload",
            "elsif s.status = 'processing' and s.lease_expires_at > now()",
            "elsif false",
        ),
    ),
}


@pytest.fixture
def bench(database: Database) -> Iterator[Bench]:
    made = Bench(database)
    yield made
    made.close()


def run(bench: Bench, how: settings, *, of_day: int | None = None, replay: str | None = None) -> None:
    class OnBench(Lifecycle):
        def __init__(self) -> None:
            super().__init__(bench)

    if of_day is not None:
        seed(of_day)(OnBench)
    if replay:
        reproduce_failure(hypothesis.__version__, replay.encode())(OnBench)
    run_state_machine_as_test(OnBench, settings=how)


def test_the_lifecycle_holds_in_every_order(bench: Bench, request: pytest.FixtureRequest) -> None:
    replay = request.config.getoption("lifecycle_replay")
    day = int(request.config.getoption("lifecycle_seed") or 0)
    run(bench, ORDINARY, of_day=day, replay=replay)
    rounds = 0
    while not replay and not bench.effects.keys() >= EFFECTS and rounds < ROUNDS_OF_MORE:
        rounds += 1  # a rare move had no effect today: some more orders
        run(bench, MORE, of_day=day + rounds * 100_000_000)
    assert replay or bench.effects.keys() >= EFFECTS, sorted(EFFECTS - bench.effects.keys())


@pytest.mark.long
def test_the_lifecycle_holds_in_thousands_of_orders(bench: Bench, request: pytest.FixtureRequest) -> None:
    run(bench, LONG, of_day=request.config.getoption("lifecycle_seed"))
    assert bench.steps >= 20_000
    assert bench.effects.keys() >= EFFECTS


def test_an_order_that_fails_is_replayed_by_its_blob(bench: Bench) -> None:
    bench.superuser.execute("alter table public.voice_clone_attempts disable row level security")
    how = settings(HUNT, print_blob=True)
    with pytest.raises(BrokenError, match="invariant 12 is broken") as found:
        run(bench, how)
    blob = re.search(r"@reproduce_failure\('.*?', b'(.*?)'\)", "\n".join(found.value.__notes__))
    assert blob is not None
    before = bench.steps
    with pytest.raises(BrokenError, match="invariant 12 is broken"):
        run(bench, ORDINARY, replay=blob[1])
    assert bench.steps - before <= HUNT.stateful_step_count, "one order"


# `tests/database/test_invariants.py` finds these mutants in each ordinary run.
LONG_HUNTS = {1, 2, 4, 5, 6, 8, 9, 13}


@pytest.mark.parametrize(
    "number",
    [pytest.param(each, marks=pytest.mark.long if each in LONG_HUNTS else ()) for each in INVARIANTS],
)
def test_the_loss_of_an_invariant_is_found(bench: Bench, database: Database, number: int) -> None:
    _, remove = INVARIANTS[number]
    given = Fixture(database)
    remove(given)
    given.close()
    with pytest.raises(BrokenError, match=f"invariant {number} is broken"):
        run(bench, HUNT)


RARE = {  # found after many orders: the hunt is slow
    "an old answer closes what was made again",
    "two calls inspect one upload",
    "a late inspection completes its sample",
    "a late delivery is recorded",
    "more jobs than there are slots",
    "a slot is handed over without a message",
    "what is taken down keeps its slot",
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.long if name in RARE else ()) for name in MUTANTS]
)
def test_the_loss_of_a_rule_is_found(bench: Bench, database: Database, name: str) -> None:
    number, mutate = MUTANTS[name]
    given = Fixture(database)
    mutate(given)
    given.close()
    with pytest.raises(BrokenError, match=f"invariant {number} is broken"):
        run(bench, HUNT)
