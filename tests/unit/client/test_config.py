import pytest

from hotfire import config
from hotfire._channel import is_loopback
from hotfire.client import Client
from hotfire.errors import NoServerError, SettingsError


def write(monkeypatch, tmp_path, text):
    path = tmp_path / "config.toml"
    path.write_text(text)
    monkeypatch.setenv("HOTFIRE_CONFIG", str(path))


def test_precedence(monkeypatch, tmp_path):
    assert config.resolve().server is None
    write(monkeypatch, tmp_path, 'server = "file:1"\ntoken = "t"\n')
    assert config.resolve().server == "file:1"
    assert config.resolve().token == "t"
    monkeypatch.setenv("HOTFIRE_SERVER", "env:2")
    assert config.resolve().server == "env:2"
    settings = config.resolve(server="argument:3", token="mine")
    assert (settings.server, settings.token) == ("argument:3", "mine")


@pytest.mark.parametrize(
    ("given", "address", "tls"),
    [
        ("host", "host:50051", False),
        ("host:1234", "host:1234", False),
        ("grpc://host:1234", "host:1234", False),
        ("https://host", "host:50051", True),
        ("grpcs://host:443/", "host:443", True),
        ("::1", "[::1]:50051", False),
        ("[::1]:7", "[::1]:7", False),
        ("unix:///run/hotfire.sock", "unix:///run/hotfire.sock", False),
    ],
)
def test_addresses(given, address, tls):
    settings = config.resolve(server=given)
    assert (settings.server, settings.tls) == (address, tls)


@pytest.mark.parametrize("given", ["host:port", "host:0", "host:99999", "ftp://host", "", "http://"])
def test_bad_addresses_name_their_source(given, monkeypatch):
    with pytest.raises(SettingsError, match="argument server"):
        config.resolve(server=given)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("serer = 'x'", "unknown key 'serer'"),
        ("tls = 'yes'", "tls must be a bool"),
        ("a = = b", "config.toml"),
    ],
)
def test_bad_files_say_where(monkeypatch, tmp_path, text, message):
    write(monkeypatch, tmp_path, text)
    with pytest.raises(SettingsError, match=message):
        config.resolve()


def test_a_named_file_must_exist(monkeypatch, tmp_path):
    monkeypatch.setenv("HOTFIRE_CONFIG", str(tmp_path / "none.toml"))
    with pytest.raises(SettingsError, match="does not exist"):
        config.resolve()


def test_without_a_server_the_four_ways_are_named():
    with pytest.raises(NoServerError) as raised:
        Client()
    for way in ("--server", "HOTFIRE_SERVER", "config.toml", "hotfire[local]"):
        assert way in str(raised.value)


@pytest.mark.parametrize(
    "address", ["localhost:1", "127.0.0.1:1", "127.1.2.3:1", "[::1]:1", "unix:/x", "ipv4:127.0.0.1:1"]
)
def test_loopback(address):
    assert is_loopback(address)


@pytest.mark.parametrize(
    "address", ["host:1", "10.0.0.1:1", "127.0.0.1.evil.com:1", "localhost.evil.com:1", "0.0.0.0:1"]
)
def test_not_loopback(address):
    assert not is_loopback(address)


def test_no_token_in_plaintext_to_elsewhere():
    with pytest.raises(SettingsError, match="not sent in plaintext"):
        Client("example.org:50051", token="secret")
    with pytest.raises(SettingsError, match="not sent in plaintext"):
        Client("example.org:50051", token=lambda: "secret")
    Client("example.org:50051", token="secret", tls=True).close()


def test_the_token_travels_to_loopback(service, address):
    tokens = iter(["first", "second"])
    with Client(address, token=lambda: next(tokens)) as client:
        client.get_preflight("p1")
        client.get_preflight("p1")
    assert [m["authorization"] for m in service.metadata] == ["Bearer first", "Bearer second"]
