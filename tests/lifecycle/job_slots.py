"""The model of job slots, and what the database must show of them after each step."""

from dataclasses import dataclass, field

from tests.lifecycle.checks import Step, check
from tests.lifecycle.rows import MOST_JOBS, USER_CAP
from tests.lifecycle.snapshot import Snapshot

QUEUES = ("voice_clone_process", "speech_jobs")


@dataclass
class WaitingJob:
    user: str
    awaits: str
    turn: tuple[float, int, int]  # the clock, the user's other jobs, the order of arrival


@dataclass
class JobSlots:
    """Who has a slot and who waits, by job."""

    users: dict[str, str] = field(default_factory=dict)  # of those with a slot
    waiting: dict[str, WaitingJob] = field(default_factory=dict)
    arrivals: int = 0

    def take(self, job: str, user: str, clock: float) -> str:
        if job in self.users:
            return "taken"
        charged = list(self.users.values()).count(user) + sum(
            w.user == user and w.awaits == "slot" and other != job for other, w in self.waiting.items()
        )
        if charged < USER_CAP and len(self.users) < MOST_JOBS:
            self.waiting.pop(job, None)
            self.users[job] = user
            return "taken"
        awaits = "user" if charged >= USER_CAP else "slot"
        if job in self.waiting:
            self.waiting[job].awaits = awaits
        else:
            others = list(self.users.values()).count(user) + sum(
                w.user == user for w in self.waiting.values()
            )
            self.arrivals += 1
            self.waiting[job] = WaitingJob(user, awaits, (clock, others, self.arrivals))
        return "user_busy" if awaits == "user" else "all_busy"

    def release(self, job: str) -> None:
        """Its slot goes to the next one; or it waits no more."""
        waited = self.waiting.pop(job, None)
        user = self.users.get(job) or (waited.user if waited and waited.awaits == "slot" else None)
        if user is None:
            return
        if turn := self.first("user", user):
            self.waiting[turn].awaits = "slot"
        if self.users.pop(job, None) and (turn := self.first("slot")):
            self.users[turn] = self.waiting.pop(turn).user

    def first(self, awaits: str, user: str | None = None) -> str | None:
        turns = [
            (w.turn, job) for job, w in self.waiting.items() if w.awaits == awaits and user in (None, w.user)
        ]
        return min(turns)[1] if turns else None


def check_job_slots(model: JobSlots, before: Snapshot, after: Snapshot, step: Step) -> int:
    """The same slots and waiting jobs; how many slots were handed to a job that waited, with a message."""
    slots = {s["job_id"]: s["user_id"] for s in after.job_slots if s["job_id"]}
    check(3, slots == model.users, f"{step.name}: slots are {slots}, the model says {model.users}")
    waiting = {w["job_id"]: w["awaits"] for w in after.waiting_jobs}
    said = {job: w.awaits for job, w in model.waiting.items()}
    check(3, waiting == said, f"{step.name}: these wait: {waiting}, the model says {said}")
    known = {(m["queue"], m["number"]) for m in before.messages}
    sent = {
        m["id"] for m in after.messages if m["queue"] in QUEUES and (m["queue"], m["number"]) not in known
    }
    statuses = {each["id"]: each["status"] for each in (*after.attempts, *after.speeches)}
    handed_over = [
        w["job_id"]
        for w in before.waiting_jobs
        if w["job_id"] in slots and statuses.get(w["job_id"]) == "queued"
    ]
    for job in handed_over:
        check(3, job in sent, f"{step.name}: nothing was sent to the job that has a slot now")
    return len(handed_over)
