"""secretscan's hooks on requests and whole answers."""

from zlib import crc32

import orjson
import pytest

from instance.chute.answer import Answer
from instance.chute.chain import Plan
from instance.chute.containment import Link
from instance.chute.exchange import Exchange
from instance.chute.meter import Meter
from instance.chute.module import Module, ModuleSettings
from instance.chute.modules.safety.secret_detectors import DETECTORS
from instance.chute.modules.safety.secret_scanner import Scanner
from instance.chute.modules.safety.secretscan import SecretScan
from instance.core.errors import StockyardError
from tests.modules.exchanges import Script, core, exchange, trail, whole

BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def github_token(body: str = "aB3dE5gH7jK9mN1pQ3sT5vW7yZ9bC1") -> str:
    value, check = crc32(body.encode()), ""
    while value:
        value, digit = divmod(value, 62)
        check = BASE62[digit] + check
    return f"ghp_{body}{check.rjust(6, '0')}"


GITHUB = github_token()
AWS = "AKIA" + "QZ7X3M5LN2WVB4TD"
JWT = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"
PRIVATE_KEY = "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA7bq98\nq2+/AAAA\n-----END RSA PRIVATE KEY-----"
B64 = "aB3dE5gH7jK9mN1pQ3sT5vW7yZ9bC1eF2hJ4kL6nP8rS0uV2xY4zA6cD8fG0iK2mO4qR6tU8wX0yZ1a"

FOUND = {
    "aws_access_key": AWS,
    "gcp_api_key": "AIza" + B64[:35],
    "azure_storage_key": f"AccountName=x;AccountKey={(B64 * 2)[:86]}==;",
    "azure_client_secret": "abc8Q~" + B64[:34],
    "github_token": GITHUB,
    "github_fine_grained_token": f"github_pat_{B64[:22]}_{B64[:59]}",
    "gitlab_token": "glpat-" + B64[:20],
    "anthropic_key": "sk-ant-api03-" + B64,
    "openai_key": "sk-proj-" + B64,
    "stockyard_key": "sk-sy-" + B64[:43],
    "groq_key": "gsk_" + B64[:52],
    "stripe_key": "sk_live_" + B64[:24],
    "slack_token": "xoxb-123456789012-123456789012-" + B64[:24],
    "npm_token": "npm_" + B64[:36],
    "pypi_token": "pypi-AgEIcHlwaS5vcmc" + B64,
    "twilio_key": "SK" + "0a1b2c3d4e5f60718293a4b5c6d7e8f9",
    "sendgrid_key": f"SG.{B64[:22]}.{B64[:43]}",
    "telegram_bot_token": "123456789:AA" + B64[:33],
    "private_key": PRIVATE_KEY,
    "connection_string": "postgres://app:s3cr3tPW9@db.internal/main",
    "jwt": JWT,
    "generic_secret": 'api_secret = "9f8Gh2Kq0Lm4Xz7Vb1"',
}


@pytest.mark.parametrize("name", FOUND)
def test_each_form_is_found_by_its_own_detector(name: str) -> None:
    text = f"before {FOUND[name]} after"
    assert [finding.detector for finding in Scanner().find(text)] == [name]
    assert f"[SECRET:{name}]" in Scanner().redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "sk-your-key-here",
        "sk-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        "ghp_" + "x" * 36,
        GITHUB[:-1] + ("0" if GITHUB[-1] != "0" else "1"),
        "api_key = your-api-key-goes-here-123",
        "token: 123e4567-e89b-12d3-a456-426614174000",
        '"integrity_token": "sha512-9f8Gh2Kq0Lm4Xz7Vb1ppp=="',
        "secret = 2fd4e1c67a2d28fced849ee1bb76e7391b93eb12",
        "postgres://user:password@localhost/db",
        "max_tokens: 4096 and temperature = 0.7",
        "eyJub3RqdXN0.eyJhYmNkZWZn.c2lnbmF0dXJl",
        "The password is kept in the vault.",
        "nextPageToken: CiAKGjBpNDd2Nmp2Zml2cXRwYjBpOXA",
        "private_key_path = /etc/app/keys/private-2024.pem",
        "secretName: prod-db-credentials-v2",
        'api_key = "abc123def456ghi789jkl012"',
        "password hash: $2b$12$KIXQ5Q1rY5p7H5lq8J5n7uQ3m9Zc1a2b3c4d5e6f7g8h9i0j1k2lm",
        "PasswordLastUsed: 2016-09-08T21:47:36Z",
        "pass `dtype=datetime64[ns]` to it",
    ],
)
def test_what_only_looks_like_a_secret_is_not_reported(text: str) -> None:
    assert Scanner().find(text) == []


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ('SECRET_KEY = "7xqi#vc(3-4jk)ru@7d3"', "7xqi#vc(3-4jk)ru@7d3"),
        ("ENCRYPTION_KEY=" + "0a1b2c3d4e5f60718293a4b5c6d7e8f9" * 2, "0a1b2c3d4e5f60718293a4b5c6d7e8f9" * 2),
        ("user=root&password=Herbst-6917Q&submit=1", "Herbst-6917Q"),
        ("<password>tUhtP#X6l6d%</password>", "tUhtP#X6l6d%"),
        ("- name: DB_PASSWORD\n  value: Vx91kQpz72Lm", "Vx91kQpz72Lm"),
        ("password for root@web1 is Kq8!xm29Lp, rotate it", "Kq8!xm29Lp"),
        ("db_pass: BYEyw*BvChd#", "BYEyw*BvChd#"),
        (f"{AWS} / {B64[:40]}", B64[:40]),
        ("session_token = " + B64 * 3, B64 * 3),
    ],
)
def test_a_secret_is_found_whole_by_the_name_that_it_stands_under(text: str, secret: str) -> None:
    assert secret in [text[finding.start : finding.end].rstrip(",") for finding in Scanner().find(text)]


