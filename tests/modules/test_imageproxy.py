"""imageproxy over HTTP: images that are shown to a model, and images that are made."""

import io
import os
from base64 import b64decode, b64encode
from typing import Any

import httpx2
import pillow_heif
import pytest
from PIL import Image

from instance.chute.modules.other.image_families import evened
from instance.chute.modules.other.image_shaping import shaped
from instance.core.errors import StockyardError
from tests.mock_replies import Reply
from tests.mock_upstream import MockUpstream
from tests.modules.conftest import Running, running

GPS = 0x8825
ORIENTATION = 0x0112
ANTHROPIC = '[providers.claude]\ntype = "anthropic"\nbase_url = "{url}"\napi_key = "sk-ant-test"\nmodels = ["c"]\n'
MORE = 'models = ["small", "dall-e-3", "gpt-image-1"]'


def picture(form: str = "JPEG", size: tuple[int, int] = (60, 40), mode: str = "RGB", **more: Any) -> bytes:
    out = io.BytesIO()
    small = Image.effect_noise((min(size[0], 900), min(size[1], 600)), 90)
    small.resize(size, Image.Resampling.BILINEAR).convert(mode).save(out, form, **more)
    return out.getvalue()


def with_gps(size: tuple[int, int] = (60, 40), orientation: int = 1) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    exif.get_ifd(GPS)[1] = "N"
    exif.get_ifd(GPS)[2] = (52.0, 31.0, 12.0)
    return picture(size=size, exif=exif)


def data_url(data: bytes, kind: str = "image/jpeg") -> str:
    return f"data:{kind};base64,{b64encode(data).decode()}"


def shown(url: str) -> list[dict[str, Any]]:
    return [{"type": "text", "text": "what is it"}, {"type": "image_url", "image_url": {"url": url, "detail": "low"}}]


def received(s: Running) -> tuple[Image.Image, dict[str, Any], bytes]:
    """The picture that the provider got, its part, and its bytes."""
    part = s.mock.calls[-1].json()["messages"][0]["content"][1]["image_url"]
    data = b64decode(part["url"].partition(",")[2])
    return Image.open(io.BytesIO(data)), part, data


@pytest.mark.parametrize("stream", [False, True])
async def test_a_large_picture_arrives_small_and_tells_nothing_of_its_place(stream: bool) -> None:
    async with running({"imageproxy": True}) as s:
        large = with_gps((6000, 4000))
        answer = await s.chat(shown(data_url(large)), stream=stream)  # type: ignore[arg-type]
        assert answer.status_code == 200
        image, part, data = received(s)
        assert (image.size, image.format) == ((2048, 1365), "JPEG")
        assert not image.getexif()
        assert b"Exif" not in data
        assert part["detail"] == "low"
        trace = answer.headers["x-stockyard-trace-id"]
        ((action, detail),) = await s.trail(trace, "imageproxy")
        assert (action, detail) == ("image", {"in_px": 6000, "out_px": 2048, "bytes": len(data)})


async def test_what_fits_already_goes_on_byte_for_byte_and_an_ordinary_chat_is_untouched() -> None:
    async with running({"imageproxy": True}) as s:
        fine = picture("PNG")
        answer = await s.chat(shown(data_url(fine, "image/png")))  # type: ignore[arg-type]
        assert received(s)[2] == fine
        assert await s.trail(answer.headers["x-stockyard-trace-id"], "imageproxy") == []
        assert (await s.chat()).status_code == 200


def shape(data: bytes, **more: Any) -> Any:
    return shaped(data, **{"max_px": 2048, "max_bytes": 5 << 20, "strip": True, "param": "p", **more})


def test_metadata_goes_without_touching_a_pixel() -> None:
    for before in (with_gps(), picture("PNG", pnginfo=_words())):
        after = shape(before)
        assert after.changed
        assert len(after.data) < len(before)
        one, other = Image.open(io.BytesIO(before)), Image.open(io.BytesIO(after.data))
        assert one.tobytes() == other.tobytes()
        assert not other.getexif()
        assert not getattr(other, "text", None)
    kept = shape(with_gps(), strip=False)
    assert not kept.changed


