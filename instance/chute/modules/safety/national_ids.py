"""Numbers that states give to people: passports, identity, tax and health numbers, by country."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from instance.chute.modules.safety import check_digits as check
from instance.chute.modules.safety.found import Found

CONTEXT_CHARS = 60
"""How far before a number the word is looked for that says what it is."""


class Form(NamedTuple):
    """How a country writes a number, what checks it, and the words that must stand near one that proves nothing by itself."""

    kind: str
    form: re.Pattern[str]
    valid: Callable[[str], bool] | None = None
    near: re.Pattern[str] | None = None


def _form(
    kind: str, expression: str, valid: Callable[[str], bool] | None = None, near: str = "", *, any_case: bool = False
) -> Form:
    flags = re.IGNORECASE if any_case else re.NOFLAG
    return Form(
        kind,
        re.compile(rf"(?<![\w.]){expression}(?!\w)(?!\.\d)", flags),
        valid,
        re.compile(near, re.IGNORECASE) if near else None,
    )


_PASSPORT = r"passport|reisepass|passeport|pasaporte|passaporto|passaporte|paspoort|паспорт"

FORMS: tuple[Form, ...] = (
    _form("national_id", r"[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d\d ?\d\d ?\d\d ?[A-D]", lambda text: text[:2] not in ("BG", "GB", "NK", "KN", "TN", "NT", "ZZ")),
    _form("national_id", r"(?:\d{8}|[XYZ]\d{7})[ -]?[A-HJ-NP-TV-Z]", check.spanish_dni),
    _form("national_id", r"[A-Z]{6}\d\d[A-EHLMPRST]\d\d[A-Z]\d{3}[A-Z]", check.italian_fiscal_code, any_case=True),
    _form("national_id", r"[12] ?\d\d ?[01]\d ?(?:\d\d|2[AB]) ?\d{3} ?\d{3} ?\d\d", check.french_nir),
    _form("national_id", r"\d{3}\.\d{3}\.\d{3}-\d\d", check.brazilian_cpf),
    _form("national_id", r"\d{11}", check.brazilian_cpf, r"\bcpf\b"),
    _form("national_id", r"[2-9]\d{3}[ -]?\d{4}[ -]?\d{4}", check.verhoeff, r"aadhaar|aadhar|uidai"),
    _form("national_id", r"[A-Z]{3}[ABCFGHLJPT][A-Z]\d{4}[A-Z]", None, r"\bpan\b|permanent account"),
    _form("national_id", r"\d{9}", check.dutch_bsn, r"\bbsn\b|burgerservicenummer|sofi"),
    _form("national_id", r"\d{3}[ -]?\d{3}[ -]?\d{3}", check.luhn, r"\bsin\b|social insurance"),
    _form("national_id", r"\d{3}[ -]?\d{3}[ -]?\d{4}", check.british_nhs, r"\bnhs\b"),
    _form("national_id", r"\d{2} ?\d{3} ?\d{3} ?\d{3}", check.german_tax_id, r"steuer|tax (?:id|number)|\btin\b|idnr"),
    _form("national_id", r"\d{11}", check.polish_pesel, r"\bpesel\b"),
    _form("national_id", r"(?:19|20)?\d{6}[-+]\d{4}", lambda text: check.luhn(re.sub(r"\D", "", text)[-10:])),
    _form("national_id", r"\d{3} ?\d{3} ?\d{3}", lambda text: check.weighted(text, "14375869a", 11) == 0, r"\btfn\b|tax file"),
    _form("national_id", r"[A-Z0-9](?=[A-Z0-9 -]{0,31}\d)(?:[ -]?[A-Z0-9]){5,15}", None, r"driver'?s? licen[cs]e|driving licen[cs]e|führerschein|national id|identity card|\bid (?:card|number)|personalausweis|carte d'identité|\bdni\b"),
    _form("passport", r"(?:[A-Z]{1,2}\d{6,8}|\d{9}|\d{2}[A-Z]{2}\d{5}|[CFGHJKLMNPRTVWXYZ][0-9CFGHJKLMNPRTVWXYZ]{8})", lambda text: any(map(str.isdigit, text)), _PASSPORT),
)  # fmt: skip


def find_ids(text: str, kinds: frozenset[str]) -> Iterator[Found]:
    """The numbers of the asked kinds (`national_id`, `passport`)."""
    for form in FORMS:
        if form.kind not in kinds or (form.near is not None and not form.near.search(text)):
            continue
        for match in form.form.finditer(text):
            if form.near is not None and not form.near.search(
                text, max(0, match.start() - CONTEXT_CHARS), match.start()
            ):
                continue
            plain = re.sub(r"[ .-]", "", match.group()).upper()
            if form.valid is None or form.valid(plain):
                yield Found(form.kind, match.start(), match.end())
