"""Fixture: users, reflections, consents and the steps of a worker, on a migrated database."""

from hashlib import sha256
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg.rows import dict_row

from tests.clusters import Database

Row = dict[str, Any]


class Fixture:
    """`service` is the product's login; `superuser` may do anything."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.service = psycopg.Connection[Row].connect(
            database.service, autocommit=True, row_factory=dict_row
        )
        self.superuser = psycopg.Connection[Row].connect(
            database.superuser, autocommit=True, row_factory=dict_row
        )
        self.consents: dict[UUID, UUID] = {}  # of users whose samples share one consent

    def close(self) -> None:
        self.service.close()
        self.superuser.close()

    def one(self, sql: str, *parameters: Any) -> Row:
        row = self.service.execute(sql.encode(), parameters).fetchone()
        assert row is not None
        return row

    def truth(self, sql: str, *parameters: Any) -> Row:
        """Read past row level security."""
        row = self.superuser.execute(sql.encode(), parameters).fetchone()
        assert row is not None
        return row

    def user(self) -> UUID:
        user = uuid4()
        self.superuser.execute(
            "insert into auth.users (id, email) values (%s, %s)", (user, f"{user}@example.org")
        )
        return user

    def reflection(self, user: UUID) -> UUID:
        return self.truth(
            "insert into public.reflections (user_id, name) values (%s, 'R') returning id", user
        )["id"]

    def organization(self, admin: UUID) -> UUID:
        """As the admin's client would make it."""
        with self.superuser.transaction():
            self.superuser.execute(
                "select set_config('request.jwt.claims', json_build_object('sub', %s::text)::text, true)",
                (str(admin),),
            )
            return self.truth("insert into public.organizations (name) values ('O') returning id")["id"]

    def add_member(self, organization: UUID, user: UUID, role: str = "member") -> None:
        self.superuser.execute(
            "insert into public.organization_members (org_id, user_id, role) values (%s, %s, %s)",
            (organization, user, role),
        )

    def employee(self, organization: UUID, email: str | None = None) -> UUID:
        return self.truth(
            "insert into public.employees (org_id, full_name, email) values (%s, 'Bo Lind', %s) returning id",
            organization, email,
        )["id"]  # fmt: skip

    def invitation(self, employee: UUID, admin: UUID, seconds: int = 3600) -> bytes:
        """The hash of the link's token."""
        token = sha256(uuid4().bytes).digest()
        self.one("select * from voice_clone.invite_employee(%s, %s, %s, %s)", employee, admin, token, seconds)
        return token

    def employee_consent(self, employee: UUID, admin: UUID, signer: UUID | None = None) -> UUID:
        return self.sign(employee, self.invitation(employee, admin), signer)["id"]

    def sign(self, employee: UUID, token: bytes, signer: UUID | None = None) -> Row:
        sql = "select * from voice_clone.sign_invitation(%s, %s, 'en', %s, 1)"
        return self.one(sql, employee, token, signer)

    def recording(self, employee: UUID, admin: UUID, per_day: int | None = None) -> UUID:
        """The copy of a recording: stored, inspected and ready."""
        sample, folder = uuid4(), f"{employee}/{uuid4()}"
        self.one(
            "select * from voice_clone.add_recording(%s, %s, %s, 'en', %s, 'audio/wav', 1000, %s)",
            sample, employee, admin, f"{folder}/sample.wav", per_day,
        )  # fmt: skip
        epoch = self.claim_sample(sample, inline=True)["lease_epoch"]
        self.complete(sample, epoch, f"{folder}/prepared.wav")
        return sample

    def clone_recording(self, employee: UUID, admin: UUID, per_day: int | None = None) -> UUID:
        attempt = uuid4()
        self.one(
            "select * from voice_clone.clone_recording(%s, %s, %s, %s, 'local', '', true, %s)",
            attempt, self.recording(employee, admin, per_day), employee, admin, per_day,
        )  # fmt: skip
        return attempt

    def consent(self, user: UUID, reflection: UUID | None = None) -> UUID:
        kind = "self" if reflection is None else "reflection"
        return self.one(
            "select * from voice_clone.sign_consent(%s, 'voice_clone', 'en', %s, %s, 1)",
            user,
            kind,
            reflection,
        )["id"]

    def open(self, user: UUID, reflection: UUID | None, consent: UUID | None = None) -> UUID:
        attempt = uuid4()
        self.one(
            "select * from voice_clone.open_attempt"
            "(%s, %s, %s, %s, 'local', '', %s, 'audio/wav', 1000, true)",
            attempt, user, consent or self.consents.get(user) or self.consent(user), reflection,
            f"{user}/{attempt}/sample.wav",
        )  # fmt: skip
        return attempt

    def queue(self, attempt: UUID, user: UUID) -> Row:
        self.prepare(attempt, user)
        return self.one(
            "select * from voice_clone.queue_attempt(%s, %s, 'Ada', 'en', 'hello', 0)", attempt, user
        )

    def claim_upload(self, attempt: UUID, user: UUID) -> Row:
        return self.one("select * from voice_clone.claim_upload(%s, %s, 'worker')", attempt, user)

    def add_sample(self, user: UUID, *, kept: bool = True, sample: UUID | None = None) -> UUID:
        """A sample by itself, whose file is not stored yet."""
        sample = sample or uuid4()
        self.one(
            "select * from voice_clone.add_sample"
            "(%s, %s, %s, null, %s, 'Ada', 'en', 'hello', %s, 'audio/wav', 1000)",
            sample, user, self.consents.get(user) or self.consent(user), kept,
            f"{user}/{sample}/sample.wav",
        )  # fmt: skip
        return sample

    def pending_sample(self, user: UUID) -> UUID:
        sample = self.add_sample(user)
        self.one("select voice_clone.receive_sample(%s, %s)", sample, user)
        return sample

    def claim_sample(self, sample: UUID, *, inline: bool = False) -> Row:
        return self.one("select * from voice_clone.claim_sample(%s, 'worker', 2, %s)", sample, inline)

    def ready_sample(self, user: UUID) -> UUID:
        sample = self.pending_sample(user)
        self.complete(sample, self.claim_sample(sample)["lease_epoch"], f"{user}/{sample}/prepared.wav")
        return sample

    def sample(self, sample: UUID) -> Row:
        return self.truth("select * from public.voice_samples where id = %s", sample)

    def prepare(self, attempt: UUID, user: UUID) -> None:
        """The sample of an upload: inspected, and ready."""
        claim = self.claim_upload(attempt, user)
        self.complete(claim["sample_id"], claim["lease_epoch"], f"{user}/{attempt}/prepared.wav")

    def complete(self, sample: UUID, epoch: int, path: str) -> None:
        self.one(
            "select voice_clone.complete_sample(%s, %s, 'audio/wav', 1000, '{}'::jsonb, %s, 2000)",
            sample, epoch, path,
        )  # fmt: skip

    def queued(self, user: UUID, reflection: UUID | None) -> UUID:
        attempt = self.open(user, reflection)
        self.queue(attempt, user)
        return attempt

    def claim(self, attempt: UUID, lease: int = 60) -> Row:
        return self.one("select * from voice_clone.claim_attempt(%s, 'worker', %s, 4, true)", attempt, lease)

    def intend(self, attempt: UUID, epoch: int, settle: int = 60) -> UUID:
        label = uuid4().hex[:16]
        return self.one(
            "select voice_clone.intend_enrollment(%s, %s, %s, 'match', %s) as id",
            attempt,
            epoch,
            label,
            settle,
        )["id"]

    def attach(self, attempt: UUID, epoch: int, enrollment: UUID, message: int | None = None) -> Row:
        return self.one(
            "select * from voice_clone.attach_voice"
            "(%s, %s, %s, %s, 'model-1', 'request-1', '{}'::jsonb, %s, false)",
            attempt, epoch, enrollment, f"voice-of-{enrollment}", message,
        )  # fmt: skip

    def enroll(self, attempt: UUID) -> Row:
        epoch = self.claim(attempt)["lease_epoch"]
        return self.attach(attempt, epoch, self.intend(attempt, epoch))

    def step(self, attempt: UUID, step: str) -> int:
        return self.one("select * from voice_clone.claim_step(%s, %s, 'worker', 60)", attempt, step)[
            "lease_epoch"
        ]

    def launchable(self, user: UUID, reflection: UUID) -> UUID:
        """An attempt that is ready, synced and previewed."""
        attempt = self.queued(user, reflection)
        self.enroll(attempt)
        self.one(
            "select * from voice_clone.mark_runtime(%s, %s, 'synced', null, null, 0, null)",
            attempt, self.step(attempt, "runtime"),
        )  # fmt: skip
        self.one(
            "select * from voice_clone.mark_preview(%s, %s, 'rendered', 'p.wav', null, null, 0, null)",
            attempt, self.step(attempt, "preview"),
        )  # fmt: skip
        self.one("select * from voice_clone.complete_preview(%s, %s)", reflection, user)
        return attempt

    def attempt(self, attempt: UUID) -> Row:
        return self.truth("select * from public.voice_clone_attempts where id = %s", attempt)

    def deadline(self, attempt: UUID) -> Row:
        """When the sweep next visits it and when its lease ends; null if nothing is due."""
        return self.truth(
            "select d.sweep_at, d.lease_epoch, d.lease_expires_at from public.voice_clone_attempts a"
            " left join voice_clone.deadlines d on d.attempt_id = a.id where a.id = %s", attempt,
        )  # fmt: skip

    def mirror(self, reflection: UUID) -> Row:
        self.one("select voice_clone.mirror_reflections(%s)", [reflection])
        return self.voice(reflection)

    def voice(self, reflection: UUID) -> Row:
        return self.truth("select voice from public.reflections where id = %s", reflection)["voice"]

    def messages(self, queue: str) -> list[Row]:
        return self.service.execute(
            "select * from voice_clone.read_messages(%s, 0, 1000)", (queue,)
        ).fetchall()

    def replace(self, function: str, old: str, new: str) -> None:
        """Patch a function's body: how a mutant is made. The text must be there."""
        source = self.truth("select pg_get_functiondef(%s::regproc) as source", function)["source"]
        assert old in source
        self.superuser.execute(source.replace(old, new).encode())
