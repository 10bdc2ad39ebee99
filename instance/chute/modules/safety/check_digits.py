"""Check digits of numbers that people and banks are known by."""

from __future__ import annotations

IBAN_LENGTHS = {
    country: int(length)
    for entry in (
        "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 EE20 EG29 ES24 "
        "FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 "
        "LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 RS22 "
        "RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20"
    ).split()
    for country, length in [(entry[:2], entry[2:])]
}
"""Country -> length of its account numbers. Source: the SWIFT registry of IBAN formats (ISO 13616)."""

_VERHOEFF_D = (
    "0123456789", "1234067895", "2340178956", "3401289567", "4012395678",
    "5987604321", "6598710432", "7659821043", "8765932104", "9876543210",
)  # fmt: skip
_VERHOEFF_P = (
    "0123456789", "1576283094", "5803796142", "8916043527",
    "9453126870", "4286573901", "2793806415", "7046913258",
)  # fmt: skip


def luhn(digits: str) -> bool:
    """Whether the last digit is right by ISO/IEC 7812-1."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) << (place & 1)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def iban(text: str) -> bool:
    """Whether it is an account number of a known country, with the right length and remainder. Without spaces, upper case."""
    if IBAN_LENGTHS.get(text[:2]) != len(text):
        return False
    return int("".join(str(int(letter, 36)) for letter in text[4:] + text[:4])) % 97 == 1


def is_card(digits: str) -> bool:
    """Whether it is a payment card's number: a known issuer's prefix, a length that it uses, and Luhn."""
    length, two, four = len(digits), int(digits[:2]), int(digits[:4])
    if digits[0] == "4":
        fits = length in (13, 16, 19)
    elif 51 <= two <= 55 or 2221 <= four <= 2720 or 2200 <= four <= 2204:
        fits = length == 16
    elif two in (34, 37):
        fits = length == 15
    elif two in (36, 38, 39) or 300 <= int(digits[:3]) <= 305:
        fits = 14 <= length <= 19
    elif 3528 <= four <= 3589 or four == 6011 or two in (62, 64, 65, 81, 60):
        fits = 16 <= length <= 19
    elif two in (50, 56, 57, 58, 63, 67):
        fits = 13 <= length <= 19
    else:
        fits = False
    return fits and len(set(digits)) > 1 and luhn(digits)


def us_ssn(area: str, group: str, serial: str) -> bool:
    """Whether the parts are in the ranges that the Social Security Administration gives out."""
    return area not in ("000", "666") and area[0] != "9" and group != "00" and serial != "0000"


def verhoeff(digits: str) -> bool:
    """Aadhaar's check."""
    state = 0
    for place, digit in enumerate(reversed(digits)):
        state = int(_VERHOEFF_D[state][int(_VERHOEFF_P[place % 8][int(digit)])])
    return state == 0


def weighted(digits: str, weights: str, modulus: int) -> int:
    """The sum of digits times weights (one hex digit each), modulo."""
    return sum(int(digit) * int(weight, 16) for digit, weight in zip(digits, weights, strict=False)) % modulus


def brazilian_cpf(digits: str) -> bool:
    if len(set(digits)) == 1:
        return False
    first = weighted(digits, "a98765432", 11)
    second = weighted(digits, "ba98765432", 11)
    return int(digits[9]) == (0 if first < 2 else 11 - first) and int(digits[10]) == (0 if second < 2 else 11 - second)


def dutch_bsn(digits: str) -> bool:
    return len(set(digits)) > 1 and (weighted(digits, "98765432", 11) - int(digits[8])) % 11 == 0


def british_nhs(digits: str) -> bool:
    return len(set(digits)) > 1 and (11 - weighted(digits, "a98765432", 11)) % 11 == int(digits[9])


def german_tax_id(digits: str) -> bool:
    """ISO 7064 MOD 11,10."""
    product = 10
    for digit in digits[:-1]:
        product = ((int(digit) + product) % 10 or 10) * 2 % 11
    return digits[0] != "0" and (11 - product) % 10 == int(digits[-1])


def polish_pesel(digits: str) -> bool:
    return len(set(digits)) > 1 and (10 - weighted(digits, "1379137913", 10)) % 10 == int(digits[10])


def spanish_dni(text: str) -> bool:
    """Also of foreigners (NIE), whose first letter stands for a digit."""
    number = int(text[:-1].replace("X", "0").replace("Y", "1").replace("Z", "2"))
    return "TRWAGMYFPDXBNJZSQVHLCKE"[number % 23] == text[-1]


def french_nir(text: str) -> bool:
    number = text[:13].replace("2A", "19").replace("2B", "18")
    return number.isdigit() and 97 - int(number) % 97 == int(text[13:])


_ODD = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23)


def italian_fiscal_code(text: str) -> bool:
    total = 0
    for place, letter in enumerate(text[:15]):
        value = int(letter) if letter.isdigit() else ord(letter) - 65
        total += value if place % 2 else _ODD[value]
    return chr(65 + total % 26) == text[15]
