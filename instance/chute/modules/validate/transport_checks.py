"""Names by which certificates, or the keys of hosts, are not checked: of settings, arguments and variables, in any language."""

from __future__ import annotations

_OFF_IF_FALSE = frozenset(
    "verifycerts verifyssl sslverify verifytls tlsverify validatecerts validatecertificates checkhostname rejectunauthorized strictssl sslvalidate "
    "sslverifypeer verifypeer verifypeername sslcheckhostname sslverifycertificate".split()
)
_OFF_IF_TRUE = frozenset(
    "tlsallowinvalidcertificates tlsallowinvalidhostnames tlsinsecure sslinsecure ignorehttpserrors trustservercertificate insecureskipverify "
    "insecureskiptlsverify skiptlsverify tlsskipverify acceptinsecurecerts disablesslcertificatevalidation allowselfsigned dangeracceptinvalidcerts "
    "allowinsecure noverifyssl".split()
)
_FALSE = frozenset(("false", "0", "no", "off", "!1"))
_TRUE = frozenset(("true", "1", "yes", "!0"))
_VARIABLES = {
    "NODE_TLS_REJECT_UNAUTHORIZED": ("0",),
    "PYTHONHTTPSVERIFY": ("0",),
    "GIT_SSL_NO_VERIFY": ("1", "true"),
    "LDAPTLS_REQCERT": ("never",),
    "CURL_CA_BUNDLE": ("",),
    "REQUESTS_CA_BUNDLE": ("",),
}


def unchecked(name: str, value: str) -> bool:
    """Whether a setting with this value, written as in code (`false`, `False`, `0`), switches the check off."""
    said = value.strip("\"'").lower()
    names = _OFF_IF_FALSE if said in _FALSE else _OFF_IF_TRUE if said in _TRUE else None
    return names is not None and name.replace("_", "").replace("-", "").lower() in names


def unchecked_by_variable(name: str, value: str) -> bool:
    """Whether an environment variable with this value does."""
    return name in _VARIABLES and value.strip("\"'`").lower() in _VARIABLES[name]