def _words() -> Any:
    from PIL.PngImagePlugin import PngInfo

    words = PngInfo()
    words.add_text("Location", "52.5N 13.4E")
    return words


def test_a_picture_that_lies_on_its_side_is_turned_upright() -> None:
    after = Image.open(io.BytesIO(shape(with_gps((60, 40), orientation=6)).data))
    assert after.size == (40, 60)
    assert not after.getexif()


@pytest.mark.parametrize("form", ["TIFF", "BMP", "HEIF"])
def test_other_formats_become_a_jpeg(form: str) -> None:
    if form == "HEIF":
        pillow_heif.register_heif_opener()
    after = shape(picture(form))
    assert (after.mime_type, after.data[:3]) == ("image/jpeg", b"\xff\xd8\xff")


def test_transparency_is_kept_where_it_can_be() -> None:
    after = shape(picture("PNG", (3000, 200), "RGBA"))
    image = Image.open(io.BytesIO(after.data))
    assert (image.format, image.mode, image.size[0]) == ("PNG", "RGBA", 2048)


def test_too_many_bytes_are_made_fewer() -> None:
    heavy = picture("PNG", (900, 900), "RGBA")
    limit = 200_000
    assert len(heavy) > limit
    assert len(shape(heavy, max_bytes=limit).data) <= limit
    assert len(shape(picture(size=(900, 900), quality=98), max_bytes=limit).data) <= limit
    with pytest.raises(StockyardError, match="image_too_large"):
        shape(heavy, max_bytes=10)


@pytest.mark.parametrize("data", [b"", b"<html>no</html>", picture()[:200], os.urandom(5000)])
async def test_what_is_no_picture_is_refused(data: bytes) -> None:
    async with running({"imageproxy": {"max_px": 10}}) as s:
        answer = await s.chat(shown(data_url(data)))  # type: ignore[arg-type]
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["param"]) == (400, "image_invalid", "messages[0].content[1]")
        assert answer.headers["x-stockyard-module"] == "imageproxy"
        assert not s.mock.calls


async def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    out = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(out, "PNG")
    async with running({"imageproxy": True}) as s:
        answer = await s.chat(shown(data_url(out.getvalue(), "image/png")))  # type: ignore[arg-type]
        assert answer.json()["error"]["code"] == "image_too_large"


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/x.png",
        "https://169.254.169.254/x.png",
        "https://localhost:1/x.png",
        "https://127.0.0.1/x.png",
        "https://[::1]/x.png",
        "http://example.com/x.png",
        "file:///etc/passwd",
    ],
)
async def test_addresses_that_are_not_public_https_are_forbidden(url: str) -> None:
    async with running({"imageproxy": True}) as s:
        answer = await s.chat(shown(url))  # type: ignore[arg-type]
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "image_url_forbidden")
        assert not s.mock.calls


