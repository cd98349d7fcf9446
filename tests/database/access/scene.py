"""Two users with a row in each table and an object in each bucket, and a stranger who owns nothing.

Each of the two is the admin of an organization; a member of the first owns nothing either.
"""

from uuid import UUID, uuid4

from psycopg.rows import tuple_row

from tests.fixture import Fixture

BUCKETS = (
    "voice-samples", "voice-previews", "speeches", "recordings", "deep-fakes", "local-voices",
    "reference-voices", "consent-anchors",
)  # fmt: skip


SECRET = "whsec_" + "A" * 43 + "="


class People:
    def __init__(self, given: Fixture) -> None:
        self.given, self.database = given, given.database
        self.owner, self.other, self.stranger = given.user(), given.user(), given.user()
        self.member = given.user()
        self.organization, self.employee = self.hire(self.owner)
        self.other_organization, self.other_employee = self.hire(self.other)
        given.add_member(self.organization, self.member)

    def hire(self, admin: UUID) -> tuple[UUID, UUID]:
        """An organization with an employee who was called."""
        organization = self.given.organization(admin)
        employee = self.given.employee(organization)
        self.given.superuser.execute("insert into public.calls (employee_id) values (%s)", (employee,))
        self.given.one(
            "select * from voice_clone.create_webhook(gen_random_uuid(), %s, 'u', %s, %s)",
            admin, SECRET, organization,
        )  # fmt: skip
        self.given.employee_consent(employee, admin)
        self.given.enroll(self.given.clone_recording(employee, admin))
        return organization, employee


class Scene(People):
    def __init__(self, given: Fixture) -> None:
        super().__init__(given)
        self.take_down_a_voice()
        self.reflection, _ = (self.settle(user) for user in (self.owner, self.other))
        given.one("select voice_clone.set_slots('local', '', 100)")
        for bucket in BUCKETS:
            for user in (self.owner, self.other):
                given.superuser.execute(
                    "insert into storage.objects (bucket_id, name) values (%s, %s)", (bucket, f"{user}/a.wav")
                )
        given.superuser.execute(
            "insert into voice_clone.sweep_errors (row_id, kind, error, retry_at)"
            " values (%s, 'x', 'x', now())",
            (self.owner,),
        )
        given.superuser.execute(
            "insert into voice_clone.recording_clones (employee_id, object_version, sweep_at)"
            " values (%s, 'x', now() + interval '1 h')",
            (self.employee,),
        )
        given.one(
            "select * from voice_clone.receive_recording(%s, %s, %s, now(), 1, 1, %s)",
            f"AC{0:032x}", f"CA{0:032x}", f"RE{0:032x}", self.organization,
        )  # fmt: skip
        given.superuser.execute(
            "select voice_clone.note_provider_error(id, 'process', 'local', 'x', 429, 'x', 'x', 'x')"
            " from public.voice_clone_attempts limit 1"
        )
        self.remove_a_preview()
        self.fill_queues()

    def settle(self, user: UUID) -> UUID:
        """A launched voice, whose reflection is returned, a deleted one, an upload, and internal rows."""
        given = self.given
        given.one("select * from voice_clone.open_challenge(%s, 'en', 1, 'Say this.')", user)
        given.one(
            "select * from voice_clone.create_webhook(gen_random_uuid(), %s, 'u', %s)",
            user, SECRET,
        )  # fmt: skip
        deleted = given.launchable(user, given.reflection(user))
        voice = given.truth("select id from public.voices where attempt_id = %s", deleted)["id"]
        given.one("select voice_clone.delete_voice(%s, %s)", voice, user)
        reflection = given.reflection(user)
        launched = given.launchable(user, reflection)
        sample = given.attempt(launched)["sample_id"]
        request = "select * from voice_clone.request_speech(%s, %s, %s, 'local', '', 'Hello.', 'Ada')"
        given.one(request, uuid4(), user, sample)
        given.one("select * from voice_clone.start_session(%s, %s)", reflection, user)
        given.open(user, reflection)
        for _ in range(2):  # one is processed, one waits for its turn
            attempt = given.queued(user, given.reflection(user))
            given.one("select * from voice_clone.claim_attempt(%s, 'worker', 60, 1, true)", attempt)
        given.one("select * from voice_clone.claim_idempotency_key(%s, 'k', '')", user)
        given.one("select voice_clone.keep_manifest(sha256('audio'), 'x')")
        given.superuser.execute("select operations.anchor_consents()")
        given.superuser.execute(
            "insert into voice_clone.takedowns (subject_id, attempts, reason) values (%s, '{}', 'a claim')",
            (reflection,),
        )
        given.one("select * from voice_clone.use_rate_limit(%s, 'speech', 1, 60, 1)", user)
        given.one("select voice_clone.report_consumer(%s, 'host', '{q}', false)", uuid4())
        given.one("select voice_clone.request_erasure(%s)", given.user())
        given.superuser.execute("select operations.place_hold(%s, 'a claim')", (given.user(),))
        given.one(
            "select * from voice_clone.receive_legacy_event('voice_clone_outbox', %s, %s, '{}')",
            str(user),
            reflection,
        )
        return reflection

    def remove_a_preview(self) -> None:
        """An object of each user that is being removed: nobody reads it any more."""
        for user in (self.owner, self.other):
            folder = f"{user}/{uuid4()}"
            self.given.superuser.execute(
                "insert into storage.objects (bucket_id, name) values ('voice-previews', %s)",
                (f"{folder}/a.wav",),
            )
            self.given.superuser.execute(
                "insert into voice_clone.object_removals (bucket, folder, final_at, sweep_at)"
                " values ('voice-previews', %s, now() + interval '1 day', now() + interval '1 day')",
                (folder,),
            )

    def take_down_a_voice(self) -> None:
        """What it has said, for each user: nobody reads it while the notice is in force."""
        given = self.given
        for user in (self.owner, self.other):
            attempt, job = given.launchable(user, given.reflection(user)), uuid4()
            sample = given.attempt(attempt)["sample_id"]
            request = "select * from voice_clone.request_speech(%s, %s, %s, 'local', '', 'Hello.', 'Ada')"
            given.one(request, job, user, sample)
            given.superuser.execute(
                "insert into storage.objects (bucket_id, name) values ('speeches', %s)",
                (f"{user}/{job}/a.wav",),
            )
            given.superuser.execute("select operations.take_down(%s, 'a claim', true)", (attempt,))

    def fill_queues(self) -> None:
        given = self.given
        given.one(
            "select voice_clone.send_messages('voice_mirror', array['{}'::jsonb], 100000)",
        )
        for (queue,) in given.superuser.cursor(row_factory=tuple_row).execute(
            "select name from voice_clone.queues"
        ):
            given.superuser.execute(f"select pgmq.send('{queue}', '{{}}'::jsonb, 0)".encode())
            given.superuser.execute(
                f"insert into pgmq.a_{queue} (msg_id, vt, message) values (0, now(), '{{}}')".encode()
            )
        given.superuser.execute(
            "with run as (insert into voice_clone.reconciliations (provider, region, accounts)"
            " values ('qwen', '', '{a}') returning id)"
            " insert into voice_clone.listed_voices (run, provider_voice_id) select id, 'v' from run"
        )
        given.superuser.execute(
            "insert into voice_clone.dead_letters (queue, message_id, message, reads, reason)"
            " values ('voice_mirror', 1, '{}', 5, 'budget_used')"
        )
