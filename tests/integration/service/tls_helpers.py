"""An authority and its certificates."""

from __future__ import annotations

import datetime as dt
import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

_PEM = serialization.Encoding.PEM


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def key_pem(key: ec.EllipticCurvePrivateKey, password: bytes | None = None) -> bytes:
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password is not None:
        encryption = serialization.BestAvailableEncryption(password)
    return key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, encryption)


@dataclass
class Authority:
    """Signs certificates."""

    folder: Path
    name: str = "ca"
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def __post_init__(self) -> None:
        self.certificate = self._sign(self.name, self.key.public_key(), addresses=(), is_authority=True)
        self.file = self.folder / f"{self.name}.pem"
        self.file.write_bytes(self.pem)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(_PEM)

    def pair(self, addresses: tuple[str, ...] = ("127.0.0.1", "127.0.0.2")) -> tuple[bytes, bytes]:
        """(key, certificate)."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign("hotfire", key.public_key(), addresses=addresses, is_authority=False)
        return key_pem(key), certificate.public_bytes(_PEM)

    def write(self, name: str, addresses: tuple[str, ...] = ("127.0.0.1", "127.0.0.2")) -> tuple[Path, Path]:
        """A new pair in `{name}.pem` and `{name}.key`; what was there is replaced, the certificate first."""
        key, certificate = self.pair(addresses)
        files = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        for file, content in zip(files, (certificate, key), strict=True):
            temporary = file.with_suffix(file.suffix + ".new")
            temporary.write_bytes(content)
            temporary.replace(file)
        return files

    def _sign(
        self,
        name: str,
        public: ec.EllipticCurvePublicKey,
        *,
        addresses: tuple[str, ...],
        is_authority: bool,
    ) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(name))
            .issuer_name(_name(self.name))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(minutes=5))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        )
        if addresses:
            names = [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self.key, hashes.SHA256())
