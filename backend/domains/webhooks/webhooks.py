"""Webhooks as their owners see them: registered, listed, deleted, enabled again; secrets and replays."""

from datetime import datetime
from uuid import UUID

from msgspec import Struct

from backend.context import AppContext
from backend.database.caller import Caller
from backend.database.pool import required
from backend.database.queries import load_queries
from backend.domains.webhooks.signing import new_secret
from backend.errors import NotFound
from backend.lifecycle.values import DeliveryStatus, WebhookStatus
from backend.web.addresses import parse_url, require_possible
from backend.web.idempotency import new_id, once
from backend.web.pages import Page

queries = load_queries(__file__)


class Webhook(Struct, frozen=True, kw_only=True):
    """`disabled_reason`: failing, when no delivery succeeded for days; gone, when its server answered 410."""

    id: UUID
    organization_id: UUID | None  # null for the caller's own
    url: str
    status: WebhookStatus
    disabled_reason: str | None
    disabled_at: datetime | None
    failing_since: datetime | None
    created_at: datetime


class NewWebhook(Struct, frozen=True, kw_only=True):
    """The secret is in no other answer."""

    id: UUID
    organization_id: UUID | None
    url: str
    status: WebhookStatus
    created_at: datetime
    secret: str


class Rotation(Struct, frozen=True, kw_only=True):
    """The new secret, and until when the one before signs beside it."""

    secret: str
    previous_expires_at: datetime


class WebhookDelivery(Struct, frozen=True, kw_only=True):
    """One event: what it says, and how its delivery goes. `due_at`: of the next try."""

    event_id: int
    attempt_id: UUID
    reflection_id: UUID | None
    employee_id: UUID | None
    voice_id: UUID
    version: int
    events: list[str]
    recorded_at: datetime
    status: DeliveryStatus
    try_count: int
    tried_at: datetime | None
    response_status: int | None
    error_code: str | None
    finished_at: datetime | None
    due_at: datetime | None


async def create_webhook(
    context: AppContext, caller: Caller, url: str, organization_id: UUID | None
) -> NewWebhook:
    """Raises AddressRefused. A host name is resolved, and its addresses are checked, at each delivery."""
    address = parse_url(url)
    require_possible(address, context.settings.network.allowed)
    parameters = {
        "webhook": new_id(),
        "user": caller.user_id,
        "url": str(address.url),
        "organization": organization_id,
        "secret": new_secret(),
    }
    return required(await once(context.database, queries.create, parameters, row=NewWebhook))


async def list_webhooks(
    context: AppContext, caller: Caller, organization_id: UUID | None, page: Page
) -> list[Webhook]:
    """The caller's own, or those of an organization, for its admins."""
    parameters = {"user": caller.user_id, "organization": organization_id, **page.parameters}
    if organization_id is not None:
        await context.database.execute(queries.require_admin, parameters)
    return await context.database.as_caller(caller).fetch_all(queries.all, parameters, row=Webhook)


async def find_webhook(context: AppContext, caller: Caller, webhook_id: UUID) -> Webhook:
    mine = context.database.as_caller(caller)
    found = await mine.fetch_one(queries.one, {"webhook": webhook_id}, row=Webhook)
    if found is None:
        raise NotFound("There is no such webhook.")
    return found


async def delete_webhook(context: AppContext, caller: Caller, webhook_id: UUID) -> None:
    parameters = {"webhook": webhook_id, "user": caller.user_id}
    if not await context.database.fetch_value(queries.delete, parameters, of=bool):
        raise NotFound("There is no such webhook.")


async def rotate_secret(context: AppContext, caller: Caller, webhook_id: UUID) -> Rotation:
    parameters = {"webhook": webhook_id, "user": caller.user_id, "secret": new_secret()}
    return required(await once(context.database, queries.rotate, parameters, row=Rotation))


async def enable_webhook(context: AppContext, caller: Caller, webhook_id: UUID) -> Webhook:
    parameters = {"webhook": webhook_id, "user": caller.user_id}
    return required(await context.database.fetch_one(queries.enable, parameters, row=Webhook))


async def list_deliveries(
    context: AppContext, caller: Caller, webhook_id: UUID, page: Page
) -> list[WebhookDelivery]:
    await find_webhook(context, caller, webhook_id)
    parameters = {"webhook": webhook_id, "before": page.number, "limit": page.limit + 1}
    mine = context.database.as_caller(caller)
    return await mine.fetch_all(queries.deliveries, parameters, row=WebhookDelivery)


async def replay_event(
    context: AppContext, caller: Caller, webhook_id: UUID, event_id: int
) -> WebhookDelivery:
    parameters = {"webhook": webhook_id, "user": caller.user_id, "event": event_id}
    return required(await context.database.fetch_one(queries.replay, parameters, row=WebhookDelivery))
