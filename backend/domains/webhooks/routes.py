"""Routes of webhooks: a user, or an admin for an organization, registers addresses that get the transitions.

Of a user those of their attempts, of an organization those of attempts for its employees. A caller who
may not change a webhook may not read it: its address may have a secret in it.
"""

from typing import Annotated
from uuid import UUID

from litestar import Controller, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody
from msgspec import Meta, Struct

from backend.context import AppContext
from backend.database.caller import Caller
from backend.domains.webhooks import webhooks
from backend.domains.webhooks.webhooks import NewWebhook, Rotation, Webhook, WebhookDelivery
from backend.web.answers import Cursor, Limit, listed
from backend.web.authentication import require_user
from backend.web.contract import CODES, EXAMPLE
from backend.web.error_codes import ADMIN
from backend.web.error_codes import ErrorCode as E
from backend.web.idempotency import IDEMPOTENT
from backend.web.pages import NO_ID, PAGE, Page, by_time

LARGEST_EVENT = 2**63 - 1

EventId = Annotated[int, Meta(ge=1, le=LARGEST_EVENT)]


class WebhookAddress(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of the caller, or of an organization that they are an admin of."""

    url: Annotated[str, Meta(min_length=1, max_length=2000)]
    organization_id: UUID | None = None


class Replay(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    event_id: EventId


class WebhooksController(Controller):
    path = "/v1/webhooks"
    guards = (require_user,)
    tags = ("webhooks",)

    @post(
        middleware=IDEMPOTENT,
        opt={
            EXAMPLE: {"url": "https://example.org/likeness"},
            CODES: [*ADMIN, E.TOO_MANY_WEBHOOKS, E.ADDRESS_REFUSED],
        },
    )
    async def create_webhook(
        self,
        data: JSONBody[WebhookAddress],
        caller: NamedDependency[Caller],
        context: NamedDependency[AppContext],
    ) -> NewWebhook:
        """201 with its secret, which no other answer has. Signed as the specification Standard Webhooks says.

        For an organization by an admin of it, 403 for a member. 409 `too_many_webhooks` with ten of them.
        """
        return await webhooks.create_webhook(context, caller, data.url, data.organization_id)

    @get(opt={CODES: ADMIN})
    async def list_webhooks(
        self,
        caller: NamedDependency[Caller],
        context: NamedDependency[AppContext],
        organization_id: FromQuery[UUID | None] = None,
        limit: Limit = PAGE,
        cursor: Cursor = None,
    ) -> Response[list[Webhook]]:
        """The caller's own, or those of an organization for its admins; newest first, by pages."""
        page = Page.of(cursor, limit)
        rows = await webhooks.list_webhooks(context, caller, organization_id, page)
        return listed(*page.cut(rows, by_time))

    @get("/{webhook_id:uuid}", opt={CODES: [E.NOT_FOUND]})
    async def get_webhook(
        self,
        webhook_id: FromPath[UUID],
        caller: NamedDependency[Caller],
        context: NamedDependency[AppContext],
    ) -> Webhook:
        """One webhook, without its secret."""
        return await webhooks.find_webhook(context, caller, webhook_id)

    @delete("/{webhook_id:uuid}", opt={CODES: ADMIN})
    async def delete_webhook(
        self,
        webhook_id: FromPath[UUID],
        caller: NamedDependency[Caller],
        context: NamedDependency[AppContext],
    ) -> None:
        """With its deliveries. A request that is on its way still arrives."""
        await webhooks.delete_webhook(context, caller, webhook_id)

    @post("/{webhook_id:uuid}/rotate-secret", middleware=IDEMPOTENT, opt={CODES: ADMIN})
    async def rotate_secret(
        self,
        webhook_id: FromPath[UUID],
        caller: NamedDependency[Caller],
        context: NamedDependency[AppContext],
    ) -> Rotation:
        """201 with another secret. For a day the one before signs each delivery as well."""
        return await webhooks.rotate_secret(context, caller, webhook_id)

    @post("/{webhook_id:uuid}/enable", status_code=200, opt={CODES: ADMIN})
    async def enable_webhook(
        self,
        webhook_id: FromPath[UUID],
        caller: NamedDependency[Caller],
        context: NamedDependency[AppContext],
    ) -> Webhook:
        """What happened while it was disabled is not sent by itself: replay it."""
        return await webhooks.enable_webhook(context, caller, webhook_id)

    @get("/{webhook_id:uuid}/deliveries", opt={CODES: [E.NOT_FOUND]})
    async def list_deliveries(
        self,
        webhook_id: FromPath[UUID],
        caller: NamedDependency[Caller],
        context: NamedDependency[AppContext],
        limit: Limit = PAGE,
        cursor: Cursor = None,
    ) -> Response[list[WebhookDelivery]]:
        """Newest event first, by pages."""
        page = Page.of(cursor, limit)
        rows = await webhooks.list_deliveries(context, caller, webhook_id, page)
        return listed(*page.cut(rows, lambda delivery: (delivery.event_id, NO_ID)))

    @post(
        "/{webhook_id:uuid}/replay",
        status_code=202,
        opt={EXAMPLE: {"event_id": 42}, CODES: [*ADMIN, E.WEBHOOK_DISABLED]},
    )
    async def replay_event(
        self,
        webhook_id: FromPath[UUID],
        data: JSONBody[Replay],
        caller: NamedDependency[Caller],
        context: NamedDependency[AppContext],
    ) -> WebhookDelivery:
        """202: an event of the owner's attempts is sent once more. 409 `webhook_disabled`."""
        return await webhooks.replay_event(context, caller, webhook_id, data.event_id)
