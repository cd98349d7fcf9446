"""What the consumers call to clean up an enrollment that nobody works on."""

from uuid import UUID

from litestar import Controller, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from backend.auth import require_internal
from backend.cleanup import clean_up
from backend.leases import StepAnswer
from backend.parts import Parts
from backend.routes.internal import Delivery


class EnrollmentsController(Controller):
    path = "/internal/enrollments"
    guards = (require_internal,)
    include_in_schema = False

    @post("/{enrollment_id:uuid}/clean-up", status_code=200)
    async def clean_up(
        self, enrollment_id: FromPath[UUID], data: JSONBody[Delivery], parts: NamedDependency[Parts]
    ) -> StepAnswer:
        return await clean_up(parts, enrollment_id, message_id=data.msg_id)
