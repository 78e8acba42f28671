import datetime as dt
import stat

import pytest

from hotfire_service import errors, tokens_cli
from hotfire_service import tokens as module
from hotfire_service.__main__ import main
from hotfire_service.tokens import TokenFileError, TokenTable, digest_of, plain_entries, read_tokens


def entry(name: str, token: str, **more: str) -> str:
    lines = [f'name = "{name}"', f'sha256 = "{digest_of(token).hex()}"']
    lines += [f"{key} = {value}" for key, value in more.items()]
    return "\n".join(["[[token]]", *lines, ""])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "tokens.toml"


@pytest.fixture(autouse=True)
def _look_always(monkeypatch):
    monkeypatch.setattr(module, "_LOOK_AGAIN_S", 0.0)


def reason_of(table, authorization) -> str:
    with pytest.raises(errors.Unauthenticated) as raised:
        table.caller(authorization)
    return raised.value.reason


def test_tokens_of_the_settings():
    table = TokenTable(plain_entries({"default": "aaaaaaaa", "team-a": "bbbbbbbb"}))
    assert table.caller("Bearer aaaaaaaa").tenant == "default"
    assert table.caller("bearer bbbbbbbb").tenant == "team-a"
    assert reason_of(table, None) == "TOKEN_MISSING"
    for given in ("", "Bearer", "Bearer cccccccc", "Basic aaaaaaaa", "aaaaaaaa", "Bearer aaaaaaaa x"):
        assert reason_of(table, given) == "TOKEN_INVALID"


def test_without_tokens_the_door_is_open_and_with_an_empty_file_it_is_not(path):
    assert TokenTable().caller(None) is None
    path.write_text("")
    table = TokenTable(path=path)
    assert reason_of(table, None) == "TOKEN_MISSING"
    assert reason_of(table, "Bearer anything") == "TOKEN_INVALID"


def test_a_file_of_tokens(path):
    path.write_text(entry("ci", "one") + entry("ada", "two", tenant='"team-a"', expires="2999-01-01"))
    table = TokenTable(path=path)
    assert (table.caller("Bearer one").name, table.caller("Bearer one").tenant) == ("ci", "default")
    assert (table.caller("Bearer two").name, table.caller("Bearer two").tenant) == ("ada", "team-a")
    # What is kept of a token is no token.
    assert reason_of(table, f"Bearer {digest_of('one').hex()}") == "TOKEN_INVALID"


@pytest.mark.parametrize("expires", ["2020-01-01", "2020-01-01T00:00:00Z", "2020-01-01T00:00:00+02:00"])
def test_an_expired_token(path, expires):
    path.write_text(entry("ci", "one", expires=expires))
    assert reason_of(TokenTable(path=path), "Bearer one") == "TOKEN_EXPIRED"
    assert reason_of(TokenTable(path=path), "Bearer two") == "TOKEN_INVALID"


def test_a_change_is_seen(path):
    path.write_text(entry("ci", "one"))
    table = TokenTable(path=path)
    path.write_text(entry("ci", "another"))
    assert reason_of(table, "Bearer one") == "TOKEN_INVALID"
    assert table.caller("Bearer another").name == "ci"
    assert table.num_reloads == {"read": 1, "refused": 0}


@pytest.mark.parametrize("text", ["no toml at all", "[[token]]\nname = 'x'\n", None])
def test_a_broken_change_leaves_the_tokens_as_they_were(path, text):
    path.write_text(entry("ci", "one"))
    table = TokenTable(path=path)
    path.unlink() if text is None else path.write_text(text)
    assert table.caller("Bearer one").name == "ci"
    assert table.caller("Bearer one").name == "ci"
    assert table.num_reloads == {"read": 0, "refused": 1}
    path.write_text(entry("ci", "two"))
    assert table.caller("Bearer two").name == "ci"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[tokens]]\nname = 'a'", "unknown key 'tokens'"),
        ("[[token]]\nname = 'a'\nsha256 = 'my-real-token'", "not the token"),
        ("[[token]]\nname = ''\nsha256 = ''", "name ''"),
        ("[[token]]\nname = 'a'\ntoken = 'x'", "unknown key 'token'"),
        (entry("a", "1", tenant='"Team A"'), "tenant 'Team A'"),
        (entry("a", "1", expires='"tomorrow"'), "expires 'tomorrow'"),
        (entry("a", "1") + entry("a", "2"), "two tokens are named 'a'"),
        ("token = 1", "is no table"),
        ("a = = b", "no TOML"),
    ],
)
def test_mistakes_are_named_and_no_token_is_repeated(path, text, message):
    path.write_text(text)
    with pytest.raises(TokenFileError, match=message) as raised:
        read_tokens(path)
    assert "my-real-token" not in str(raised.value)


def test_all_mistakes_at_once(path):
    path.write_text("[[token]]\nname = 1\n[[token]]\nname = 'b'\n")
    with pytest.raises(TokenFileError) as raised:
        read_tokens(path)
    assert len(str(raised.value).splitlines()) == 2


def test_the_command_makes_a_token_that_works(path, capsys):
    assert main(["token", "new", "--file", str(path), "--name", "ci"]) == 0
    first = capsys.readouterr()
    assert first.out.startswith("hotfire_")
    token = first.out.strip()
    assert len(token) > 43
    assert token not in first.err + path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    # What a person wrote stays.
    path.write_text("# mine\n" + path.read_text())
    path.chmod(0o640)
    flags = ["--name", "ada", "--tenant", "team-a", "--expires", "90d"]
    assert main(["token", "new", "--file", str(path), *flags]) == 0
    other = capsys.readouterr().out.strip()
    assert path.read_text().startswith("# mine\n")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    table = TokenTable(path=path)
    assert table.caller(f"Bearer {token}").name == "ci"
    found = table.caller(f"Bearer {other}")
    assert found.tenant == "team-a"
    assert dt.timedelta(days=89) < found.expires - dt.datetime.now(dt.UTC) < dt.timedelta(days=91)
    assert main(["token", "list", "--file", str(path)]) == 0
    listed = capsys.readouterr().out
    assert [line.split("\t")[:2] for line in listed.splitlines()] == [["ci", "default"], ["ada", "team-a"]]
    assert list(path.parent.iterdir()) == [path]


def test_the_command_refuses(path, capsys, monkeypatch):
    assert main(["token", "new", "--file", str(path), "--name", "ci"]) == 0
    assert main(["token", "new", "--file", str(path), "--name", "ci"]) == 2
    assert "has a token named 'ci'" in capsys.readouterr().err
    monkeypatch.delenv("HOTFIRE_SERVICE_TOKENS_FILE", raising=False)
    assert main(["token", "list"]) == 2
    for flags in (["--name", "a b"], ["--name", "a", "--tenant", "A"], ["--name", "a", "--expires", "soon"]):
        with pytest.raises(SystemExit):
            tokens_cli.main(["new", "--file", str(path), *flags])
