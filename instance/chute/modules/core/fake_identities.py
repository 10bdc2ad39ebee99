"""Fakes for names, addresses, numbers and amounts: the same original always becomes the same fake under one secret.

Fakes are recognisable as such (invented surnames and streets, example domains, fictitious telephone and test card numbers), so
that a text that holds some already is not changed again.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Sequence

from instance.chute.modules.safety.check_digits import luhn

GIVEN = (
    "Avi Bea Cal Dov Eve Fay Gil Hal Ira Kit Lex Max Ned Oda Pia Roy Sol Tess Una Wes "
    "Alma Boris Clyde Doris Edwin Felix Greta Helga Irma Jonas Klara Leona Marta Nadia Oskar Petra Ralph Silas Thora Verna "
    "Adalbert Brunhild Clarissa Desmond Eleonora Ferdinand Gwendolyn Hildegard Isadora Jeremiah Katinka Leopold Marcella Nathaniel Ottilie "
    "Priscilla Reginald Seraphina Theodora Valentin"
).split()
SURNAME = (
    "Ashvale Birchby Cawston Dunmere Elmgate Fennick Garnow Hollby Ivers Kestlow Larkby Mosswin Norvale Oakley Pennby Quillow Rowanby Stonnet "
    "Thornby Umberly Vanwick Wexby Yarrowe Zellby Ambrosley Brackenfell Copperwick Dapplemere Everwick Fallowmere Greywater Hazelbrook "
    "Ironmere Juniperly Kettlewick Lavenholm Mistlebrook Nettlecombe Ottermere Plumfield Quartzley Ravenmoor Silverbeck Thistlewood Underbrook "
    "Vellacourt Willowmere Wintercombe"
).split()
STREET = (
    "Applemoor Brambleside Cloverfield Dandelion Elderfern Foxglove Gooseberry Heatherby Inkwell Jasmine-Hill Kingfisher Lanternlight "
    "Meadowlark Nightingale Orchardview Pinecone Quailfeather Rosehip Snowdrop Thimbleberry"
).split()
COMPANY = (
    "Amberfield Bluestone-Works Cedarline Driftmark Evenhall Fernhollow Goldleaf-Trading Harborlight Ivoryline Jadewater "
    "Kilnbrook Lumenmark Mapletide Northfern Opalgate Pebblework Quietmill Redfinch Saltmarsh Tidewell"
).split()
DOMAINS = ("example.com", "example.org", "example.net")
_FAKE_SURNAMES = frozenset(SURNAME)
_FAKE_STREET = re.compile("|".join(STREET))
_FAKE_PHONE = re.compile(r"55501\d\d\Z")
FAKE_CARD = "411111"


class Fakes:
    """Chooses fakes by HMAC-SHA-256 of the kind and the value's plain form under `secret`."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def of(self, kind: str, value: str) -> str:
        """The fake in the shape of the value; the value itself when it is a fake already."""
        if is_fake(kind, value):
            return value
        if kind == "name":
            return self._name(value)
        if kind == "email":
            return self._email(value)
        if kind == "phone":
            return self._phone(value)
        if kind == "card":
            return self._card(value)
        if kind == "address":
            return self._address(value)
        if kind == "company":
            return self._pick("company", value.casefold(), COMPANY).replace("-", " ")
        if kind == "amount":
            return self._amount(value)
        return self._digits(kind, value)

    def _number(self, kind: str, value: str) -> int:
        return int.from_bytes(hmac.digest(self._secret, f"{kind}\0{value}".encode(), "sha256")[:16], "big")

    def _pick(self, kind: str, value: str, choices: Sequence[str]) -> str:
        return choices[self._number(kind, value) % len(choices)]

    def _of_length(self, kind: str, value: str, choices: Sequence[str]) -> str:
        """A choice that is about as long."""
        near = sorted(choices, key=lambda choice: abs(len(choice) - len(value)))[:16]
        return self._pick(kind, value.casefold(), near)

    def _name(self, value: str) -> str:
        """Word by word, so that a surname alone becomes the one that it became in the full name."""
        words = value.split()
        surnames = [self._of_length("surname", words[-1], SURNAME)]
        given = [
            word if len(word.rstrip(".")) == 1 or word[0].islower() else self._of_length("given", word, GIVEN)
            for word in words[:-1]
        ]
        return " ".join([*(word for word in given if not word[0].islower()), *surnames])

    def _email(self, value: str) -> str:
        local, _, domain = value.casefold().partition("@")
        words = re.findall(r"[a-zà-ÿ]+", local) or ["x"]
        parts = [self._of_length("surname", word, SURNAME).lower() for word in words[-1:]]
        if len(words) > 1:
            parts.insert(0, self._of_length("given", words[0], GIVEN).lower())
        # Two mailboxes of one person are two fakes.
        number = self._number("email", value.casefold())
        return f"{'.'.join(parts)}{number % 90 + 10}@{DOMAINS[self._number('domain', domain) % len(DOMAINS)]}"

    def _phone(self, value: str) -> str:
        digits = re.sub(r"\D", "", value)
        last = f"55501{self._number('phone', digits) % 100:02}"
        kept = max(0, len(digits) - 7)
        area = str(200 + self._number("area", digits) % 790)
        if value.lstrip().startswith("+") or digits.startswith("0"):
            head = digits[: min(kept, 3)] + "5" * max(0, kept - 3)
        else:
            country = digits[: max(0, kept - 3)]
            head = country + area[: kept - len(country)]
        return _shaped(value, (head + last)[-len(digits) :])

    def _card(self, value: str) -> str:
        digits = re.sub(r"\D", "", value)
        body = FAKE_CARD + f"{self._number('card', digits) % 10**12:012}"
        body = body[: len(digits) - 1]
        check = next(digit for digit in "0123456789" if luhn(body + digit))
        return _shaped(value, body + check)

    def _address(self, value: str) -> str:
        street = self._pick("street", value.casefold(), STREET).replace("-", " ")
        number = self._number("house", value.casefold()) % 98 + 1
        return f"{number} {street} Lane"

    def _amount(self, value: str) -> str:
        """All amounts by one factor, 0.55 to 1.95, with as many decimals."""
        factor = 0.55 + self._number("amount", "") % 1400 / 1000
        number = re.search(r"\d[\d.,\u00a0 ]*\d|\d", value)
        if number is None:
            return value
        shown = number.group()
        decimals = re.search(r"[.,](\d{1,2})\Z", shown)
        whole = re.sub(r"\D", "", shown[: decimals.start()] if decimals else shown)
        scaled = float(f"{whole}.{decimals.group(1) if decimals else 0}") * factor
        places = len(decimals.group(1)) if decimals else 0
        text = f"{scaled:.{places}f}"
        grouped = re.search(r"\d([.,\u00a0 ])\d{3}", shown)
        if grouped:
            integer, _, rest = text.partition(".")
            integer = f"{int(integer):,}".replace(",", grouped.group(1))
            text = integer + ((decimals.group()[0] + rest) if decimals else "")
        elif decimals:
            text = text.replace(".", decimals.group()[0])
        return value[: number.start()] + text + value[number.end() :]

    def _digits(self, kind: str, value: str) -> str:
        """A number without a check that fits: its letters and grouping stay."""
        digits = sum(map(str.isdigit, value))
        number = f"{self._number(kind, re.sub(r'[ -]', '', value).upper()):040}"[-digits:] if digits else ""
        if kind == "iban":
            number = "00" + number[2:]  # no account has these check digits
        return _shaped(value, number)


def is_fake(kind: str, value: str) -> bool:
    """Whether a value is one of those that are made here."""
    if kind == "name":
        return value.split()[-1] in _FAKE_SURNAMES
    if kind == "email":
        return value.rpartition("@")[2].casefold() in DOMAINS
    if kind == "phone":
        return _FAKE_PHONE.search(re.sub(r"\D", "", value)) is not None
    if kind == "card":
        return re.sub(r"\D", "", value).startswith(FAKE_CARD)
    if kind == "address":
        return _FAKE_STREET.search(value.replace(" ", "-")) is not None or _FAKE_STREET.search(value) is not None
    return False


def _shaped(value: str, digits: str) -> str:
    """The digits in the grouping of the value."""
    left = iter(digits)
    return "".join(next(left, "") if character.isdigit() else character for character in value)
