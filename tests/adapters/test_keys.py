# SPDX-License-Identifier: Apache-2.0

"""Signing keys on disk: what they sign, who may read them, and what is refused."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opx.adapters.keys import KeyPair, KeySigner, KeyVerifier
from opx.errors import Conflict, Damaged, NotFound, Refused
from opx.testing.world import PlainSigner


def test_what_was_signed_is_genuine_after_loading(tmp_path: Path) -> None:
    """The keys that were created are the keys that are loaded."""
    created = KeyPair.create(tmp_path / "keys")

    signature = KeySigner.load(tmp_path / "keys").sign(b"order")

    assert len(bytes.fromhex(signature)) == 64
    assert created.verifier.genuine(b"order", signature)
    assert KeyVerifier.load(tmp_path / "keys").genuine(b"order", signature)


def test_keys_are_for_their_owner_only(tmp_path: Path) -> None:
    """The folder is 0700 and both keys are 0600, whatever the umask."""
    KeyPair.create(tmp_path / "keys")

    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in (tmp_path / "keys").iterdir()}
    assert modes == {"sign.key": 0o600, "verify.key": 0o600}
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644])
def test_a_key_that_others_can_reach_is_refused(tmp_path: Path, mode: int) -> None:
    """A key readable or writable by group or world is not loaded, and the error says the cure."""
    KeyPair.create(tmp_path)
    for name, load in (("sign.key", KeySigner.load), ("verify.key", KeyVerifier.load)):
        (tmp_path / name).chmod(mode)
        with pytest.raises(Refused, match=f"mode 0{mode:o}") as refused:
            load(tmp_path)
        assert refused.value.hint == f"chmod 600 {tmp_path / name}"


def test_keys_are_never_overwritten(tmp_path: Path) -> None:
    """Creating where a key is keeps the old one and is a conflict."""
    signature = KeyPair.create(tmp_path).signer.sign(b"order")

    with pytest.raises(Conflict):
        KeyPair.create(tmp_path)

    assert KeyVerifier.load(tmp_path).genuine(b"order", signature)


def test_creating_may_be_repeated_after_a_crash_in_the_middle(tmp_path: Path) -> None:
    """A lone ``verify.key`` is what a crash leaves: it is replaced, so that the two belong."""
    KeyPair.create(tmp_path)
    (tmp_path / "sign.key").unlink()

    KeyPair.create(tmp_path)

    signature = KeySigner.load(tmp_path).sign(b"order")
    assert KeyVerifier.load(tmp_path).genuine(b"order", signature)


def test_missing_and_damaged_keys_are_told_apart(tmp_path: Path) -> None:
    """No file is ``NotFound``; a file that is no key, or another kind of key, is ``Damaged``."""
    with pytest.raises(NotFound):
        KeySigner.load(tmp_path)
    KeyPair.create(tmp_path)
    (tmp_path / "sign.key").write_bytes((tmp_path / "verify.key").read_bytes())
    (tmp_path / "verify.key").write_text("not a key")

    with pytest.raises(Damaged):
        KeySigner.load(tmp_path)
    with pytest.raises(Damaged):
        KeyVerifier.load(tmp_path)


def test_another_key_is_not_genuine(tmp_path: Path) -> None:
    """A signature of one pair is nothing to another."""
    mine, other = KeyPair.create(tmp_path / "a"), KeyPair.create(tmp_path / "b")

    assert not other.verifier.genuine(b"order", mine.signer.sign(b"order"))


PAIR = PlainSigner()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    return KeyPair.create(tmp_path_factory.mktemp("keys"))


@given(message=st.binary(max_size=200), other=st.binary(max_size=200), noise=st.text(max_size=140))
def test_only_the_signature_of_the_very_message_is_genuine(
    pair: KeyPair, message: bytes, other: bytes, noise: str
) -> None:
    """Any message verifies with its own signature, never with another's or with noise."""
    for signer, verifier in ((pair.signer, pair.verifier), (PAIR, PAIR)):
        signature = signer.sign(message)

        assert verifier.genuine(message, signature)
        assert verifier.genuine(other, signature) == (other == message)
        assert not verifier.genuine(message, noise)
        assert not verifier.genuine(message, signature[:-1])
