"""Tokens from files, certificates, and patience with a server that restarts."""

import pytest

import hotfire
from hotfire import _channel, _patience, config
from hotfire.errors import AuthenticationError, SettingsError, UnavailableError


def token_of(settings: config.Settings) -> str:
    ((name, value),) = _channel.metadata(settings)
    assert name == "authorization"
    return value.removeprefix("Bearer ")


def test_a_token_file_is_read_at_every_call(monkeypatch, tmp_path):
    path = tmp_path / "token"
    path.write_text("first\n")
    monkeypatch.setenv("HOTFIRE_TOKEN_FILE", str(path))
    settings = config.resolve(server="127.0.0.1:1")
    assert token_of(settings) == "first"
    path.write_text("second\n")
    assert token_of(settings) == "second"
    path.unlink()
    with pytest.raises(SettingsError, match="cannot read the token file"):
        _channel.metadata(settings)


def test_where_a_token_comes_from(monkeypatch, tmp_path):
    (tmp_path / "token").write_text("from-a-file")
    file = tmp_path / "config.toml"
    file.write_text(f"token_file = '{tmp_path}/token'\n")
    monkeypatch.setenv("HOTFIRE_CONFIG", str(file))
    assert token_of(config.resolve(server="127.0.0.1:1")) == "from-a-file"
    monkeypatch.setenv("HOTFIRE_TOKEN", "from-the-environment")
    assert token_of(config.resolve(server="127.0.0.1:1")) == "from-the-environment"
    assert token_of(config.resolve(server="127.0.0.1:1", token="given")) == "given"


@pytest.mark.parametrize("content", ["", "\n", None])
def test_a_bad_token_file_is_told_at_once(monkeypatch, tmp_path, content):
    path = tmp_path / "token"
    if content is not None:
        path.write_text(content)
    monkeypatch.setenv("HOTFIRE_TOKEN_FILE", str(path))
    with pytest.raises(SettingsError, match=str(path)):
        hotfire.Client("127.0.0.1:1")


def test_certificates_turn_tls_on_and_go_together(monkeypatch, tmp_path):
    for name in ("client.pem", "client.key"):
        (tmp_path / name).touch()
    cert, key = tmp_path / "client.pem", tmp_path / "client.key"
    settings = config.resolve(server="host", client_cert=cert, client_key=key)
    assert (settings.tls, settings.client_cert, settings.client_key) == (True, cert, key)
    monkeypatch.setenv("HOTFIRE_CLIENT_CERT", str(cert))
    with pytest.raises(SettingsError, match="go together"):
        config.resolve(server="host")
    monkeypatch.setenv("HOTFIRE_CLIENT_KEY", str(key))
    assert config.resolve(server="host").tls
    assert not config.resolve(server="host", tls=False).tls


def test_tokens_are_not_printed(monkeypatch, tmp_path):
    from hotfire.cli.connection import Where

    assert "canary" not in repr(config.resolve(server="127.0.0.1:1", token="canary"))
    assert "canary" not in repr(Where(server="x", token="canary"))
    file = tmp_path / "config.toml"
    file.write_text("token = ['canary']\n")
    monkeypatch.setenv("HOTFIRE_CONFIG", str(file))
    with pytest.raises(SettingsError) as raised:
        config.resolve()
    assert "canary" not in str(raised.value)


# --- Patience ---------------------------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(_patience.time, "monotonic", lambda: now[0])
    return now


def waits(attempts: _patience.Attempts, clock: list[float], error: Exception) -> float:
    """How long a call goes on."""
    while True:
        try:
            clock[0] += attempts.delay_after(error) + 3.0  # grpc's own attempts
        except type(error):
            return clock[0]


def test_a_server_that_was_there_is_waited_for(clock):
    patience = _patience.Patience()
    patience.answered()
    assert 30 < waits(patience.begin(), clock, UnavailableError("refused")) < 36


def test_a_server_that_never_answered_is_not(clock):
    with pytest.raises(UnavailableError):
        _patience.Patience().begin().delay_after(UnavailableError("refused"))


@pytest.mark.parametrize(
    "error", [AuthenticationError("no"), UnavailableError("no redis", reason="STORE_UNAVAILABLE")]
)
def test_what_a_restart_does_not_explain(clock, error):
    patience = _patience.Patience()
    patience.answered()
    with pytest.raises(type(error)):
        patience.begin().delay_after(error)


def test_a_call_survives_a_restart(service, address):
    import grpc

    with hotfire.Client(address) as client:
        client.list_pools()
        service.faults["GetServerInfo"] = [grpc.StatusCode.UNAVAILABLE] * 7  # more than grpc tries
        assert client.get_server_info().version == "1"