def test_every_trigger_finds_what_its_form_finds() -> None:
    scanner = Scanner()
    names = {detector.name for detector in DETECTORS}
    assert names >= FOUND.keys() - {"generic_secret"}
    for text in FOUND.values():
        assert scanner.suspects(text)


def call(module: SecretScan, *texts: str) -> Exchange:
    """A call with these user messages, in a plan of this module."""
    x = exchange()
    x.req["messages"] = [{"role": "user", "content": text} for text in texts]
    x.raw = orjson.dumps(x.req)
    x.plan = Plan(1, "chat", [Link(module, Meter(), 0)], Script())
    x.current_module = "secretscan"
    return x


async def scan(own: frozenset[str] = frozenset(), **settings: object) -> SecretScan:
    class Providers:
        key_texts = own

    module = SecretScan(SecretScan.Settings.model_validate(settings))
    await module.start(core(providers=Providers()), None)
    return module


async def test_flag_leaves_the_request_alone_and_redacts_what_is_stored() -> None:
    module = await scan()
    x = call(module, f"my token is {GITHUB}")
    before = x.req
    module.on_request(x)
    module.on_finish(x)
    assert x.req is before
    assert not x.changed
    assert x.stored_request is not None
    assert GITHUB.encode() not in x.stored_request
    assert b"[SECRET:github_token]" in x.stored_request
    (action, detail), *rest = trail(x, "secretscan")
    assert (action, detail["detector"], detail["direction"], detail["place"], rest) == (
        "secret",
        "github_token",
        "in",
        "messages[0].content",
        [],
    )
    assert GITHUB not in orjson.dumps(x.decisions).decode()


async def test_a_clean_request_leaves_nothing_behind() -> None:
    module = await scan()
    x = call(module, "What is the capital of France?")
    module.on_request(x)
    assert x.decisions == []
    assert x.stored_request is None


async def test_redact_changes_what_the_provider_gets() -> None:
    module = await scan(action="redact")
    x = call(module, f"{GITHUB} and {AWS}", "clean")
    module.on_request(x)
    assert x.changed
    assert [m["content"] for m in x.req["messages"]] == ["[SECRET:github_token] and [SECRET:aws_access_key]", "clean"]
    assert len(trail(x, "secretscan")) == 2


async def test_block_names_detector_and_place_never_the_value() -> None:
    module = await scan(action="block")
    x = call(module, "hi", f"key {AWS}")
    with pytest.raises(StockyardError) as caught:
        module.on_request(x)
    error = caught.value
    assert (error.code, error.status, error.param) == ("secret_blocked", 400, "messages[1].content")
    assert error.details == [{"detector": "aws_access_key", "place": "messages[1].content"}]
    assert AWS not in error.message


async def test_tool_arguments_and_results_are_looked_at() -> None:
    module = await scan(action="redact")
    x = call(module, "hi")
    arguments = orjson.dumps({"token": GITHUB}).decode()
    x.req["messages"] += [
        {
            "role": "assistant",
            "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": arguments}}],
            "content": None,
        },
        {"role": "tool", "tool_call_id": "1", "content": AWS},
    ]
    module.on_request(x)
    sent = orjson.dumps(x.req).decode()
    assert GITHUB not in sent
    assert AWS not in sent
    rewritten = x.req["messages"][1]["tool_calls"][0]["function"]["arguments"]
    assert orjson.loads(rewritten) == {"token": "[SECRET:github_token]"}


async def test_answers_are_redacted_and_what_is_stored_too() -> None:
    module = await scan(action="redact")
    x = call(module, "hi")
    answer = whole(f"use {AWS} please")
    module.on_response(x, answer)
    assert answer.changed
    assert answer.obj is not None
    assert answer.obj["choices"][0]["message"]["content"] == "use [SECRET:aws_access_key] please"
    assert x.stored_response is not None
    assert AWS.encode() not in x.stored_response


