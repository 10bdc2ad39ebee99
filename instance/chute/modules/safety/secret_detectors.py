"""The forms of credentials: prefixes that announce one, the whole form, and the check that tells it from a look-alike.

Sources: the issuers' documentation of their token formats; GitHub's and npm's checksum is CRC-32 of the random part in
base 62 (github.blog, "Behind GitHub's new authentication token formats").
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from string import ascii_letters, digits

from instance.chute.modules.safety.secret_values import (
    basic_credentials,
    github_checksum,
    given_password,
    jwt_header,
    opaque_token,
    random_looking,
    real_password,
)

PRIVATE_KEY_MIN_CHARS = 16
PRIVATE_KEY_MAX_CHARS = 8192
END_LINE_CHARS = 40


def private_key_end(text: str, body: int) -> int:
    """Where the private key ends whose first line ends at `body`: behind its END line, or where it was cut off; 0 for none."""
    limit = body + PRIVATE_KEY_MAX_CHARS
    last = text.find("-----", body, limit)
    if last < 0:
        last = min(len(text), limit)
    if last - body < PRIVATE_KEY_MIN_CHARS:
        return 0
    if not text.startswith("-----END ", last):
        return last
    close = text.find("-----", last + 9, last + 9 + END_LINE_CHARS)
    return close + 5 if close >= 0 else last


@dataclass(frozen=True, slots=True)
class Detector:
    """One form of credential. Every expression is RE2's, so that no text takes more than linear time.

    `prefixes` are the literal beginnings that announce it, `trigger` the expression for the shared matcher that finds
    every text in which `form` could match. The secret is the form's only group; none of `not_followed_by` may follow it;
    `extent` finds the end of one that no expression can bound; `check` decides on it.
    """

    name: str
    trigger: str
    form: str
    prefixes: tuple[str, ...] = ()
    check: Callable[[str], bool] | None = None
    severity: str = "high"
    not_followed_by: str = ""
    extent: Callable[[str, int], int] | None = None


def _prefixed(
    name: str,
    prefixes: str,
    body: str,
    check: Callable[[str], bool] | None = random_looking,
    severity: str = "high",
    not_followed_by: str = "",
) -> Detector:
    """A token with one of the prefixes (separated by blanks) and a body; not in the middle of a word, not cut short."""
    literals = tuple(prefixes.split())
    start = "(?:" + "|".join(map(re.escape, literals)) + ")"
    return Detector(
        name=name,
        trigger=f"{start}[0-9A-Za-z_-]",
        form=f"{_EDGE}({start}{body})",
        prefixes=literals,
        check=check,
        severity=severity,
        not_followed_by=not_followed_by,
    )


_EDGE = "(?:^|[^0-9A-Za-z])"
_W = ascii_letters + digits
_T = _W + "_-"
_U = "[0-9A-Za-z_-]"

_AFTER_AN_AWS_KEY = r"(?:(?:AKIA|ASIA)[A-Z0-9]{16}|\[SECRET:aws_access_key\])"
"""In a stream the marker stands there already."""

COMMAND_LINE = r"(?:(?:-u|--user)[ =][\"']?[^\s:\"']{1,64}:|\bmysql\w{0,8}\b[^\n]{0,120} -p|\b(?:sshpass|login)\b[^\n]{0,120} -p ?|-pass(?:in|out)? pass:)"
"""What stands on a command line before a password."""

DETECTORS: tuple[Detector, ...] = (
    _prefixed("aws_access_key", "AKIA ASIA ABIA ACCA", "[A-Z0-9]{16}", not_followed_by=_W),
    Detector(
        "aws_secret_key",
        _AFTER_AN_AWS_KEY + r"[\s\"',;:|/]",
        _AFTER_AN_AWS_KEY + r"[\s\"',;:|/]{1,12}([0-9A-Za-z/+]{40})",
        check=opaque_token,
        not_followed_by=_W + "/+=",
    ),
    _prefixed("gcp_api_key", "AIza", f"{_U}{{35}}", not_followed_by=_T),
    _prefixed("google_oauth_secret", "GOCSPX-", f"{_U}{{28}}"),
    _prefixed("google_oauth_token", "ya29.", f"{_U}{{20,}}", severity="medium"),
    Detector(
        "azure_storage_key",
        r"AccountKey=[A-Za-z0-9+/]",
        r"AccountKey=([A-Za-z0-9+/]{86}==)",
        ("AccountKey=",),
    ),
    Detector(
        "azure_client_secret",
        r"[0-9]Q~",
        r"(?:^|[^0-9A-Za-z_~.-])([0-9A-Za-z_~.]{3}[0-9]Q~[0-9A-Za-z_~.-]{31,34})",
        check=random_looking,
        not_followed_by=_T + "~.",
    ),
    Detector(
        "azure_sas_signature",
        r"[?&]sig=[A-Za-z0-9%]",
        r"[?&]sig=([A-Za-z0-9%+/]{40,}={0,2})",
        check=random_looking,
    ),
    _prefixed("github_token", "ghp_ gho_ ghu_ ghs_ ghr_", "[0-9A-Za-z]{36}", github_checksum, not_followed_by=_W),
    _prefixed("github_fine_grained_token", "github_pat_", "[0-9A-Za-z]{22}_[0-9A-Za-z]{59}", not_followed_by=_W),
    _prefixed("gitlab_token", "glpat- gldt- glrt- glsoat- glft- glcbt- glptt- glimt- glagent-", f"{_U}{{20,}}"),
    _prefixed("anthropic_key", "sk-ant-", f"{_U}{{32,}}"),
    _prefixed("stockyard_key", "sk-sy- sy_admin_ sy_inst_", f"{_U}{{43}}", not_followed_by=_T),
    _prefixed("openrouter_key", "sk-or-v1-", "[0-9a-f]{64}", not_followed_by=_W),
    _prefixed("openai_key", "sk-proj- sk-svcacct- sk-admin-", f"{_U}{{32,}}"),
    _prefixed("openai_key", "sk-", "[0-9A-Za-z]{32,64}", not_followed_by=_T),
    _prefixed("groq_key", "gsk_", "[0-9A-Za-z]{40,}", not_followed_by=_W),
    _prefixed("xai_key", "xai-", "[0-9A-Za-z]{40,}", not_followed_by=_W),
    _prefixed("perplexity_key", "pplx-", "[0-9A-Za-z]{40,}", not_followed_by=_W),
    _prefixed("replicate_token", "r8_", "[0-9A-Za-z]{37}", not_followed_by=_W),
    _prefixed("huggingface_token", "hf_", "[0-9A-Za-z]{34,}", not_followed_by=_W),
    _prefixed("stripe_key", "sk_live_ sk_test_ rk_live_ rk_test_", "[0-9A-Za-z]{20,}", not_followed_by=_W),
    _prefixed("stripe_webhook_secret", "whsec_", "[0-9A-Za-z+/=]{32,}"),
    _prefixed("slack_token", "xoxb- xoxp- xoxa- xoxr- xoxs- xoxe- xoxo-", "[0-9A-Za-z-]{16,}"),
    _prefixed("slack_app_token", "xapp-", "[0-9]-[0-9A-Z]+-[0-9]+-[0-9a-f]{32,}"),
    Detector(
        "slack_webhook",
        r"hooks\.slack\.com/(?:services|workflows)/",
        r"hooks\.slack\.com/((?:services|workflows)/[0-9A-Za-z]+/[0-9A-Za-z]+/[0-9A-Za-z]{20,})",
        ("hooks.slack.com/services/", "hooks.slack.com/workflows/"),
        random_looking,
    ),
    Detector(
        "discord_webhook",
        r"discord(?:app)?\.com/api/webhooks/",
        r"discord(?:app)?\.com/api/webhooks/([0-9]{17,20}/[0-9A-Za-z_-]{60,})",
        ("discord.com/api/webhooks/", "discordapp.com/api/webhooks/"),
    ),
    Detector(
        "telegram_bot_token",
        r"[0-9]:AA[0-9A-Za-z_-]",
        _EDGE + r"([0-9]{8,10}:AA[0-9A-Za-z_-]{33})",
        check=random_looking,
        not_followed_by=_T,
    ),
    _prefixed("npm_token", "npm_", "[0-9A-Za-z]{36}", not_followed_by=_W),
    _prefixed("pypi_token", "pypi-AgE", f"{_U}{{50,}}"),
    _prefixed("rubygems_key", "rubygems_", "[0-9a-f]{48}", not_followed_by=_W),
    _prefixed("docker_token", "dckr_pat_", f"{_U}{{27}}"),
    _prefixed("twilio_key", "SK", "[0-9a-f]{32}", not_followed_by=_W),
    _prefixed("sendgrid_key", "SG.", rf"{_U}{{16,32}}\.{_U}{{32,64}}"),
    _prefixed("mailgun_key", "key-", "[0-9a-f]{32}", not_followed_by=_W),
    Detector(
        "mailchimp_key",
        r"[0-9a-f]-us[0-9]",
        _EDGE + r"([0-9a-f]{32}-us[0-9]{1,2})",
        check=random_looking,
        not_followed_by=_W,
    ),
    _prefixed("digitalocean_token", "dop_v1_ doo_v1_ dor_v1_", "[0-9a-f]{64}", not_followed_by=_W),
    _prefixed("shopify_token", "shpat_ shpca_ shppa_ shpss_", "[0-9a-fA-F]{32}", not_followed_by=_W),
    _prefixed("square_token", "sq0atp- sq0csp-", f"{_U}{{22,43}}"),
    _prefixed("databricks_token", "dapi", "[0-9a-f]{32}", not_followed_by=_W),
    _prefixed("vault_token", "hvs. hvb.", f"{_U}{{24,}}"),
    Detector(
        "terraform_token",
        r"\.atlasv1\.",
        _EDGE + r"([0-9A-Za-z]{14}\.atlasv1\.[0-9A-Za-z_=-]{60,})",
    ),
    _prefixed("grafana_token", "glsa_", "[0-9A-Za-z]{32}_[0-9A-Fa-f]{8}", not_followed_by=_W),
    _prefixed("linear_key", "lin_api_", "[0-9A-Za-z]{40}", not_followed_by=_W),
    _prefixed("notion_token", "ntn_ secret_", "[0-9A-Za-z]{43,}", not_followed_by=_W),
    _prefixed("atlassian_token", "ATATT3", "[0-9A-Za-z_=-]{100,}"),
    _prefixed("newrelic_key", "NRAK-", "[0-9A-Z]{27}", not_followed_by=_W),
    _prefixed("postman_key", "PMAK-", "[0-9a-f]{24}-[0-9a-f]{34}", not_followed_by=_W),
    _prefixed("age_secret_key", "AGE-SECRET-KEY-1", "[0-9A-Z]{58}", not_followed_by=_W),
    _prefixed("sentry_token", "sntrys_ sntryu_", "[0-9A-Za-z_+/=-]{40,}"),
    _prefixed("airtable_token", "pat", r"[0-9A-Za-z]{14}\.[0-9a-f]{64}", not_followed_by=_W),
    _prefixed("pulumi_token", "pul-", "[0-9a-f]{40}", not_followed_by=_W),
    _prefixed("doppler_token", "dp.pt. dp.st. dp.ct. dp.sa.", "[0-9A-Za-z]{40,}", not_followed_by=_W),
    Detector(
        "fly_token",
        r"fm[12]_[0-9A-Za-z_+/=]",
        _EDGE + r"((?:FlyV1 )?fm[12]_[0-9A-Za-z_+/=,]{60,})",
        ("FlyV1 ", "fm1_", "fm2_"),
        random_looking,
    ),
    _prefixed("square_access_token", "EAAA", f"{_U}{{56,}}"),
    _prefixed("supabase_token", "sbp_", "[0-9a-f]{40}", not_followed_by=_W),
    _prefixed("netlify_token", "nfp_", "[0-9A-Za-z]{36,}", not_followed_by=_W),
    _prefixed("planetscale_token", "pscale_tkn_ pscale_pw_ pscale_oauth_", f"{_U}{{32,}}"),
    _prefixed("brevo_key", "xkeysib-", "[0-9a-f]{64}-[0-9A-Za-z]{16}", not_followed_by=_W),
    _prefixed("figma_token", "figd_", f"{_U}{{38,}}"),
    _prefixed("contentful_token", "CFPAT-", f"{_U}{{43}}"),
    _prefixed("hubspot_token", "pat-na1- pat-eu1-", "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"),
    _prefixed("langsmith_key", "lsv2_pt_ lsv2_sk_", "[0-9a-f]{32}_[0-9a-f]{10}", not_followed_by=_W),
    _prefixed("tailscale_key", "tskey-", "[a-z]{3,10}-[0-9A-Za-z]{8,}-[0-9A-Za-z]{16,}"),
    _prefixed("nvidia_key", "nvapi-", f"{_U}{{60,}}"),
    _prefixed("pinecone_key", "pcsk_", "[0-9A-Za-z_]{50,}"),
    _prefixed("onepassword_token", "ops_eyJ", f"{_U}{{100,}}"),
    _prefixed("bitbucket_password", "ATBB", "[0-9A-Za-z]{28,}", not_followed_by=_W),
    _prefixed("posthog_key", "phx_", "[0-9A-Za-z]{40,}", not_followed_by=_W),
    _prefixed("circleci_token", "CCIPAT_ CCIPRJ_", "[0-9A-Za-z_]{40,}"),
    _prefixed("alibaba_key", "LTAI", "[0-9A-Za-z]{20,26}", not_followed_by=_W),
    _prefixed("jwt", "eyJ", rf"{_U}{{8,}}\.eyJ{_U}{{4,}}\.{_U}{{8,}}", jwt_header, "medium"),
    Detector(
        "private_key",
        r"-----BEGIN [A-Z ]*PRIVATE KEY",
        r"(-----BEGIN [A-Z ]{0,20}PRIVATE KEY(?: BLOCK)?-----)",
        ("-----BEGIN ",),
        extent=private_key_end,
    ),
    Detector(
        "connection_string",
        r"[a-z]://[^\s:/@]*:[^\s/@]",
        r"(?i)\b[a-z][a-z0-9+]{1,20}://[^\s:/@\"']{0,64}:([^\s@/\"']{3,128})@",
        check=real_password,
    ),
    Detector(
        "basic_authorization",
        r"(?i)\bbasic [A-Za-z0-9+/]{8}",
        r"(?i)\bbasic ([A-Za-z0-9+/]{12,400}={0,2})",
        check=basic_credentials,
    ),
    Detector(
        "bearer_token",
        r"(?i)\bbearer [0-9A-Za-z_.~+/-]{20}",
        r"(?i)\bbearer ([0-9A-Za-z_.~+/-]{20,400}={0,2})",
        check=opaque_token,
        severity="medium",
    ),
    Detector(
        "command_line_password",
        r"(?:-u|--user)[ =][\"']?[^\s:\"']+:[^\s\"']|\b(?:mysql|sshpass|login)\w*\b[^\n]* -p[^\s]|\b(?:sshpass|login)\b[^\n]* -p [^\s]|\bpass:[^\s]",
        COMMAND_LINE + r"[\"']?([^\s\"']{6,128})",
        check=given_password,
        severity="medium",
    ),
)

KEYWORD = (
    r"(?i)(?:passw(?:or)?(?:d|t)|passphrase|passcode|kennwort|contraseña|mot de passe|senha|secret|token|"
    r"(?:api|access|auth|account|private|encryption|enc|signing|master|app|service|secret|shared|hmac|deploy|storage|subscription|wi-?fi|wlan)[ _-]?key|"
    r"credential|client[_-]?secret|\bpwd\b|(?:\b|_)pass\b)[a-z0-9_-]{0,20}"
)
_DIRECTLY = r"[\\\"'\]]{0,3}\s{0,3}(?:=>|:=|=|:|>)|\"\s{1,3}value=|\s{1,20}value:|\s{1,3}(?:is|was|ist|lautet|es|est|to)\b:?|[ \t]"
_OF_WHAT = r"\s(?:for|of|on|del?|d[oa]|von|für|pour|du|zum|im)\s"
ASSIGNED = rf"(?:{_DIRECTLY}|{_OF_WHAT}[^\n\"'=:,.;]{{1,40}}?(?:\s(?:is|ist|lautet|es|est|é)\b:?|\s?[:=]))"
QUOTED = r"\s{0,3}[\\\"'`]{0,2}"
VALUE = r"[0-9A-Za-z_\-.+/=~!@#%^&*$?()]"
"""What may stand in a value; the brackets only between quotes."""
_BARE = r"[0-9A-Za-z_\-.+/=~!@#%^&*$?]"
GENERIC = Detector(
    name="generic_secret",
    trigger=f"{KEYWORD}(?:(?:{_DIRECTLY}){QUOTED}{_BARE}|{_OF_WHAT})",
    form=f"{KEYWORD}{ASSIGNED}{QUOTED}({_BARE}{{4,}})",
    severity="medium",
    not_followed_by=_T + "+/=~@#%^&*$(",
)
"""`key = value` behind a keyword; whether the value counts is decided by its name, entropy and placeholders (`named_secrets`)."""
