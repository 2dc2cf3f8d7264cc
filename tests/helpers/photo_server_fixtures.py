"""Fixtures of tests that fetch photos. A file that wants them says pytest_plugins = ["photo_server_fixtures"]."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from functools import partial
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from photo_server import NAMES, PUBLIC, Canary, PhotoServer, answer, listening, serve


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a self-signed certificate for NAMES and the loopback addresses, in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "made for a test")])
    names = [x509.DNSName(host) for host in NAMES]
    now = datetime.now(UTC)
    made = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
            .serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([*names, x509.IPAddress(ip_address(PUBLIC))]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True).sign(key, hashes.SHA256()))
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return path


@pytest.fixture
def shop(certificate: Path) -> Generator[PhotoServer]:
    """A TLS server at PUBLIC that gives PHOTO at /a.jpg."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = PhotoServer(port=0, trust=ssl.create_default_context(cafile=str(certificate)),
                         answers={"/a.jpg": answer()})
    stop = threading.Event()
    with listening(socket.create_server((PUBLIC, 0)), partial(serve, server, context, stop)) as server.port:
        yield server
        stop.set()


@pytest.fixture
def canary(shop: PhotoServer) -> Generator[Canary]:
    """Listens on a port that a fetch from the shop may name."""
    state = Canary()

    def count(connection: socket.socket) -> None:
        state.hits += 1
        connection.close()

    everywhere = (socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
                  if socket.has_dualstack_ipv6() else socket.create_server(("0.0.0.0", 0)))
    with listening(everywhere, count) as state.port:
        shop.also = (state.port,)
        yield state
