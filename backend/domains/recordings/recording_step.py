"""The step of a recording: its audio is fetched from Twilio and stored as the employee's, under a lease."""

import asyncio
from base64 import b64encode
from typing import BinaryIO
from uuid import UUID

from backend.context import AppContext
from backend.database.backoff import outage_delay
from backend.domains.recordings.callbacks import media_urls, queries
from backend.domains.recordings.recording_leases import RecordingStep, claimed_recording
from backend.domains.samples.preparation import store, temporary_file
from backend.domains.samples.sample_step import hash_of
from backend.errors import AppError, DatabaseUnavailable, StaleLease, Unavailable
from backend.queues.outcomes import Done, Outcome
from backend.storage.buckets import RECORDING_BUCKET
from backend.storage.client import StorageRefused
from backend.web.addresses import AddressRefused
from backend.web.guarded_http import NO_RESPONSE, BodyTooLarge, GuardedResponse
from backend.web.logs import log
from backend.web.retry_after import retry_after

MISSING_BASE_SECONDS, MISSING_CAP_SECONDS = 5.0, 300.0  # Twilio may call before the recording is there
STALE = Done("stale_lease")
HEAD = 12  # bytes of a WAV file that say what it is


class RecordingRefused(AppError):  # noqa: N818 - as the other errors
    """The recording cannot be used. It is final."""

    status = 422
    code = "recording_refused"


class RecordingMissing(AppError):  # noqa: N818
    """Twilio has no such recording, or not yet."""

    status = 404
    code = "recording_not_found"


class TwilioUnavailable(Unavailable):
    """Twilio does not answer, or refuses our credentials."""

    code = "twilio_unavailable"


async def fetch_recording(
    context: AppContext, recording_id: UUID, /, *, message_id: int | None = None
) -> Outcome:
    """From the queue. The recording's row says what became of it."""
    async with claimed_recording(context, recording_id, message_id) as step:
        if not isinstance(step, RecordingStep):
            return step
        try:
            return await store_recording(step)
        except StaleLease:
            return Done("stale_lease")
        except DatabaseUnavailable:  # nothing was written: the lease ends, and the sweep moves it on
            raise
        except (RecordingRefused, AddressRefused) as error:
            log.warning("recording_refused", recording_id=str(recording_id), code=error.code)
            return await step.write(queries.fail, error.code, code=error.code, error=error.message)
        except (Unavailable, StorageRefused) as error:
            return await requeue_recording(
                step, error, outage_delay(step.work.waiting_seconds, error.retry_after), is_outage=True
            )
        except RecordingMissing as error:
            return await requeue_recording(
                step, error, missing_delay(step.work.process_count), is_outage=False
            )
        except asyncio.CancelledError:  # the caller left: the next one need not wait until the lease is over
            await asyncio.shield(requeue_recording(step, Unavailable(), 0.0, is_outage=True))
            raise
        except Exception:  # a bug: the budget limits the retries
            log.exception("recording_step_crashed", recording_id=str(recording_id))
            delay = missing_delay(step.work.process_count)
            return await requeue_recording(step, AppError(), delay, is_outage=False)


async def store_recording(step: RecordingStep) -> Outcome:
    """Raises an AppError; then nothing is written."""
    context, employee = step.context, step.work.employee_id
    async with temporary_file() as file:
        size = await download(step, file)
        require_wav(file)
        # All recordings of an employee have one object. While the lease is whole, no other worker writes it.
        if not await step.renew():
            raise StaleLease
        path = f"{employee}/{employee}.wav"
        # A worker that died may have stored it: another version of the same object would be cloned again.
        if step.epoch == 1 or not await is_stored(context, path, file, size):
            await store(context, file, path, "audio/wav", RECORDING_BUCKET)
    log.info("recording_stored", recording_id=str(step.work.recording_id), bytes=size)
    outcome = await step.write(queries.complete, "stored", bytes=size)
    if outcome == STALE:
        await context.database.execute(queries.remove_late, {"employee": employee})
    return outcome


async def download(step: RecordingStep, file: BinaryIO) -> int:
    """The credentials go to the configured host alone, and for the configured account."""
    twilio = step.context.settings.twilio
    if not twilio.is_configured:
        raise TwilioUnavailable("Twilio is not configured here.", internal="TWILIO_ACCOUNT_SID is missing")
    if step.work.account_sid != twilio.account_sid:
        raise RecordingRefused("The recording is of another account.", code="recording_of_another_account")
    _, url = media_urls(twilio, step.work.recording_sid)
    login = b64encode(f"{twilio.account_sid}:{twilio.auth_token}".encode()).decode()
    try:
        async with step.context.recordings.request(
            "GET", url, headers={"authorization": f"Basic {login}", "accept": "audio/wav"}
        ) as response:
            check(response)
            return await response.save(file, twilio.max_recording_bytes)
    except BodyTooLarge:
        most = twilio.max_recording_bytes
        raise RecordingRefused(
            f"The recording has more than {most} bytes.", code="recording_too_large"
        ) from None
    except NO_RESPONSE as error:
        raise TwilioUnavailable(internal=type(error).__name__) from error


async def is_stored(context: AppContext, path: str, file: BinaryIO, size: int) -> bool:
    """Whether the object has the very bytes of this file."""
    found = await context.storage.info(RECORDING_BUCKET, path)
    if found is None or found.size != size:
        return False
    async with temporary_file() as stored:
        if await context.storage.download_to(RECORDING_BUCKET, path, stored, size) != size:
            return False
        return await asyncio.to_thread(hash_of, stored) == await asyncio.to_thread(hash_of, file)


def check(response: GuardedResponse) -> None:
    if response.status == 200:
        return
    if response.status in (404, 410):
        raise RecordingMissing
    if response.status in (401, 403):
        log.error("twilio_refused", status=response.status, help="Check TWILIO_AUTH_TOKEN.")
    raise TwilioUnavailable(retry_after=retry_after(response.headers), internal=f"HTTP {response.status}")


def require_wav(file: BinaryIO) -> None:
    file.seek(0)
    head = file.read(HEAD)
    if not (head.startswith(b"RIFF") and head[8:] == b"WAVE"):
        raise RecordingRefused("What Twilio sent is no WAV file.", code="recording_unreadable")


def missing_delay(tries: int) -> float:
    return min(MISSING_CAP_SECONDS, MISSING_BASE_SECONDS * 2 ** (tries - 1))


async def requeue_recording(
    step: RecordingStep, error: AppError, delay: float, *, is_outage: bool
) -> Outcome:
    about = {"recording_id": str(step.work.recording_id), "code": error.code}
    log.warning("recording_not_fetched", **about, internal=error.internal)
    why = {"code": error.code, "error": error.message}
    return await step.write(queries.requeue, error.code, delay=delay, is_outage=is_outage, **why)
