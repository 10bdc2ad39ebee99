"""A notice as e-mail, handed to the mail server."""

from __future__ import annotations

import smtplib
import ssl
from email.message import EmailMessage
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from instance.lookout.alerts.channels import MailServer

TIMEOUT_S = 10.0


def written(mail: MailServer, to: str, data: dict[str, Any]) -> EmailMessage:
    """The e-mail. Raises `ValueError` for an address that would break its head."""
    made = EmailMessage()
    made["Subject"] = " ".join(f"[Stockyard] {data['name']}: {data['state']}".split())
    made["From"] = mail.sender or mail.user or f"stockyard@{mail.host}"
    made["To"] = to
    made.set_content("\n".join([data["message"], "", *(f"trace {trace_id}" for trace_id in data["trace_ids"])]))
    return made


def hand_over(mail: MailServer, address: str, message: EmailMessage) -> None:
    """Send it through the server at `address`, which was checked; its certificate is checked against the server's name.

    Blocks; raises `OSError`, of which smtplib's errors are.
    """
    context = ssl.create_default_context()
    tls = mail.security == "tls"
    server = smtplib.SMTP_SSL(timeout=TIMEOUT_S, context=context) if tls else smtplib.SMTP(timeout=TIMEOUT_S)
    server._host = mail.host  # type: ignore[attr-defined]  # the name that smtplib asks the certificate for
    with server:
        server.connect(address, mail.port)
        if mail.security == "starttls":
            server.starttls(context=context)
        if mail.user:
            server.login(mail.user, mail.password)
        server.send_message(message)