async def test_a_public_name_that_leads_home_is_forbidden(monkeypatch: pytest.MonkeyPatch) -> None:
    async def home(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    monkeypatch.setattr("instance.chute.remote_media._resolve_but_link_local", home)
    async with running({"imageproxy": True}) as s:
        answer = await s.chat(shown("https://pictures.example.com/x.png"))  # type: ignore[arg-type]
        assert answer.json()["error"]["code"] == "image_url_forbidden"


async def test_an_address_is_fetched_and_the_provider_gets_the_picture() -> None:
    async with running({"imageproxy": {"private_urls": True, "max_px": 100}}) as s, MockUpstream() as web:
        web.script(Reply(body=picture(size=(300, 200)), content_type="image/jpeg"))
        answer = await s.chat(shown(f"{web.root}/a.jpg"))  # type: ignore[arg-type]
        assert answer.status_code == 200
        assert received(s)[0].size == (100, 67)
        web.script(Reply(status=404, body=b"gone"))
        answer = await s.chat(shown(f"{web.root}/b.jpg"))  # type: ignore[arg-type]
        assert answer.json()["error"]["code"] == "image_invalid"
        await s.configure({"imageproxy": {"fetch_remote": False}})
        await s.chat(shown(f"{web.root}/c.jpg"))  # type: ignore[arg-type]
        assert s.mock.calls[-1].json()["messages"][0]["content"][1]["image_url"]["url"] == f"{web.root}/c.jpg"


async def test_a_provider_of_another_dialect_gets_it_too() -> None:
    async with running(
        {"imageproxy": {"max_px": 50}}, providers=lambda mock: ANTHROPIC.format(url=mock.at("anthropic"))
    ) as s:
        tiff = data_url(picture("TIFF", (200, 100)), "image/tiff")
        answer = await s.chat(shown(tiff), model="claude/c", max_tokens=9)  # type: ignore[arg-type]
        assert answer.status_code == 200, answer.text
        source = s.mock.calls[-1].json()["messages"][0]["content"][1]["source"]
        assert source["media_type"] == "image/jpeg"
        assert Image.open(io.BytesIO(b64decode(source["data"]))).size == (50, 25)


def images(mock: MockUpstream) -> str:
    return f'[providers.img]\nbase_url = "{mock.url}"\napi_key = "sk-images-1234"\n{MORE}\n[prices."img/dall-e-3"]\nper_image_usd = 0.04\n'


async def made(s: Running, **more: Any) -> httpx2.Response:
    return await s.http().post("/v1/images/generations", json={"model": "img/dall-e-3", "prompt": "a cow", **more})


async def test_a_generated_image_is_kept_under_a_link_that_needs_no_key() -> None:
    async with running({"imageproxy": True}, providers=images) as s:
        answer = await s.sdk().images.generate(model="img/dall-e-3", prompt="a cow")
        assert answer.data is not None
        url = answer.data[0].url
        assert url is not None
        assert url.startswith(f"{s.root}/api/proxy/images/")
        async with httpx2.AsyncClient() as nobody:
            got = await nobody.get(url)
            assert (got.status_code, got.headers["content-type"], got.content[:4]) == (200, "image/png", b"\x89PNG")
            assert (await nobody.get(url[:-3] + "abc")).status_code == 404
            store = s.module("imageproxy").store
            (path,) = store._folder.iterdir()
            os.utime(path, (1, 1))
            assert store.expire() == 0
            assert (await nobody.get(url)).status_code == 404


async def test_the_form_that_was_asked_for_is_given_whatever_the_provider_gives() -> None:
    async with running({"imageproxy": True}, providers=images) as s:
        for model in ("dall-e-3", "gpt-image-1"):
            as_data = (await made(s, model=f"img/{model}", response_format="b64_json")).json()["data"][0]
            assert b64decode(as_data["b64_json"])[:4] == b"\x89PNG"
            as_url = (await made(s, model=f"img/{model}", response_format="url")).json()["data"][0]
            assert as_url["url"].startswith(s.root)
            assert "b64_json" not in as_url
        assert "response_format" not in s.mock.calls[-1].json()
        await s.configure({"imageproxy": {"store_days": 0}})
        theirs = (await made(s)).json()["data"][0]["url"]
        assert not theirs.startswith(s.root)


def test_families_call_the_same_thing_by_their_own_names() -> None:
    asked = {"quality": "hd", "size": "1792x1024", "style": "vivid", "response_format": "url", "n": 2}
    assert evened(asked, "gpt-image-1") == {"quality": "high", "size": "1536x1024", "n": 2}
    assert evened({"quality": "high", "size": "1024x1536", "background": "opaque"}, "dall-e-3") == {
        "quality": "hd",
        "size": "1024x1792",
    }
    assert evened(asked, "flux-1") is asked


async def test_a_model_that_makes_one_image_is_asked_as_often_as_needed_and_each_is_paid() -> None:
    async with running({"imageproxy": True}, providers=images) as s:
        answer = await made(s, n=3)
        assert len(answer.json()["data"]) == 3
        assert [call.json()["n"] for call in s.mock.calls if call.method == "POST"] == [1, 1, 1]
        trace = await s.trace(answer.headers["x-stockyard-trace-id"])
        assert trace["cost_usd"] == pytest.approx(0.12)


async def test_the_same_again_comes_from_the_cache() -> None:
    async with running({"imageproxy": {"cache": True, "cache_ttl_s": 60}}, providers=images) as s:
        first = await made(s)
        again = await made(s)
        assert first.json() == again.json()
        assert (again.headers["x-stockyard-cache"], len(_posts(s))) == ("hit", 1)
        trace = await s.trace(again.headers["x-stockyard-trace-id"])
        assert (trace["cost_usd"], trace["saved_usd"]) == (0, pytest.approx(0.04))
        assert (await made(s, size="1024x1024")).headers["x-stockyard-cache"] == "miss"
        skipped = {"model": "img/dall-e-3", "prompt": "a cow"}
        await s.http().post("/v1/images/generations", json=skipped, headers={"X-Stockyard-Cache": "skip"})
        assert len(_posts(s)) == 3
        kept = s.module("imageproxy")._cache._kept
        for key, entry in kept.items():
            kept[key] = entry._replace(until_ns=entry.until_ns - 61 * 10**9)
        await made(s)
        assert len(_posts(s)) == 4


def _posts(s: Running) -> list[Any]:
    return [call for call in s.mock.calls if call.method == "POST"]


async def test_edits_are_cached_by_their_files() -> None:
    async with running({"imageproxy": {"cache": True}}, providers=images) as s:
        for colour, count in (("a", 1), ("a", 1), ("b", 2)):
            image = picture("PNG", (8 if colour == "a" else 9, 8))
            same = image if colour == "b" else b"\x89PNG same"
            answer = await s.sdk().images.edit(
                model="img/gpt-image-1", prompt="hat", image=("x.png", same, "image/png")
            )
            assert answer.data
            assert len(_posts(s)) == count


async def test_partial_images_pass_and_the_final_one_is_kept() -> None:
    async with running({"imageproxy": True}, providers=images) as s:
        answer = await made(s, model="img/gpt-image-1", stream=True, partial_images=2)
        assert answer.text.count("image_generation.partial_image") >= 2
        assert f"{s.root}/api/proxy/images/" in answer.text
        assert len(list(s.module("imageproxy").store._folder.iterdir())) == 1


async def test_sizes_and_numbers_have_limits() -> None:
    async with running({"imageproxy": {"max_n": 2, "sizes": ["1024x1024", "auto"]}}, providers=images) as s:
        for wanted, param in (({"n": 3}, "n"), ({"size": "1792x1024"}, "size")):
            answer = await made(s, **wanted)
            error = answer.json()["error"]
            assert (answer.status_code, error["code"], error["param"]) == (403, "size_not_allowed", param)
        assert not _posts(s)
        assert (await made(s, n=2)).status_code == 200


async def test_what_cannot_be_is_refused_and_a_missing_package_says_how(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running({"imageproxy": True}) as s:
        bad = await s.http(s.admin_key).put("/api/proxy/modules/imageproxy", json={"config": {"max_mb": -1}})
        assert (bad.status_code, "max_mb" in bad.json()["error"]["param"]) == (422, True)
        monkeypatch.setattr("instance.chute.modules.other.imageproxy.missing_packages", lambda: ["PIL"])
        lacking = await s.http(s.admin_key).put("/api/proxy/modules/imageproxy", json={"config": {"max_mb": 1}})
        assert "stockyard[images]" in lacking.json()["error"]["message"]
        assert (await s.chat(shown(data_url(picture())))).status_code == 200  # type: ignore[arg-type]
