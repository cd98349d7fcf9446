"""The authenticated user on whose behalf a statement runs."""

from uuid import UUID

from msgspec import Struct


class Caller(Struct, frozen=True):
    """An authenticated user. `claims` is the JSON that row level security reads."""

    user_id: UUID
    claims: str
    token: str

    def __repr__(self) -> str:
        return f"<Caller {self.user_id}>"
