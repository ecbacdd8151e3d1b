"""A server that takes what is posted to it."""

from __future__ import annotations

import ipaddress
import json
import ssl
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

__all__ = ["self_signed", "webhook"]


def self_signed(folder: Path, host: str) -> Path:
    """Make a certificate for an address, signed by itself; gives the file, key and all."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    form = serialization.Encoding.PEM
    path = folder / "webhook.pem"
    path.write_bytes(
        made.public_bytes(form)
        + key.private_bytes(form, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path


@contextmanager
def webhook(
    status: int = 200, host: str = "127.0.0.1", certificate: Path | None = None
) -> Generator[tuple[str, list[dict[str, Any]]]]:
    """Run the server, which gives every answer this status; gives its address and what it took.

    With a certificate, as `self_signed` makes it, it speaks https. A redirect leads to where a GET
    is answered well.
    """
    told: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            self.send_header("Location", "/elsewhere")
            self.end_headers()

        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *_: object) -> None:  # noqa: A002 - its name there
            """Say nothing."""

    server = HTTPServer((host, 0), Handler)
    address = f"http://{host}:{server.server_port}/hook/s3cret"
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        address = address.replace("http", "https", 1)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield (
            f"{'http' if certificate is None else 'https'}://{host}:{server.server_port}/hook/s3cret",
            told,
        )
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
