"""An upload that said its name and language: its file alone makes the voice, whatever restarts meanwhile."""

from tests.end_to_end.bad_files import BAD_FILES
from tests.end_to_end.conftest import Product, person
from tests.end_to_end.test_bad_input import answer, problem
from tests.end_to_end.test_crashes import crash

DETAILS = {"name": "Ada by herself", "language": "en", "transcript": "The north wind."}
STATUS = "select * from public.voice_clone_attempts where id = %s and status = %s"


async def test_a_file_that_arrives_makes_the_voice_although_postgres_restarts(
    product: Product, prepared: bytes
) -> None:
    service = await product.start("service")
    async with person(product) as ada:
        upload = await ada.upload(prepared, **DETAILS)
        assert product.attempt(upload["attempt_id"])["status"] == "awaiting_upload"
        await crash(product, "postgres", service)
        await service.await_url(f"{product.stack.api_url}/health/ready")
        await product.start("consumers")
        ready = await product.until(STATUS, upload["attempt_id"], "ready")
        assert (ready["name"], ready["language"], ready["process_count"]) == (DETAILS["name"], "en", 1)
        sample = product.row("select * from public.voice_samples where id = %s", ready["sample_id"])
        assert (sample["status"], sample["transcript"]) == ("ready", DETAILS["transcript"])
        late = await ada.finalize(upload)
        assert (late.status_code, late.json()["voice_id"]) == (201, upload["voice_id"])


async def test_a_file_that_is_refused_says_why_and_another_may_follow(
    product: Product, prepared: bytes
) -> None:
    await product.start("service")
    await product.start("consumers")
    make, _, code = BAD_FILES["ten seconds of silence"]
    async with person(product) as ada:
        upload = await ada.upload(make(), **DETAILS)
        noted = "select * from public.voice_clone_attempts where id = %s and error_code is not null"
        row = await product.until(noted, upload["attempt_id"])
        assert (row["status"], row["error_code"]) == ("awaiting_upload", code)
        await ada.put(upload, prepared)
        ready = await product.until(STATUS, upload["attempt_id"], "ready")
        assert ready["error_code"] is None


async def test_a_name_and_a_language_are_given_together(product: Product) -> None:
    await product.start("service")
    async with person(product) as ada:
        body = {"consent_id": ada.consent, "content_type": "audio/wav", "bytes": 1000}
        for details in ({"name": "Ada"}, {"language": "en"}, {"transcript": "hello"}):
            refused = await answer(ada, "POST", "/api/clone/upload-url", json=body | details)
            assert problem(refused) == (422, "invalid_input")
        assert (await ada.open(**DETAILS))["upload_url"]
