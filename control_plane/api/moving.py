"""Moving out and in: a tenant as one file, and a tenant from one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Annotated, Any

from fastapi import Header, Request
from fastapi.routing import APIRoute
from sqlalchemy import Connection
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Receive, Scope, Send

from control_plane.api.answers import json_answer
from control_plane.api.auth import Caller, KeyReader, TenantReader, TenantWriter
from control_plane.api.bodies import Export
from control_plane.api.frame import UPLOAD_PATH, is_upload
from control_plane.api.plane import CurrentPlane, Plane
from control_plane.api.routing import make_router
from control_plane.api.tenants import may_open
from control_plane.domain.tenants import Epoch, Tenant
from control_plane.errors import CloudError, nearest
from control_plane.moving import exports
from control_plane.moving.form import Upload
from control_plane.moving.imports import (
    UPLOADED,
    Import,
    bring_in,
    file_max_bytes,
    require_free,
    require_good_passphrase,
)
from control_plane.moving.to_disk import too_large
from control_plane.store import epochs, tenants
from control_plane.store.record import record
from instance.core.portable import DATABASE, MEDIA_TYPE, SUFFIX, Packed

SILENCE_S = 60.0  # that a reader of an export may take for a megabyte
FORM_OVERHEAD_BYTES = 128 << 10  # what a form may have around its file
FORM_FIELDS = ("slug", "plan", "region", "passphrase", "account")

router = make_router("moving")


@router.post("/api/tenants/{slug}/export", response_class=Response)
async def export_tenant(slug: str, body: Export, caller: TenantReader, _: KeyReader, plane: CurrentPlane) -> Response:
    """One file with database, settings, keys' hashes and, under the passphrase, secrets. A sleeping tenant is not woken."""
    return await _export(slug, body.passphrase, caller, plane)


@router.get("/api/tenants/{slug}/export", response_class=Response)
async def download_tenant(
    slug: str,
    caller: TenantReader,
    _: KeyReader,
    plane: CurrentPlane,
    x_stockyard_passphrase: Annotated[str | None, Header()] = None,
) -> Response:
    """The same, with the passphrase in `X-Stockyard-Passphrase`: an address would be written to logs."""
    return await _export(slug, require_good_passphrase(x_stockyard_passphrase), caller, plane)


async def _export(slug: str, passphrase: str, caller: Caller, plane: Plane) -> Response:
    def read(connection: Connection) -> tuple[Tenant, list[Epoch]]:
        return tenants.get(connection, slug, account=caller.account), epochs.of(connection, slug)

    tenant, lives = await plane.database.read(read)
    async with AsyncExitStack() as stack:
        folder = await stack.enter_async_context(plane.room.work(slug))
        database = folder / DATABASE
        epoch = await exports.newest(plane.backups, tenant, lives, database)
        secrets = await plane.store.secrets(slug)
        packed = await exports.pack_tenant(tenant, epoch, database, secrets.secret_key, passphrase)
        await plane.database.write(lambda connection: _note(connection, caller, slug, epoch, packed.size))
        return _FileAnswer(packed, slug + SUFFIX, stack.pop_all())


def _note(connection: Connection, caller: Caller, slug: str, epoch: int, size: int) -> None:
    detail = {"epoch": epoch, "bytes": size}
    message = f"exported epoch {epoch} to a file"
    record(connection, actor=caller.actor, action="tenant.export", tenant=slug, message=message, detail=detail)


class _FileAnswer(Response):
    """Sends the file as fast as it is read; what it stands on is given back at the end, whatever that is."""

    def __init__(self, packed: Packed, name: str, held: AsyncExitStack) -> None:
        headers = {"Content-Disposition": f'attachment; filename="{name}"', "Content-Length": str(packed.size)}
        super().__init__(None, headers=headers, media_type=MEDIA_TYPE)
        self._packed = packed
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._held:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            chunks = self._packed.chunks()
            while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
                async with asyncio.timeout(SILENCE_S):
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b""})


# --- in --------------------------------------------------------------------------------------------------------------


class _UploadRoute(APIRoute):
    """Takes forms only: the same address takes JSON too, in `api/tenants.py`."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] == "http" and not is_upload(scope):
            return Match.NONE, {}
        return super().matches(scope)


async def import_tenant(request: Request, caller: TenantWriter, plane: CurrentPlane) -> Response:
    """Open a tenant from an exported file; the answer is that of any tenant that is opened."""
    upload = Upload(request.headers["content-type"], _bounded(request, plane))
    fields = await upload.fields()
    for name in fields:
        if name not in FORM_FIELDS:
            raise CloudError("unknown_field", f"unknown field `{name}`: {nearest(name, list(FORM_FIELDS))}", param=name)
    if not fields.get("slug"):
        raise CloudError("missing_field", "slug: it must stand before the file", param="slug")
    account, plan = await may_open(plane, caller, fields["slug"], fields.get("plan"), _number(fields.get("account")))
    passphrase = require_good_passphrase(fields.get("passphrase"))
    region = (fields.get("region") or plane.config.region)[:64]
    asked = Import(fields["slug"], plan, region, account.id, caller.actor, passphrase)
    await require_free(plane, asked)
    most = file_max_bytes(plane, plan)
    if int(request.headers.get("content-length", 0)) > most + FORM_OVERHEAD_BYTES:
        raise too_large(most)
    async with plane.room.work(asked.slug) as folder:
        await upload.save(folder / UPLOADED, most)
        answer: dict[str, Any] = await bring_in(plane, asked, folder, folder / UPLOADED)
    return json_answer(answer, 201)


async def _bounded(request: Request, plane: Plane) -> AsyncIterator[bytes]:
    """The body, cut off beyond what any plan has room for."""
    most = max(file_max_bytes(plane, plan) for plan in plane.config.plans) + FORM_OVERHEAD_BYTES
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > most:
            raise too_large(most)
        yield chunk


def _number(text: str | None) -> int | None:
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise CloudError("invalid_value", "account: must be a number", param="account")
    return int(text)


router.routes.append(
    _UploadRoute(
        UPLOAD_PATH,
        import_tenant,
        methods=["POST"],
        status_code=201,
        dependencies=router.dependencies,
        include_in_schema=False,
    )
)
