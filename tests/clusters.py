"""A migrated cluster, built once and cached, and databases cloned from it."""

import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from zlib import crc32

import msgspec
import pytest

from scripts.local.supabase.postgres import (
    DEFAULT_VERSION,
    FOLDERS,
    SUPERUSER,
    Cluster,
    bootstrap_scripts,
    bootstrap_version,
)
from scripts.migrations import MIGRATIONS, ROOT, push_migrations

CACHE = ROOT / ".local" / "cache"
MEMORY = Path("/dev/shm")  # noqa: S108 - a file system in memory, where there is one
NEEDED_BYTES = 8 << 30
SPEED = {
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
}  # tests do not lose power
_numbers = itertools.count(1)


class Database(msgspec.Struct, frozen=True):
    """One migrated database; each field is a connection string."""

    cluster: Cluster
    name: str
    superuser: str
    postgres: str
    service: str

    def dsn(self, role: str) -> str:
        """For any other login role: authenticator, supabase_auth_admin, supabase_storage_admin."""
        return self.cluster.dsn(role, self.name)


class Kind(msgspec.Struct, frozen=True):
    """A kind of cluster: its Postgres, and the scripts that turn an empty database into a project."""

    version: int = DEFAULT_VERSION
    scripts: tuple[str, ...] = tuple(bootstrap_scripts())


DEFAULT = Kind()


def kinds_of(metafunc: pytest.Metafunc) -> dict[str, Kind]:
    """What a test of the database runs on, by name; empty: the default alone.

    On every packaged Postgres, or on one of them: half of the tests on each, tomorrow the other half.
    """
    kinds = {f"Postgres {version}": Kind(version) for version in FOLDERS}
    if metafunc.config.getoption("every_postgres"):
        return kinds
    return of_the_day(metafunc, kinds) if "POSTGRES_VERSION" not in os.environ else {}


def of_the_day(metafunc: pytest.Metafunc, kinds: dict[str, Kind]) -> dict[str, Kind]:
    """One of these, another tomorrow; empty where the run did not ask for that."""
    option = metafunc.config.getoption
    if option("postgres_of_the_day") and not option("every_postgres"):
        day = int(option("lifecycle_seed") or 0)
        name = sorted(kinds)[(crc32(metafunc.definition.nodeid.encode()) + day) % len(kinds)]
        return {name: kinds[name]}
    return {}


def template_key(kind: Kind) -> str:
    """A hash of everything in the template: the version, the bootstrap, the migrations."""
    digest = sha256(f"{kind.version} {bootstrap_version(kind.scripts)}".encode())
    for migration in sorted(MIGRATIONS.glob("*.sql")):
        digest.update(migration.name.encode())
        digest.update(migration.read_bytes())
    return digest.hexdigest()[:16]


def migrated_template(kind: Kind) -> Path:
    """A stopped cluster whose database `postgres` is bootstrapped and migrated. Never started: copied."""
    key = template_key(kind)
    finished = CACHE / f"cluster-{key}"
    if finished.exists():
        os.utime(finished)
        return finished
    CACHE.mkdir(parents=True, exist_ok=True)
    forget_old_templates()
    building = Path(tempfile.mkdtemp(prefix="building-", dir=CACHE))
    cluster = Cluster(building, kind.version, kind.scripts)
    try:
        cluster.start(settings=SPEED)
        push_migrations(cluster.dsn("postgres"))
        cluster.set_passwords()
        cluster.stop()
        if template_key(kind) != key:
            pytest.exit("supabase/migrations changed while they were being pushed: run again", 1)
        building.rename(finished)
    except OSError:
        if not finished.exists():  # else another run was faster
            raise
    finally:
        cluster.stop(immediately=True)
        shutil.rmtree(building, ignore_errors=True)
    return finished


def forget_old_templates(keep: int = 8) -> None:
    found = sorted(CACHE.glob("cluster-*"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in found[keep:]:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def temporary_directory() -> Iterator[Path]:
    """A directory for a cluster. As root, Postgres runs as user nobody, who may not enter tmp_path.

    In memory where there is room: to clone a database takes a tenth of the time that it takes on some disks.
    """
    parent = MEMORY if has_room(MEMORY) else None
    with tempfile.TemporaryDirectory(prefix="likeness-", dir=parent, ignore_cleanup_errors=True) as path:
        yield Path(path)


def has_room(folder: Path) -> bool:
    return os.access(folder, os.W_OK) and shutil.disk_usage(folder).free >= NEEDED_BYTES


@contextmanager
def started_cluster(kind: Kind) -> Iterator[Cluster]:
    with temporary_directory() as directory:
        started = copied_cluster(migrated_template(kind), directory, kind)
        started.start(settings=SPEED)
        yield started
        started.stop(immediately=True)


def copied_cluster(template: Path, directory: Path, kind: Kind = DEFAULT) -> Cluster:
    """As root the files belong to user nobody; shutil.copytree would change that."""
    directory.mkdir(exist_ok=True)
    directory.chmod(0o755)
    for path in (template, *template.rglob("*")):
        target = directory / path.relative_to(template)
        if path.is_dir():
            target.mkdir(exist_ok=True)
        else:
            shutil.copyfile(path, target)
        shutil.copymode(path, target)
        if os.geteuid() == 0:
            owner = path.stat()
            os.chown(target, owner.st_uid, owner.st_gid)
    return Cluster(directory, kind.version, kind.scripts)


@contextmanager
def cloned_database(cluster: Cluster) -> Iterator[Database]:
    """A migrated database, dropped at the end even if sessions are connected."""
    name = f"test_{next(_numbers)}"
    with cluster.connect(database="template1") as admin:
        admin.execute(f"create database {name} template postgres owner postgres strategy file_copy".encode())
    yield Database(
        cluster=cluster,
        name=name,
        superuser=cluster.dsn(SUPERUSER, name),
        postgres=cluster.dsn("postgres", name),
        service=cluster.dsn("voice_clone_service", name),
    )
    with cluster.connect(database="template1") as admin:
        admin.execute(f"drop database {name} with (force)".encode())
