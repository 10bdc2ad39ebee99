"""`/api/studio/templates`: named, versioned prompts over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Depends
from fastapi import Query as QueryParameters
from pydantic import BaseModel, ConfigDict, Field, model_validator

from instance.chute.tokens import count_prompt_tokens
from instance.core.errors import StockyardError
from instance.core.principals import Principal
from instance.system.auth import require
from instance.system.json_response import Json
from instance.system.listing import Query, envelope, read_cursor, write_cursor
from instance.tack_room import store
from instance.tack_room.template import Status, Template, Variant, slug_of
from instance.tack_room.template_admin import TemplateAdmin
from instance.tack_room.template_diff import line_diff
from instance.tack_room.template_format import ContentFields
from instance.tack_room.template_lint import findings
from instance.tack_room.template_shown import DAYS_SHOWN, shown, shown_version
from instance.tack_room.template_table import NS_PER_DAY

if TYPE_CHECKING:
    from instance.tack_room.app import TackRoom
    from instance.tack_room.prompt import Prompt

Reader = Annotated[Principal, Depends(require("studio:read"))]
Writer = Annotated[Principal, Depends(require("studio:write"))]

Tag = Annotated[str, Field(min_length=1, max_length=64)]
Label = Annotated[str, Field(max_length=63)]
VersionNumber = Annotated[int, Field(ge=1, le=10**6)]
RENDER_MAX_CHARS = 1_000_000


class NewVersion(ContentFields):
    """A version: the content fields of the template format."""

    author: str = Field(default="", max_length=200)
    change_note: str = Field(default="", max_length=2000)
    label: Label = Field(default="", description="Label that points to this version from now on.")


class NewTemplate(NewVersion):
    """A template with its first version."""

    slug: str = Field(default="", max_length=63, description="Name in calls; made from `name` when left out.")
    name: str = Field(default="", max_length=200)
    description: str = Field(default="", max_length=2000)
    tags: list[Tag] = Field(default=[], max_length=32)
    status: Status = "active"

    @model_validator(mode="after")
    def _named(self) -> NewTemplate:
        self.slug = self.slug or slug_of(self.name)
        self.name = self.name or self.slug
        if not self.slug:
            raise ValueError("name it: `slug` or `name`")
        return self


class TemplateChange(BaseModel):
    """What `PUT` takes; what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    description: Annotated[str, Field(max_length=2000)] | None = None
    tags: Annotated[list[Tag], Field(max_length=32)] | None = None
    status: Status | None = None


class Share(BaseModel):
    """One of several versions that a label serves."""

    model_config = ConfigDict(extra="forbid")

    version: VersionNumber
    weight: float = Field(default=1.0, gt=0, le=1_000_000)
    name: str = Field(default="", max_length=64)


class Pointing(BaseModel):
    """Where a label points: one `version`, or `variants` that share the callers by weight."""

    model_config = ConfigDict(extra="forbid")

    version: VersionNumber | None = None
    variants: list[Share] | None = Field(default=None, min_length=1, max_length=16)

    @model_validator(mode="after")
    def _one_way(self) -> Pointing:
        if (self.version is None) == (self.variants is None):
            raise ValueError("give `version` or `variants`")
        return self

    def chosen(self) -> tuple[Variant, ...]:
        if self.version is not None:
            return (Variant(self.version),)
        return tuple(Variant(each.version, each.weight, each.name) for each in self.variants or ())


class Rendering(BaseModel):
    """What `render` takes."""

    model_config = ConfigDict(extra="forbid")

    variables: dict[str, Any] = {}
    version: VersionNumber | None = None
    label: Label = ""


class TemplatesQuery(Query):
    """What narrows the list."""

    limit: Annotated[int, Field(ge=1, le=500)] = 50
    offset: Annotated[int, Field(ge=0, le=10**9)] = 0
    cursor: Annotated[str | None, Field(max_length=256)] = None
    order: Literal["asc", "desc"] = "desc"
    tag: Annotated[str, Field(max_length=64)] = ""
    status: Status | None = None
    q: Annotated[str, Field(max_length=200, description="Words in slug, name or description.")] = ""


