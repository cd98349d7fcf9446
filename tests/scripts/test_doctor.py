"""`likeness doctor` on the local stack: nothing is wrong, and each planted fault is named with its remedy."""

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from backend.app.queues import QUEUES
from backend.checks.findings import Finding
from backend.checks.requests import Answer
from backend.database.probes import ConsumersState
from backend.settings.reach import is_public_host
from scripts.doctor.command import examine
from scripts.doctor.cors import lacks
from scripts.doctor.database import check_clock, numbers
from scripts.doctor.project import state_of
from scripts.doctor.tls import check_tls, unencrypted
from scripts.local.product import service_settings
from scripts.local.supabase.stack import Stack
from tests.clusters import temporary_directory
from tests.preloaded import command, launch
from tests.scripts.conftest import Person
from tests.scripts.poolers import PROGRAM, pooled
from tests.scripts.proxies import Authority, proxy
from tests.simulators import CARTESIA_KEY, MODAL_KEY, QWEN_KEY, Simulator, simulator

ALIVE = "select voice_clone.report_consumer(%s, 'host', %s, false)"


@pytest.fixture(scope="module")
def providers() -> Iterator[Simulator]:
    with simulator() as started:
        yield started


@pytest.fixture(scope="module")
async def environment(stack: Stack, providers: Simulator) -> AsyncIterator[dict[str, str]]:
    """The settings of a deployment whose service runs, and whose consumers have reported."""
    stack.simulator_url = providers.url
    stack.api_url = f"http://127.0.0.1:{stack.ports.take()}"
    env = {
        **service_settings(stack, "local"),
        "SUPABASE_JWKS_URL": "",
        "QWEN_API_KEY": QWEN_KEY,
        "PIPECAT_URL": "",
        "QWEN_REGION": "singapore",
        "QWEN_BASE_URL": f"{providers.url}/qwen/singapore",
        "CARTESIA_API_KEY": CARTESIA_KEY,
        "CARTESIA_BASE_URL": f"{providers.url}/cartesia",
        "MODAL_API_KEY": MODAL_KEY,
        "MODAL_URL": f"{providers.url}/modal",
        "ELEVENLABS_API_KEY": "",
    }
    child = await stack.processes.launch("service", launch("backend", env=env))
    await child.await_url(f"{stack.api_url}/health/ready")
    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        connection.execute(ALIVE, (uuid4(), [*QUEUES]))
    yield env
    await stack.processes.stop(child)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def places(
    stack: Stack, environment: dict[str, str], authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """Addresses that are not those of the deployment."""
    service, project = stack.database_url, stack.supabase_url
    unknown = Authority(tmp_path_factory.mktemp("unknown"))
    with ExitStack() as running:
        yield {
            "wrong_password": make_conninfo(service, password="wrong"),
            "wrong_name": make_conninfo(service, dbname="nowhere"),
            "superuser": stack.cluster.dsn(),
            "other_database": make_conninfo(service, dbname="template1"),
            "supabase": project,
            "authority": str(authority.file),
            "deaf_project": running.enter_context(proxy(project, preflights=False)),
            "deaf_service": running.enter_context(proxy(environment["SERVICE_URL"], preflights=False)),
            "expired": running.enter_context(proxy(project, tls=authority.context(days=-1))),
            "ending": running.enter_context(proxy(project, tls=authority.context(days=3))),
            "other_name": running.enter_context(proxy(project, tls=authority.context("other.example"))),
            "unknown": running.enter_context(proxy(project, tls=unknown.context())),
            "no_tls": project.replace("http:", "https:"),
        }


async def examined(env: dict[str, str], *, service: bool = True, consumers: bool = True) -> list[Finding]:
    return await asyncio.to_thread(examine, env, with_service=service, with_consumers=consumers)


async def faults(env: dict[str, str], **changes: str) -> list[str]:
    """What is wrong, as it is told; each with a remedy, and without a secret."""
    changed = {**env, **changes}
    found = [each for each in await examined(changed) if each.state != "ok"]
    told = [str(each) for each in found]
    assert all(each.remedy for each in found), told
    for name in ("SUPABASE_SECRET_KEY", "INTERNAL_TOKEN", "QWEN_API_KEY", "SUPABASE_JWT_SECRET"):
        assert changed[name] not in "\n".join(told)
    return told


@contextmanager
def planted(stack: Stack, fault: str, repair: str, *, role: str = "postgres") -> Iterator[None]:
    with psycopg.connect(stack.cluster.dsn(role), autocommit=True) as connection:
        connection.execute(fault.encode())
        try:
            yield
        finally:
            connection.execute(repair.encode())


async def test_nothing_is_wrong_with_a_sound_deployment(environment: dict[str, str]) -> None:
    findings = await examined(environment)
    assert [str(each) for each in findings if each.state != "ok"] == []
    assert {each.part for each in findings} == {
        "settings", "provider qwen", "provider cartesia", "provider modal", "database", "schema", "login",
        "pgmq", "row level security", "grants", "consumers", "clock of the database", "clock of the project",
        "notifications", "tokens", "data api", "cors",
        "buckets", "service", "visitors", "consents", "voice checks",
    }  # fmt: skip


async def test_the_command_tells_a_fault_as_json_and_ends_with_1(
    environment: dict[str, str], ada: Person, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text(ada.access_token)

    def run(*arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
        return command("doctor", *arguments, env={"COLUMNS": "200", **environment, **changes})

    sound, broken = await asyncio.gather(
        asyncio.to_thread(run, "--token-file", str(token)),
        asyncio.to_thread(run, "--json", DATABASE_URL="", CORS_ORIGINS="nonsense"),
    )
    assert sound.returncode == 0, sound.stdout + sound.stderr
    assert "0 faults" in sound.stdout
    assert ada.id in sound.stdout
    assert "read no row of a user" in sound.stdout
    assert broken.returncode == 1, broken.stderr
    report = json.loads(broken.stdout)
    named = {each["found"] for each in report["findings"] if each["state"] == "fault"}
    assert named == {"DATABASE_URL is missing", "CORS_ORIGINS is not an http(s) URL"}
    assert report["faults"] == 2
    assert all(each["remedy"] for each in report["findings"] if each["state"] == "fault")
    by_data_api = [each["found"] for each in report["findings"] if each["part"] in ("schema", "consumers")]
    schema, alive = by_data_api
    assert (schema, alive.partition(" ")[2]) == ("version 1", "alive"), "other tests may have consumers too"


WRONG = {
    "the password": ({"DATABASE_URL": "{wrong_password}"}, "the login or the password of"),
    "the database's port": ({"DATABASE_URL": "postgresql://voice_clone_service:s@127.0.0.1:1/postgres"},
        "Connection refused"),
    "the name of the database": ({"DATABASE_URL": "{wrong_name}"}, "there is no such database"),
    "the login": ({"DATABASE_URL": "{superuser}"}, "logs in as supabase_admin, an owner"),
    "the listener's database": ({"LISTEN_DATABASE_URL": "{other_database}"}, "notifications: none arrive"),
    "the secret key": ({"SUPABASE_SECRET_KEY": "sb_secret_of_another_project"},
        "SUPABASE_SECRET_KEY is refused"),
    "the kind of key": ({"SUPABASE_SECRET_KEY": "sb_publishable_of_this_project"},
        "SUPABASE_SECRET_KEY is a publishable key"),
    "the project's URL": ({"SUPABASE_URL": "http://127.0.0.1:1"}, "does not serve Storage"),
    "the publishable key": ({"SUPABASE_PUBLISHABLE_KEY": "sb_publishable_of_another"},
        "SUPABASE_PUBLISHABLE_KEY is refused"),
    "a URL": ({"SUPABASE_URL": "http://[::1"}, "SUPABASE_URL is not an http(s) URL"),
    "the keys' URL": ({"SUPABASE_JWKS_URL": "{supabase}/auth/v1/no-such-page"}, "has no list of keys"),
    "Qwen's key": ({"QWEN_API_KEY": "sk-of-nobody-0123456789"}, "provider qwen: provider_misconfigured"),
    "Modal's address": ({"MODAL_URL": "http://127.0.0.1:1"}, "provider modal: provider_unavailable"),
    "the default provider": ({"VOICE_PROVIDER": "elevenlabs"}, "ELEVENLABS_API_KEY"),
    "the internal token": ({"INTERNAL_TOKEN": "t" * 40}, "refuses INTERNAL_TOKEN"),
    "the service's address": ({"SERVICE_URL": "http://127.0.0.1:1"}, "service: http://127.0.0.1:1 cannot"),
    "a proxy that drops preflights of the project": ({"SUPABASE_URL": "{deaf_project}"},
        "https://app.example cannot call the Storage at {deaf_project}: the preflight is refused"),
    "a proxy that drops preflights of the service": ({"SERVICE_URL": "{deaf_service}"},
        "cannot call the service at {deaf_service}: the preflight is refused"),
    "a certificate that is over": ({"SUPABASE_URL": "{expired}"},
        "tls: SUPABASE_URL: localhost: certificate has expired. Renew"),
    "a certificate that is nearly over": ({"SUPABASE_URL": "{ending}"}, "certificate of localhost ends on"),
    "a certificate for another name": ({"SUPABASE_URL": "{other_name}"}, "not valid for 'localhost'. Get a"),
    "a certificate of nobody": ({"SUPABASE_URL": "{unknown}"}, "set SSL_CERT_FILE here and for the"),
    "https where there is none": ({"SUPABASE_URL": "{no_tls}"}, "speaks no TLS"),
    "the limit of a sample": ({"MAX_SAMPLE_BYTES": "20000000"}, "voice-samples accepts 10485760 bytes"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
async def test_a_wrong_setting_is_named(
    environment: dict[str, str], places: dict[str, str], monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", places["authority"])
    changes, told = WRONG[what]
    found = await faults(environment, **{name: text.format(**places) for name, text in changes.items()})
    assert any(told.format(**places) in each for each in found), found


CHECK = (
    "insert into voice_clone.voice_checks"
    " (provider, region, account, voices, error_code, created_at, due_at, sweep_at)"
)
SILENT = "update voice_clone.voice_checks set silent = 2 where account = 'planted'"
LATER = "now() + interval '1 h', now() + interval '1 h'"
BROKEN = {
    "a login that may do too much": (
        "alter role voice_clone_service bypassrls",
        "alter role voice_clone_service nobypassrls",
        "login: voice_clone_service bypasses row level security",
    ),
    "a schema of a later release": (
        "create or replace function voice_clone.schema_version()"
        " returns table (version int, oldest_service int) language sql immutable as 'select 2, 2'",
        "create or replace function voice_clone.schema_version()"
        " returns table (version int, oldest_service int)"
        " language sql immutable set search_path = '' rows 1 as ' select 1, 1 '",
        "schema: version 2 is too new",
    ),
    "a table without row level security": (
        "alter table public.voices disable row level security",
        "alter table public.voices enable row level security",
        "row level security: it is off for voices",
    ),
    "a table that clients write": (
        "grant update on public.voice_clone_attempts to authenticated",
        "revoke update on public.voice_clone_attempts from authenticated",
        "authenticated: update on voice_clone_attempts",
    ),
    "a table behind the functions that clients read": (
        "grant select on voice_clone.enrollments to anon",
        "revoke select on voice_clone.enrollments from anon",
        "anon: select on voice_clone.enrollments",
    ),
    "rows that everyone reads": (
        "create policy everyone on public.reflections for select to anon using (true);"
        " grant select on public.reflections to anon;"
        " insert into public.reflections (user_id, name) select id, 'Planted' from auth.users limit 1",
        "drop policy everyone on public.reflections; revoke select on public.reflections from anon;"
        " delete from public.reflections where name = 'Planted'",
        "visitors: everyone reads rows of reflections",
    ),
    "a function that the service may not call": (
        "revoke execute on function voice_clone.claim_attempt from voice_clone_backend",
        "grant execute on function voice_clone.claim_attempt to voice_clone_backend",
        "parts are missing or disabled: function voice_clone.claim_attempt",
    ),
    "a trigger that was left disabled": (
        "alter table public.reflections disable trigger voice_clone_protect_mirror_keys",
        "alter table public.reflections enable trigger voice_clone_protect_mirror_keys",
        "trigger voice_clone_protect_mirror_keys on",
    ),
    "consumers that are gone": (
        "update voice_clone.consumers set seen_at = now() - interval '2 minutes'",
        "update voice_clone.consumers set seen_at = now()",
        "consumers: none since",
    ),
    "an account whose voices could not be checked": (
        f"{CHECK} values ('elevenlabs', '', 'planted', 3, 'all_voices_missing', now(), {LATER})",
        "delete from voice_clone.voice_checks where account = 'planted'",
        "voice checks: the 3 voices at elevenlabs were last checked 0 hours ago: all_voices_missing",
    ),
    "voices that were not checked for days": (
        f"{CHECK} values ('qwen', 'beijing', 'planted', 2, null, now() - interval '4 days', {LATER})",
        "delete from voice_clone.voice_checks where account = 'planted'",
        "voice checks: the 2 voices at qwen beijing were last checked 96 hours ago: no consumer handled it",
    ),
    "voices that do not speak": (
        f"{CHECK} values ('qwen', 'beijing', 'planted', 9, null, now(), {LATER}); {SILENT}",
        "delete from voice_clone.voice_checks where account = 'planted'",
        "voice checks: 2 voices at qwen beijing are silent: they did not speak when they were made to,"
        " or may be deleted there as unused",
    ),
    "a queue that nobody reads": (
        "update voice_clone.consumers set queues = array_remove(queues, 'voice_preview')",
        "update voice_clone.consumers set queues = queues || '{voice_preview}'",
        "consumers: none for voice_preview",
    ),
}
IN_STORAGE = {
    "a bucket that is public": (
        "update storage.buckets set public = true where id = 'recordings'",
        "update storage.buckets set public = false where id = 'recordings'",
        "buckets: open to everyone: recordings",
    ),
    "a bucket that is too small": (
        "update storage.buckets set file_size_limit = 1000 where id = 'speeches'",
        "update storage.buckets set file_size_limit = 52428800 where id = 'speeches'",
        "buckets: speeches accepts 1000 bytes",
    ),
    "a bucket that refuses what the service stores": (
        "update storage.buckets set allowed_mime_types = '{image/png}' where id = 'deep-fakes'",
        "update storage.buckets set allowed_mime_types = '{application/json}' where id = 'deep-fakes'",
        "buckets: deep-fakes does not accept application/json",
    ),
    "a bucket that is missing": (
        "update storage.buckets set id = 'elsewhere', name = 'elsewhere' where id = 'deep-fakes'",
        "update storage.buckets set id = 'deep-fakes', name = 'deep-fakes' where id = 'elsewhere'",
        "buckets: missing: deep-fakes",
    ),
}


@pytest.mark.parametrize("what", {**BROKEN, **IN_STORAGE})
async def test_a_broken_project_is_named(
    environment: dict[str, str], stack: Stack, ada: Person, what: str
) -> None:
    fault, repair, told = {**BROKEN, **IN_STORAGE}[what]
    role = "supabase_admin" if what in (*IN_STORAGE, "a login that may do too much") else "postgres"
    with planted(stack, fault, repair, role=role):
        found = await faults(environment)
    assert any(told in each for each in found), found


async def test_a_sound_project_with_tls_has_no_fault(
    environment: dict[str, str], stack: Stack, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    with proxy(stack.supabase_url, tls=authority.context()) as url:
        findings = await examined({**environment, "SUPABASE_URL": url})
    assert [str(each) for each in findings if each.state != "ok"] == []
    assert next(each.found for each in findings if each.part == "tls").startswith("localhost, until ")


def test_only_this_machine_and_private_networks_need_no_tls() -> None:
    hosts = ("localhost", "127.0.0.1", "::1", "10.0.0.7", "kong", "db.internal", "8.8.8.8", "abc.supabase.co")
    assert [host for host in hosts if is_public_host(host)] == ["8.8.8.8", "abc.supabase.co"]
    (told,) = check_tls("SUPABASE_URL", "http://abc.supabase.co")
    assert "is not https" in told.found
    assert "sslmode=require" in unencrypted("db.abc.supabase.co").remedy


@pytest.mark.skipif(PROGRAM is None, reason="needs PgBouncer: apt-get install pgbouncer")
async def test_a_pooler_is_named_with_what_its_mode_means(environment: dict[str, str], stack: Stack) -> None:
    with temporary_directory() as folder, pooled(folder, stack.database_url) as pooler:
        env = {**environment, "DATABASE_PREPARE_THRESHOLD": ""}
        alone = await faults(env, DATABASE_URL=pooler.transaction)
        wrong = await faults(env, LISTEN_DATABASE_URL=pooler.transaction)
        both = {"DATABASE_URL": pooler.transaction, "LISTEN_DATABASE_URL": pooler.session}
        prepared = await faults(environment, **both)
        told = [
            [each.found for each in await examined({**env, **changes}) if each.part == "pooler"]
            for changes in (both, {"DATABASE_URL": pooler.session})
        ]
        assert await faults(env, **both) == []
    assert [each.partition(":")[0] for each in alone] == ["pooler", "notifications"]
    assert "in transaction mode, such as PgBouncer: LISTEN does not work there" in alone[0]
    assert "LISTEN_DATABASE_URL is that of a pooler in transaction mode" in wrong[0]
    assert [each for each in prepared if "DATABASE_PREPARE_THRESHOLD" in each]
    assert told == [
        ["in transaction mode; LISTEN_DATABASE_URL has a session for LISTEN"],
        ["in session mode"],
    ]


@pytest.mark.parametrize(
    ("headers", "lacking"),
    [
        ({"access-control-allow-origin": "https://app.example"}, "PUT is not allowed"),
        ({"access-control-allow-origin": "https://other.example"}, "the origin is not allowed"),
        (
            {"access-control-allow-origin": "*", "access-control-allow-methods": "PUT",
             "access-control-allow-headers": "*"},
            "the header authorization is not allowed",
        ),
        (
            {"access-control-allow-origin": "*", "access-control-allow-methods": "GET, PUT",
             "access-control-allow-headers": "Authorization, X-Upsert"},
            "",
        ),
    ],
)  # fmt: skip
def test_an_answer_to_a_preflight_is_read_as_browsers_read_it(headers: dict[str, str], lacking: str) -> None:
    answer = Answer(204, headers, b"")
    assert lacks(answer, "https://app.example", "PUT", "authorization,x-upsert") == lacking


async def test_a_service_that_does_not_allow_the_origin_of_the_settings_is_named(
    environment: dict[str, str], stack: Stack
) -> None:
    """The service that runs was started with other origins."""
    url = f"http://127.0.0.1:{stack.ports.take()}"
    started = {**environment, "CORS_ORIGINS": "https://one.example", "PORT": url.rsplit(":", 1)[1]}
    child = await stack.processes.launch("other", launch("backend", env=started | {"SERVICE_URL": url}))
    try:
        await child.await_url(f"{url}/health/ready")
        now = {"SERVICE_URL": url, "CORS_ORIGINS": "https://one.example, https://two.example"}
        told = await faults(environment, **now)
    finally:
        await stack.processes.stop(child)
    assert [each.partition(" (HTTP")[0] for each in told] == [
        f"cors: a page of https://two.example cannot call the service at {url}: the preflight is refused"
    ]


async def test_what_does_not_answer_gets_no_good_word_for_its_cors(environment: dict[str, str]) -> None:
    dead = {"SUPABASE_URL": "http://127.0.0.1:1", "SERVICE_URL": "http://127.0.0.1:1"}
    assert [each for each in await examined({**environment, **dead}) if each.part == "cors"] == []


async def test_parts_that_do_not_run_can_be_left_out(environment: dict[str, str], stack: Stack) -> None:
    _, _, told = BROKEN["consumers that are gone"]
    with planted(stack, *BROKEN["consumers that are gone"][:2]):
        env = {**environment, "SERVICE_URL": "http://127.0.0.1:1"}
        findings = await examined(env, service=False, consumers=False)
    assert [str(each) for each in findings if each.state != "ok"] == [], told


@pytest.mark.parametrize(("seconds", "state"), [(0, "ok"), (9, "ok"), (-30, "fault"), (3600, "fault")])
def test_a_clock_that_differs_by_more_than_tokens_allow_is_a_fault(seconds: int, state: str) -> None:
    now = datetime.now(UTC)
    assert check_clock("database", now + timedelta(seconds=seconds), now).state == state


def test_versions_are_compared_by_their_numbers() -> None:
    assert numbers("1.10.0") > numbers("1.4.4") > numbers("1.4.3") > numbers("1.4")


def test_the_data_api_tells_of_consumers_what_sql_tells() -> None:
    assert state_of([]) == ConsumersState(0, None, sorted(QUEUES))
