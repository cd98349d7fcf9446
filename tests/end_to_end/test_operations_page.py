"""The operator's page in a real browser: tests/end_to_end/page/operations.mjs."""

import time
from pathlib import Path
from uuid import uuid4

import jwt

from tests.clusters import Database
from tests.database.situations import fail
from tests.end_to_end.conftest import Product
from tests.end_to_end.test_page import pytestmark, visit  # noqa: F401 - skips without a browser
from tests.fixture import Fixture

DEAD = """
select voice_clone.dead_letter_messages('voice_clone_process', array_agg(q.msg_id), array_agg(q.message),
  '{16}', '{<img src=x onerror=alert(1)>}')
from pgmq.q_voice_clone_process q where q.message ->> 'id' = %s
"""
STOPPED = """
insert into voice_clone.voice_checks (provider, region, account, voices, error_code, due_at, sweep_at)
values ('elevenlabs', '', 'a1b2c3', 812, 'all_voices_missing', now() + '1 hour', now() + '1 hour')
"""


async def test_every_scenario_of_the_operators_page(product: Product, sample: Path, tmp_path: Path) -> None:
    await product.start("service", RATE_LIMIT_SIGN_INS="30")
    key = product.stack.secrets.secret_key
    files = {"sample": str(sample), "directory": str(tmp_path)}
    await visit(
        product, "operations", {"plant": lambda: plant(product)}, side=2, secretKey=key,
        viewersToken=token(product, "viewer"), **files,
    )  # fmt: skip


def plant(product: Product) -> None:
    """Attempts that work, failed, are frozen, or have a dead letter; a check of voices that stopped."""
    cluster = product.stack.cluster
    database = Database(cluster, "postgres", cluster.dsn(), cluster.dsn(), product.stack.database_url)
    given = Fixture(database)
    try:
        user = given.user()
        for _ in range(6):
            given.launchable(user, given.reflection(user))
        fail(given, given.queued(user, given.reflection(user)))
        frozen = given.queued(user, given.reflection(user))
        given.truth("select operations.take_down(%s, 'Notice 17', true)", frozen)
        given.superuser.execute(STOPPED)
        given.truth(DEAD, str(given.queued(user, given.reflection(user))))
    finally:
        given.close()


def token(product: Product, role: str) -> str:
    """Of a user whose app_metadata has the role."""
    claims = {
        "sub": str(uuid4()), "role": "authenticated", "aud": "authenticated", "exp": time.time() + 600,
        "iss": f"{product.stack.supabase_url}/auth/v1", "app_metadata": {"likeness_role": role},
    }  # fmt: skip
    return jwt.encode(claims, product.stack.secrets.jwt_secret)
