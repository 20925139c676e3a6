# SPDX-License-Identifier: Apache-2.0

"""Where settings come from, and which are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from opx import settings
from opx.errors import BadInput


def test_flags_stand_before_variables_before_the_file(tmp_path: Path) -> None:
    """A flag wins over ``OPX_*``, that over ``opx.toml``, and that over the default."""
    (tmp_path / "opx.toml").write_text(
        'port = 1\nlog_level = "error"\nallowed_hosts = ["OPX.example.org"]\nwebhook_url = "http://f"\n'
    )
    environ = {"OPX_DATA": str(tmp_path), "OPX_PORT": "2", "OPX_WEBHOOK_URL": "http://e"}

    loaded = settings.load({"port": 3, "host": None}, environ)

    assert loaded.data == tmp_path
    assert (loaded.port, loaded.host) == (3, "127.0.0.1")
    assert settings.load({}, environ).port == 2
    assert (loaded.webhook_url, loaded.log_level) == ("http://e", "error")
    assert loaded.allowed_hosts == ("opx.example.org",)


def test_hosts_in_a_variable_are_a_list(tmp_path: Path) -> None:
    """Commas separate names; spaces and case do not matter."""
    loaded = settings.load({}, {"OPX_DATA": str(tmp_path), "OPX_ALLOWED_HOSTS": "a, B ,"})

    assert loaded.allowed_hosts == ("a", "b")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "0", ""])
def test_another_interface_must_be_meant(tmp_path: Path, host: str) -> None:
    """Without ``--behind-proxy`` opx binds loopback only."""
    with pytest.raises(BadInput, match="plain HTTP"):
        settings.Settings(data=tmp_path, host=host)
    assert settings.Settings(data=tmp_path, host=host, behind_proxy=True).host == host


@pytest.mark.parametrize("host", ["nosuchhost.invalid", "a..b", "x" * 64, "[::g]"])
def test_a_host_that_is_none_is_said_to_be(tmp_path: Path, host: str) -> None:
    """Nobody could reach it from anywhere: that is not what is wrong with it."""
    with pytest.raises(BadInput, match=r"^the host .* does not resolve: ."):
        settings.Settings(data=tmp_path, host=host)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.3.2.1", "::1", "[::1]", "localhost"])
def test_loopback_needs_no_flag(tmp_path: Path, host: str) -> None:
    """Every way to say this machine alone."""
    assert settings.Settings(data=tmp_path, host=host).host == host


@pytest.mark.parametrize(
    "text", ["prot = 1", 'data = "/"', "port = 70000", 'port = "x"', "allowed_hosts = 1", "port ="]
)
def test_a_wrong_file_is_refused(tmp_path: Path, text: str) -> None:
    """An unknown name, a value out of range, or what is no TOML: nothing is ignored."""
    (tmp_path / "opx.toml").write_text(text + "\n")

    with pytest.raises(BadInput):
        settings.load({"data": tmp_path}, {})


def test_actions_may_go_nowhere_until_somebody_says_where(tmp_path: Path) -> None:
    """Nothing by default; from the file or a variable as lists."""
    assert settings.Settings(data=tmp_path).action_roots == ()
    assert settings.Settings(data=tmp_path).action_hosts == ()
    (tmp_path / "opx.toml").write_text('action_hosts = ["Ops.example.org:443", "[::1]:80"]\n')
    loaded = settings.load({"data": tmp_path}, {"OPX_ACTION_ROOTS": "/srv/Shop, /etc/shop"})
    assert loaded.action_roots == ("/srv/Shop", "/etc/shop")
    assert loaded.action_hosts == ("ops.example.org:443", "[::1]:80")


@pytest.mark.parametrize("root", ["/", "//", "//srv", "srv", "", "/srv/", "/srv/..", "/srv/./a"])
def test_a_root_is_one_folder_written_plainly(tmp_path: Path, root: str) -> None:
    """Neither everything, nor what would have to be worked out first."""
    with pytest.raises(BadInput, match="action_roots"):
        settings.Settings(data=tmp_path, action_roots=(root,))


@pytest.mark.parametrize("host", ["example.org", "http://example.org:80", "*:80", "a:80/x", ":80"])
def test_a_host_has_its_port(tmp_path: Path, host: str) -> None:
    """A host stands with its port, without wildcards."""
    with pytest.raises(BadInput, match="action_hosts"):
        settings.Settings(data=tmp_path, action_hosts=(host,))
