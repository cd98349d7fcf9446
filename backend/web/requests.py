"""Reading JSON: whatever the bytes are, the answer is a value or a problem."""

from typing import Any, TypeVar

import msgspec
from litestar import Request

from backend.errors import InvalidInput, MalformedBody

T = TypeVar("T")


class BoundedRequest(Request[Any, Any, Any]):
    """Litestar's own answers 500 to text that is not UTF-8, and to values that are nested too deep."""

    async def json(self) -> Any:
        return read_json(await self.body(), object)


def read_json(body: bytes, kind: type[T]) -> T:
    """Raises MalformedBody, or InvalidInput where the JSON is not of this type."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise InvalidInput(str(error)) from None
    except RecursionError:
        raise MalformedBody("The body is nested too deep.") from None
    except (msgspec.DecodeError, UnicodeError) as error:
        raise MalformedBody(f"The body is not JSON: {error}.") from None
