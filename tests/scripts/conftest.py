"""One running Supabase for the tests of this folder, and signed-up users."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import msgspec
import pytest

from scripts.local.supabase.postgres import DEFAULT_VERSION, Cluster
from scripts.local.supabase.stack import Stack, running_stack
from scripts.migrations import push_migrations
from tests.clusters import SPEED, Database, cloned_database, copied_cluster, temporary_directory
from tests.scripts.existing_projects import application_folder


class Person(msgspec.Struct, frozen=True):
    """A signed-up user."""

    id: str
    email: str
    password: str
    access_token: str


@pytest.fixture(scope="session")
async def stack(template_directory: Path) -> AsyncIterator[Stack]:
    """A Supabase without the product on top; it starts from the migrated template."""
    with temporary_directory() as directory:
        copied_cluster(template_directory, directory / f"postgres-{DEFAULT_VERSION}")
        async with running_stack(directory, postgres_settings=SPEED) as running:
            yield running


@pytest.fixture(scope="session")
async def http(stack: Stack) -> AsyncIterator[httpx.AsyncClient]:
    """Plain HTTP to the gateway, with no key."""
    async with httpx.AsyncClient(base_url=stack.supabase_url, trust_env=False) as client:
        yield client


async def sign_up(stack: Stack, http: httpx.AsyncClient) -> Person:
    credentials = {"email": f"{uuid4().hex[:12]}@example.com", "password": uuid4().hex}
    answer = await http.post("/auth/v1/signup", headers={"apikey": stack.publishable_key}, json=credentials)
    body = answer.json()
    return Person(body["user"]["id"], **credentials, access_token=body["access_token"])


@pytest.fixture(scope="session")
async def ada(stack: Stack, http: httpx.AsyncClient) -> Person:
    return await sign_up(stack, http)


@pytest.fixture(scope="session")
async def bob(stack: Stack, http: httpx.AsyncClient) -> Person:
    return await sign_up(stack, http)


@pytest.fixture(scope="module")
def projects() -> Iterator[Cluster]:
    """A cluster whose database is a project that the CLI has pushed to, and that has no migration of ours."""
    with temporary_directory() as directory, temporary_directory() as application:
        cluster = Cluster(directory)
        cluster.start(settings=SPEED)
        push_migrations(cluster.dsn("postgres"), application_folder(application, "select 1"))
        with cluster.connect() as superuser:
            superuser.execute("delete from supabase_migrations.schema_migrations")
        yield cluster
        cluster.stop(immediately=True)


@pytest.fixture
def project(projects: Cluster) -> Iterator[Database]:
    with cloned_database(projects) as database:
        yield database
