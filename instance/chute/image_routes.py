"""`/api/proxy/images`: images that were generated through this instance, under the links that answers gave."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from fastapi import APIRouter
from fastapi.responses import FileResponse

from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.chute.app import Chute
    from instance.chute.modules.other.imageproxy import ImageProxy


def image_router(chute: Chute) -> APIRouter:
    """The routes of this page. No key is asked for: who has the link may see the image, as with providers' own links."""
    routes = APIRouter(prefix="/api/proxy/images", tags=["proxy"])

    @routes.get("/{link}", response_class=FileResponse)
    async def stored_image(link: str) -> FileResponse:
        """A generated image, until it is deleted."""
        module: ImageProxy | None = chute.registry.slots["imageproxy"].running  # type: ignore[assignment]
        found = module.store.opened(link, time.time()) if module is not None and module.store is not None else None
        if found is None:
            raise StockyardError("not_found", "There is no image under this link, or not any more.")
        return FileResponse(
            found.path,
            media_type=found.mime_type,
            headers={"cache-control": "private, max-age=86400", "x-content-type-options": "nosniff"},
        )

    return routes
