"""What routes answer: the response class of the service, and the pages of a list."""

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from litestar.enums import MediaType
from litestar.params import QueryParameter
from litestar.response import Response
from litestar.serialization import default_serializer

from backend.web.pages import PAGE
from backend.web.timestamps import encode_json

T = TypeVar("T")
NEXT_CURSOR = "Next-Cursor"
Limit = Annotated[int, QueryParameter(ge=1, le=PAGE, description="At most so many rows.")]
Cursor = Annotated[
    str | None,
    QueryParameter(description="The Next-Cursor of the page before; without it, the first page."),
]


class Answer(Response[T]):
    """The response of every route: JSON with timestamps in their one form."""

    def render(
        self, content: Any, media_type: str, enc_hook: Callable[[Any], Any] = default_serializer
    ) -> bytes:
        if media_type == MediaType.JSON and not isinstance(content, str | bytes):
            return encode_json(content, enc_hook)
        return super().render(content, media_type, enc_hook)


def listed(rows: list[T], cursor: str | None) -> Answer[list[T]]:
    return Answer(rows, headers={NEXT_CURSOR: cursor} if cursor else {})