async def test_flagged_answers_go_out_as_they_are_and_are_stored_redacted() -> None:
    module = await scan()
    x = call(module, "hi")
    answer = whole(f"use {AWS} please")
    module.on_response(x, answer)
    assert not answer.changed
    assert x.stored_response is not None
    assert AWS.encode() not in x.stored_response


@pytest.mark.parametrize("scan_output", [True, False])
async def test_own_provider_keys_are_redacted_in_answers_in_every_mode(scan_output: bool) -> None:
    own = "upstream-key-of-the-tests-1"
    module = await scan(frozenset([own]), scan_output=scan_output)
    x = call(module, "hi")
    answer = whole(f"I was called with {own}, and {AWS}")
    module.on_response(x, answer)
    assert answer.obj is not None
    assert answer.obj["choices"][0]["message"]["content"] == f"I was called with [SECRET:provider_key], and {AWS}"
    assert own not in orjson.dumps(x.decisions).decode()


async def test_own_detectors_and_allowed_values() -> None:
    custom = [{"name": "badge", "re2": "BADGE-[0-9]{6}", "severity": "low"}]
    module = await scan(action="redact", custom=custom, allow=["^AKIAQZ"], detectors=["aws_*", "badge"])
    x = call(module, f"BADGE-123456 {AWS} {GITHUB}")
    module.on_request(x)
    assert x.req["messages"][0]["content"] == f"[SECRET:badge] {AWS} {GITHUB}"


async def test_a_pattern_that_is_none_is_refused_when_it_is_saved() -> None:
    with pytest.raises(StockyardError) as caught:
        await scan(custom=[{"name": "bad", "re2": "(?=x)"}])
    assert caught.value.code == "bad_pattern"


async def test_errors_that_repeat_the_secret_are_redacted_before_they_are_stored() -> None:
    module = await scan()
    x = call(module, AWS)
    module.on_request(x)
    x.error_code, x.error_message, x.raw_error = "provider_error", f"bad input {AWS}", f"<{AWS}>".encode()
    module.on_finish(x)
    assert x.error_message == "bad input [SECRET:aws_access_key]"
    assert x.raw_error == b"<[SECRET:aws_access_key]>"


async def test_flag_fails_open_and_the_other_actions_fail_closed() -> None:
    assert Link(await scan(), Meter(), 0).closed is False
    assert Link(await scan(action="redact"), Meter(), 0).closed is True
    assert Link(await scan(on_error="closed"), Meter(), 0).closed is True


@pytest.mark.parametrize(
    "unit",
    [
        "-eyJ",
        "-eyJaaaaaaaa.eyJaaaa",
        "ab://:",
        "ab://a:aaa",
        "token",
        "token=",
        "-----BEGIN RSA PRIVATE KEY-----",
        AWS + " ",
    ],
)
def test_no_text_takes_more_than_linear_time(unit: str) -> None:
    """Quadratic work over so much text would take hours."""
    text = unit * (400_000 // len(unit))
    assert len(Scanner().redact(text)) <= len(text)


@pytest.mark.asyncio
async def test_what_is_stored_of_an_answer_is_searched_also_where_answers_are_not_scanned_for_secrets() -> None:
    module = await scan(scan_output=False)
    x = exchange()
    x.session = "s"
    x.plan = Plan(1, "chat", [Link(module, Meter(), 0), Link(Elsewhere(ModuleSettings()), Meter(), 1)], no_provider)
    module.on_request(x)
    answer = {"choices": [{"index": 0, "message": {"role": "assistant", "content": f"It is {AWS}."}}]}
    assert x.answer_hits(x.plan.links[1].module, answer) == {0}
    assert AWS not in x.state["redact"](f"It is {AWS}.")


class Elsewhere(Module):
    """Looks for something else in answers."""

    name = "elsewhere"
    category = "test"
    group = 5
    summary = "looks for something else"

    def patterns(self) -> tuple[str, ...]:
        return ("It is",)


async def no_provider(x: Exchange) -> Answer:
    raise AssertionError("the provider was called")


async def test_in_a_conversation_a_credential_is_found_wherever_it_is_new():
    module = await scan()
    harmless = {"role": "assistant", "content": "Set password = changeme first."}
    arguments = {"id": "c", "type": "function", "function": {"name": "f", "arguments": f'{{"k": "{AWS}"}}'}}
    new = [
        {"role": "user", "content": f"Mine is {AWS}."},
        {"role": "assistant", "content": None, "tool_calls": [arguments]},
        {"role": "user", "content": [{"type": "text", "text": AWS}]},
        {"role": "user", "content": "hi", "name": "x"},
    ]
    found = []
    for message in new:
        x = call(module)
        x.req = {"model": "m", "messages": [harmless, {"role": "user", "content": "And then?"}, message]}
        assert x.hits(module)
        module.on_request(x)
        found.append([detail["detector"] for _, detail in trail(x, "secretscan")])

    assert found == [["aws_access_key"]] * 3 + [[]]
