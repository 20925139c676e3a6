# SPDX-License-Identifier: Apache-2.0

"""The file with the logins of supervisords: private, strict, and read as it is now."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from opx.adapters.clients.logins import Logins
from opx.errors import BadInput, OpxError, Refused

URL = "http://127.0.0.1:9001"
TABLE = f'["{URL}"]\nuser = "opx"\npassword = "w:örd"\n'
HEADER = "Basic " + base64.b64encode("opx:w:örd".encode()).decode()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "supervisors.toml"
    path.touch(0o600)
    path.write_text(TABLE)
    return path


@pytest.mark.parametrize(
    ("url", "header"),
    [
        (URL, HEADER),
        (f"{URL}/", HEADER),
        ("HTTP://127.0.0.1:9001", HEADER),
        ("http://127.0.0.1:9002", ""),
        ("http://localhost:9001", ""),
        ("https://127.0.0.1:9001", ""),
        ("unix:///run/s.sock", ""),
        ("http://[::1", ""),
    ],
)
def test_a_login_is_for_its_own_url_only(file: Path, url: str, header: str) -> None:
    """One place, one login; another port, name or scheme is another place."""
    assert Logins(file).header(url) == header


def test_without_a_file_nobody_needs_a_login(tmp_path: Path) -> None:
    """Neither no file at all nor one that is not there is an error."""
    assert Logins().header(URL) == ""
    assert Logins(tmp_path / "none.toml").header(URL) == ""


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601])
def test_a_file_that_others_can_read_is_refused(file: Path, mode: int) -> None:
    """It is used by nobody until it is private, even when it was read before."""
    logins = Logins(file)
    assert logins.header(URL) == HEADER
    file.chmod(mode)

    with pytest.raises(Refused, match="others can read") as refused:
        logins.header("http://127.0.0.1:9002")
    assert refused.value.hint == f"chmod 600 {file}"


def test_a_changed_file_is_read_anew(file: Path) -> None:
    """A new password counts at once, and so does a file that was taken away."""
    logins = Logins(file)
    logins.header(URL)
    file.write_text(TABLE.replace("örd", "örds"))
    assert logins.header(URL) == "Basic " + base64.b64encode("opx:w:örds".encode()).decode()
    file.unlink()
    assert logins.header(URL) == ""


@pytest.mark.parametrize(
    "text",
    [
        f'["{URL}"]\nuser = "opx"\n',
        f'["{URL}"]\nuser = "opx"\npassword = "s3cret"\nport = 1\n',
        f'["{URL}"]\nuser = "opx"\npassword = 53\n',
        '["http://opx:s3cret@127.0.0.1:9001"]\nuser = "opx"\npassword = "s3cret"\n',
        'password = "s3cret"\n',
        f'["{URL}"]\npassword = s3cret\n',
    ],
)
def test_what_is_wrong_is_said_without_what_it_says(file: Path, text: str) -> None:
    """A missing or unknown field, a login in a URL, no TOML: an error that names the file."""
    file.write_text(text)

    with pytest.raises(BadInput) as caught:
        Logins(file).header(URL)
    assert str(file) in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """What is there and is no file is not taken for no file."""
    with pytest.raises(OpxError, match="cannot be read"):
        Logins(tmp_path).header(URL)
