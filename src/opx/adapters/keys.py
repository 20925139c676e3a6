# SPDX-License-Identifier: Apache-2.0

"""Ed25519 keys: ``brain`` signs each step it orders, ``hands`` does only what was signed.

Two files of the data folder's ``keys/``: ``sign.key`` for brain, ``verify.key`` for hands,
both for their owner only. It must never load a key that others could have read or changed.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from opx.errors import Conflict, Damaged, NotFound, Refused

SIGN = "sign.key"
VERIFY = "verify.key"


class KeySigner:
    """``Signer``: signatures are 128 lower-case hex digits."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    @classmethod
    def load(cls, folder: Path) -> KeySigner:
        """``NotFound``; ``Refused`` when others have access to it; ``Damaged``."""
        path = folder / SIGN
        try:
            key = load_pem_private_key(_read(path), password=None)
        except (ValueError, TypeError) as error:
            raise Damaged(f"{path} is not a key") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise Damaged(f"{path} is not an Ed25519 key")
        return cls(key)

    def sign(self, message: bytes) -> str:
        return self._key.sign(message).hex()


class KeyVerifier:
    """``Verifier``: whatever is not a signature is not genuine."""

    def __init__(self, key: Ed25519PublicKey) -> None:
        self._key = key

    @classmethod
    def load(cls, folder: Path) -> KeyVerifier:
        """``NotFound``; ``Refused`` when others have access to it; ``Damaged``."""
        path = folder / VERIFY
        try:
            key = load_pem_public_key(_read(path))
        except ValueError as error:
            raise Damaged(f"{path} is not a key") from error
        if not isinstance(key, Ed25519PublicKey):
            raise Damaged(f"{path} is not an Ed25519 key")
        return cls(key)

    def genuine(self, message: bytes, signature: str) -> bool:
        try:
            self._key.verify(bytes.fromhex(signature), message)
        except (InvalidSignature, ValueError):
            return False
        return True


@dataclass(frozen=True, slots=True)
class KeyPair:
    signer: KeySigner
    verifier: KeyVerifier

    @classmethod
    def create(cls, folder: Path) -> KeyPair:
        """Make a new pair in ``folder``, itself made 0700. ``Conflict`` when there is one.

        ``sign.key`` is written last: without it there is no pair, and this may be repeated.
        """
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if (folder / SIGN).exists():
            raise Conflict(f"{folder / SIGN} exists already")
        private = Ed25519PrivateKey.generate()
        public = private.public_key()
        _write(
            folder / VERIFY, public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        )
        _write(
            folder / SIGN,
            private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        )
        return cls(KeySigner(private), KeyVerifier(public))


def _write(path: Path, content: bytes) -> None:
    path.unlink(missing_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & 0o077:
                raise Refused(
                    f"{path} is open to other users (mode {mode:04o})", hint=f"chmod 600 {path}"
                )
            return file.read()
    except FileNotFoundError as error:
        raise NotFound(f"there is no key at {path}") from error
