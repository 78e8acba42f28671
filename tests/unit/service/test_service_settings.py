import pytest
from pydantic import ValidationError

from hotfire_service.settings import CONFIG_VARIABLE, ServiceSettings


def test_lists_come_as_json_or_between_colons(monkeypatch):
    monkeypatch.setenv("HOTFIRE_SERVICE_ALLOWED_ROOTS", "/data:/models/")
    monkeypatch.setenv("HOTFIRE_SERVICE_POOLS", '["cpu", "h100"]')
    settings = ServiceSettings()
    assert settings.allowed_roots == ["/data", "/models"]
    assert settings.pools == ["cpu", "h100"]


def test_flags_win_over_environment_over_file(monkeypatch, tmp_path):
    file = tmp_path / "service.toml"
    file.write_text("port = 1\nmax_ranks = 7\nlog_level = 'error'\n")
    monkeypatch.setenv(CONFIG_VARIABLE, str(file))
    monkeypatch.setenv("HOTFIRE_SERVICE_PORT", "2")
    monkeypatch.setenv("HOTFIRE_SERVICE_LOG_LEVEL", "warning")
    settings = ServiceSettings(port=3)
    assert (settings.port, settings.log_level, settings.max_ranks) == (3, "warning", 7)


def test_unknown_name_in_the_file_is_an_error(monkeypatch, tmp_path):
    file = tmp_path / "service.toml"
    file.write_text("prot = 1\n")
    monkeypatch.setenv(CONFIG_VARIABLE, str(file))
    with pytest.raises(ValidationError, match="prot"):
        ServiceSettings()


def test_missing_file_is_an_error(monkeypatch):
    monkeypatch.setenv(CONFIG_VARIABLE, "/nowhere/service.toml")
    with pytest.raises(ValueError, match="no file"):
        ServiceSettings()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_loopback_needs_no_token(host):
    assert ServiceSettings(host=host).is_loopback


def test_other_addresses_need_token_and_tls(tmp_path):
    with pytest.raises(ValidationError, match="no token"):
        ServiceSettings(host="0.0.0.0")
    with pytest.raises(ValidationError, match="plaintext"):
        ServiceSettings(host="0.0.0.0", token="secret-secret")
    assert not ServiceSettings(host="0.0.0.0", allow_insecure=True).is_loopback
    ServiceSettings(
        host="0.0.0.0", token="secret-secret", tls_cert_file=tmp_path / "c", tls_key_file=tmp_path / "k"
    )


def test_tenant_names_and_tokens_are_checked():
    with pytest.raises(ValidationError, match="tenant name"):
        ServiceSettings(tokens={"Team.A": "secret-secret"})
    with pytest.raises(ValidationError, match="shorter"):
        ServiceSettings(tokens={"team-a": "x"})
    assert ServiceSettings(tokens={"team-a": "secret-secret"}, token="other").all_tokens == {
        "team-a": "secret-secret",
        "default": "other",
    }


def test_tokens_are_not_printed():
    assert "secret-secret" not in repr(ServiceSettings(token="secret-secret"))
