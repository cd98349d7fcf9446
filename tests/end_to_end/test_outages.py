"""Postgres stops and starts: the service reports it, and recovers."""

import httpx

from tests.end_to_end.conftest import Product, person
from tests.end_to_end.test_bad_input import answer, problem


async def test_the_service_outlives_its_database(product: Product) -> None:
    await product.start("service")
    ready = f"{product.stack.api_url}/health/ready"
    cluster = product.stack.cluster
    async with person(product) as ada, httpx.AsyncClient(trust_env=False) as http:
        gate = f"/v1/reflections/{ada.reflection}/launch-gate"
        assert (await answer(ada, "GET", gate)).status_code == 200
        port = cluster.port
        cluster.stop(immediately=True)
        try:
            refused = await answer(ada, "GET", gate)
            assert problem(refused) == (503, "database_unavailable")
            assert int(refused.headers["retry-after"]) >= 1
            state = await http.get(ready)
            assert (state.status_code, state.json()["database"]) == (503, "unreachable")
            assert (await http.get(f"{product.stack.api_url}/health/live")).status_code == 200
        finally:
            cluster.start(port=port)
        await product.stack.processes.children[-1].await_url(ready)
        assert (await answer(ada, "GET", gate)).status_code == 200
