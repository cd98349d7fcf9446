"""A voice of the caller's at another provider."""

from uuid import UUID

from litestar import Controller, Response, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import Struct

from backend.context import AppContext
from backend.database.caller import Caller
from backend.domains.moves import moves
from backend.lifecycle.attempts import Attempt
from backend.lifecycle.values import Provider
from backend.web.answers import Answer
from backend.web.authentication import require_user
from backend.web.contract import CODES, EXAMPLE
from backend.web.error_codes import CLONING, PROVIDER, SAMPLE_FINDINGS
from backend.web.error_codes import ErrorCode as E
from backend.web.idempotency import IDEMPOTENT
from backend.web.rate_limits import POLICY


class NewMove(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Without a provider, to the project's. `switch_now`: a reflection that can speak changes over, too."""

    provider: Provider | None = None
    switch_now: bool = False


class MovesController(Controller):
    path = "/api/voices/{voice_id:uuid}/move"
    guards = (require_user,)
    tags = ("voices",)

    @post(
        status_code=202,
        middleware=IDEMPOTENT,
        opt={
            POLICY: "uploads",
            EXAMPLE: {"provider": "qwen", "switch_now": False},
            CODES: [
                *CLONING,
                *SAMPLE_FINDINGS,
                *PROVIDER,
                E.ALREADY_THERE,
                E.ALREADY_MOVED,
                E.MOVE_IN_PROGRESS,
                E.SAMPLE_MISSING,
                E.VOICE_WITHOUT_SAMPLE,
                E.VOICE_REMOVED,
                E.ILLEGAL_TRANSITION,
            ],
        },
    )
    async def move_voice(
        self,
        voice_id: FromPath[UUID],
        caller: NamedDependency[Caller],
        context: NamedDependency[AppContext],
        data: JSONBody[NewMove | None] = None,
    ) -> Response[Attempt]:
        """202 with the attempt that makes a voice of the same sample at the provider.

        A reflection that may be launched with the old voice keeps it, and the new voice is made in the
        library. Any other reflection of the voice gets the new attempt. 409 `already_there`,
        `already_moved`, `move_in_progress`, `sample_missing` or `voice_without_sample`; 422 where the
        provider would not take the sample.
        """
        wanted = data or NewMove()
        attempt = await moves.move_voice(
            context, caller, voice_id, wanted.provider, switch_now=wanted.switch_now
        )
        return Answer(Attempt.of(attempt), status_code=202)