class VersionsQuery(Query):
    limit: Annotated[int, Field(ge=1, le=500)] = 50
    offset: Annotated[int, Field(ge=0, le=10**9)] = 0
    cursor: Annotated[str | None, Field(max_length=256)] = None


class WhichQuery(Query):
    version: Annotated[int | None, Field(ge=1, le=10**6)] = None
    label: Label = ""


class DiffQuery(Query):
    from_: Annotated[int, Field(alias="from", ge=1, le=10**6)]
    to: Annotated[int, Field(ge=1, le=10**6)]


class DeleteQuery(Query):
    purge: bool = False


def router(tack_room: TackRoom) -> APIRouter:
    """The routes of one Tack Room."""
    routes = APIRouter(prefix="/api/studio", tags=["studio"])
    core, table = tack_room.core, tack_room.templates
    admin = TemplateAdmin(core, table)

    async def row_of(template: Template, version: int) -> dict[str, Any]:
        row = await core.database.read(lambda connection: store.version_row(connection, template.id, version))
        if row is None:
            raise StockyardError("not_found", f"{template.slug!r} has no version {version}.")
        return row

    def which(template: Template, version: int | None, label: str) -> int:
        if version is not None:
            return version
        variant = template.choose(label or "latest", "")
        if variant is None:
            raise StockyardError("not_found", f"{template.slug!r} has no label {label!r}.")
        return variant.version

    async def prompt_of(template: Template, version: int) -> Prompt:
        prompt = await table.prompt(template, version)
        if prompt is None:
            raise StockyardError("not_found", f"{template.slug!r} has no version {version}.")
        return prompt

    async def calls() -> dict[int, int]:
        await table.flush()
        first = core.clock.wall_ns() // NS_PER_DAY - DAYS_SHOWN + 1
        return await core.database.read(lambda connection: store.calls_since(connection, first))

    @routes.get("/templates", summary="List templates")
    async def list_templates(query: Annotated[TemplatesQuery, QueryParameters()], _: Reader) -> Json:
        await table.load()
        found = [template for template in table.all() if _fits(template, query)]
        if query.order == "asc":
            found.reverse()
        start = query.offset
        if query.cursor:
            (last,) = read_cursor(query.cursor, 1)
            start = next((place + 1 for place, each in enumerate(found) if each.id == last), len(found))
        page = found[start : start + query.limit]
        counted = await calls()
        more = write_cursor(page[-1].id) if page and start + len(page) < len(found) else None
        rows = [shown(template, counted.get(template.id, 0)) for template in page]
        return Json(envelope("templates", rows, total=len(found), capped=False, next_cursor=more))

    @routes.post("/templates", status_code=201, summary="Make a template")
    async def create_template(principal: Writer, body: NewTemplate) -> Json:
        content, warnings = body.normalised()
        fields = body.model_dump(
            include={"slug", "name", "description", "tags", "status", "author", "change_note", "label"}
        )
        template = await admin.create(fields, content, principal)
        row = await row_of(template, 1)
        return Json(
            {**shown_version(template, 1, row), "state": template.status, "status": "created", "warnings": warnings},
            201,
        )

    @routes.get("/templates/{slug}", summary="One template with a version's content")
    async def read_template(slug: str, query: Annotated[WhichQuery, QueryParameters()], _: Reader) -> Json:
        template = await admin.one(slug)
        version = which(template, query.version, query.label)
        return Json(shown_version(template, version, await row_of(template, version)))

    @routes.put("/templates/{slug}", summary="Change a template's name, description, tags or status")
    async def change_template(slug: str, principal: Writer, body: TemplateChange) -> Json:
        fields = {name: value for name, value in body.model_dump(exclude_unset=True).items() if value is not None}
        template = await admin.change(slug, fields, principal)
        return Json(
            {**shown(template, (await calls()).get(template.id, 0)), "state": template.status, "status": "updated"}
        )

    @routes.delete("/templates/{slug}", summary="Archive a template, or remove it")
    async def delete_template(slug: str, principal: Writer, query: Annotated[DeleteQuery, QueryParameters()]) -> Json:
        if query.purge:
            template = await admin.purge(slug, principal)
            return Json({"status": "deleted", "id": template.id, "slug": template.slug})
        template = await admin.change(slug, {"status": "archived"}, principal)
        return Json({"status": "archived", "id": template.id, "slug": template.slug})

    @routes.get("/templates/{slug}/versions", summary="List a template's versions")
    async def list_versions(slug: str, query: Annotated[VersionsQuery, QueryParameters()], _: Reader) -> Json:
        template = await admin.one(slug)
        before = read_cursor(query.cursor, 1)[0] if query.cursor else template.current_version + 1
        offset = 0 if query.cursor else query.offset
        rows = await core.database.read(
            lambda connection: store.version_rows(connection, template.id, before, query.limit + 1, offset)
        )
        page = rows[: query.limit]
        more = write_cursor(page[-1]["version"]) if len(rows) > query.limit else None
        listed = [shown_version(template, row["version"], row) for row in page]
        total = template.current_version
        return Json(envelope("versions", listed, total=total, capped=False, next_cursor=more, slug=template.slug))

    @routes.post("/templates/{slug}/versions", status_code=201, summary="Add a version")
    async def add_version(slug: str, principal: Writer, body: NewVersion) -> Json:
        content, warnings = body.normalised()
        template, new = await admin.add_version(slug, content, body.author, body.change_note, body.label, principal)
        answer = {"slug": template.slug, "version": template.current_version, "warnings": warnings}
        return Json({"status": "created" if new else "unchanged", **answer}, 201 if new else 200)

    @routes.get("/templates/{slug}/versions/{version}", summary="One version")
    async def read_version(slug: str, version: VersionNumber, _: Reader) -> Json:
        template = await admin.one(slug)
        return Json(shown_version(template, version, await row_of(template, version)))

    @routes.get("/templates/{slug}/diff", summary="What changed between two versions")
    async def diff(slug: str, query: Annotated[DiffQuery, QueryParameters()], _: Reader) -> Json:
        template = await admin.one(slug)
        before, after = await row_of(template, query.from_), await row_of(template, query.to)
        made = line_diff(before["content"], after["content"])
        return Json({"slug": template.slug, "from": query.from_, "to": query.to, **made})

    @routes.put("/templates/{slug}/labels/{label}", summary="Point a label to a version")
    async def set_label(slug: str, label: str, principal: Writer, body: Pointing) -> Json:
        template = await admin.point(slug, label, body.chosen(), principal)
        answer = shown(template, 0)
        return Json({"status": "updated", "slug": template.slug, "label": label, "labels": answer["labels"]})

    @routes.delete("/templates/{slug}/labels/{label}", summary="Take a label away")
    async def remove_label(slug: str, label: str, principal: Writer) -> Json:
        template = await admin.unlabel(slug, label, principal)
        return Json({"status": "deleted", "slug": template.slug, "label": label})

    @routes.post("/templates/{slug}/render", summary="Fill a template in without a call")
    async def render(slug: str, _: Reader, body: Rendering) -> Json:
        template = await admin.one(slug)
        prompt = await prompt_of(template, which(template, body.version, body.label))
        messages = prompt.render(body.variables, RENDER_MAX_CHARS)
        answer = {"messages": messages, "params": prompt.params, "model": prompt.model, "version": prompt.version}
        return Json({**answer, "tokens_in": count_prompt_tokens({"messages": messages})})

    @routes.post("/templates/{slug}/lint", summary="Faults of a template")
    async def lint(slug: str, query: Annotated[WhichQuery, QueryParameters()], _: Reader) -> Json:
        template = await admin.one(slug)
        prompt = await prompt_of(template, which(template, query.version, query.label))
        slot = core.services["registry"].slots.get("promptlint")
        return Json({"findings": findings(prompt, slot.settings if slot is not None else None)})

    @routes.get("/status", summary="Tack Room at a glance")
    async def status(_: Reader) -> Json:
        await table.load()
        bare = {"experiments": 0, "benchmarks": 0, "snapshots": 0, "running": 0, "last_experiment": None}
        return Json({"app": "studio", "status": "ok", "templates": len(table), **bare})

    return routes


def _fits(template: Template, query: TemplatesQuery) -> bool:
    if query.tag and query.tag not in template.tags:
        return False
    if query.status is not None and template.status != query.status:
        return False
    text = f"{template.slug} {template.name} {template.description}".casefold()
    return all(word in text for word in query.q.casefold().split())
