from base64 import b64decode
from typing import Any

import pytest

from instance.chute.remote_media import REDIRECTS_MAX, URLS_MAX, RemoteMedia, _resolve_but_link_local
from instance.chute.upstream import BlockedAddress
from instance.core.errors import StockyardError
from tests.mock_replies import Reply
from tests.mock_upstream import MockUpstream

PNG = b"\x89PNG\r\n\x1a\n" + bytes(60)
MEGABYTE = 1 << 20


def media(kind: str = "image/png", body: bytes = PNG, **more: Any) -> Reply:
    return Reply(body=body, content_type=kind, **more)


def moved(to: str) -> Reply:
    return Reply(body=b"moved", status=302, headers={"location": to})


async def fetched(mock: MockUpstream, path: str = "/a.png", *, private: bool = True, limit: int = MEGABYTE) -> Any:
    fetcher = RemoteMedia(allow_private_networks=private)
    try:
        return await fetcher.fetch(mock.root + path, "messages[0]", limit)
    finally:
        await fetcher.close()


async def refused(mock: MockUpstream, path: str = "/a.png", **more: Any) -> StockyardError:
    with pytest.raises(StockyardError) as caught:
        await fetched(mock, path, **more)
    assert caught.value.param == "messages[0]"
    return caught.value


async def test_an_image_and_its_type() -> None:
    async with MockUpstream() as mock:
        mock.script(media("image/png; charset=binary"))
        got = await fetched(mock, "/a b.png?q=ä&r=%20")
        assert (got.mime_type, b64decode(got.base64)) == ("image/png", PNG)
        assert mock.calls[0].path == "/a%20b.png?q=%C3%A4&r=%20"
        assert "authorization" not in mock.calls[0].headers


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF89a", "image/gif"),
        (b"RIFF\0\0\0\0WEBP", "image/webp"),
        (b"%PDF-1.7", "application/pdf"),
    ],
)
async def test_the_type_is_found_out_where_the_server_does_not_know_it(body: bytes, kind: str) -> None:
    async with MockUpstream() as mock:
        mock.script(media("application/octet-stream", body))
        assert (await fetched(mock)).mime_type == kind


async def test_a_hosted_instance_reaches_no_private_address() -> None:
    async with MockUpstream() as mock:
        error = await refused(mock, private=False)
        assert (error.code, error.status) == ("blocked_address", 400)
        assert not mock.calls


async def test_every_step_of_a_redirect_is_judged() -> None:
    async with MockUpstream() as mock:
        mock.script(moved("http://169.254.169.254/latest/meta-data/iam"))
        assert (await refused(mock)).status == 400
        mock.script(moved("file:///etc/passwd"))
        assert (await refused(mock)).status == 400
        mock.script(*[moved("/again")] * (REDIRECTS_MAX + 1))
        assert "too often" in (await refused(mock)).message


async def test_link_local_addresses_are_left_out_wherever_a_name_leads() -> None:
    async def resolver(host: str, port: int) -> list[str]:
        return ["169.254.169.254", "fe80::1%eth0", "192.0.2.7"]

    assert await _resolve_but_link_local("x", 80, resolver) == ["192.0.2.7"]

    async def only(host: str, port: int) -> list[str]:
        return ["169.254.169.254"]

    with pytest.raises(BlockedAddress):
        await _resolve_but_link_local("x", 80, only)


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (media("text/html", b"<html>"), "text/html"),
        (media("application/json", b"{}"), "application/json"),
        (Reply(body=b"gone", status=404), "404"),
        (Reply(body=b"oops", status=500), "500"),
        (Reply(wire=b""), "could not be fetched"),
    ],
)
async def test_what_is_no_media_is_refused(reply: Reply, words: str) -> None:
    async with MockUpstream() as mock:
        mock.script(reply)
        assert words in (await refused(mock)).message


async def test_what_is_too_large_is_not_read() -> None:
    async with MockUpstream() as mock:
        mock.script(media(body=PNG + bytes(MEGABYTE)))
        assert (await refused(mock)).code == "body_too_large"


async def test_all_together_have_one_limit() -> None:
    async with MockUpstream() as mock:
        mock.script(*[media(body=PNG + bytes(MEGABYTE // 2))] * 3)
        fetcher = RemoteMedia(allow_private_networks=True)
        urls = [(f"{mock.root}/{number}.png", f"messages[{number}]") for number in range(3)]
        with pytest.raises(StockyardError) as caught:
            await fetcher.fetch_all(urls, MEGABYTE)
        assert caught.value.code == "body_too_large"
        mock.script(media(), media())
        assert len(await fetcher.fetch_all(urls[:2], MEGABYTE)) == 2
        with pytest.raises(StockyardError, match=str(URLS_MAX)):
            await fetcher.fetch_all([(f"{mock.root}/{number}", "m") for number in range(URLS_MAX + 1)], MEGABYTE)
        assert await fetcher.fetch_all([], MEGABYTE) == {}
        await fetcher.close()


@pytest.mark.parametrize("url", ["http://", "http://user:pass@example.com/a", "http://exa mple.com/", "https://[::1"])
async def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(StockyardError) as caught:
        await RemoteMedia(allow_private_networks=True).fetch(url, "p", MEGABYTE)
    assert (caught.value.status, caught.value.param) == (400, "p")
