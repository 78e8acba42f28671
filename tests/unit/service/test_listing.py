import pytest

from hotfire_service.store.listing import PageTokenError, Query, read_token, write_token


def query(**fields):
    return Query(tenant="default", page_size=10, **fields)


def test_token_round_trip():
    token = write_token(query(state=3), 123, "run-1")
    assert read_token(query(state=3, page_token=token)) == (123, "run-1")
    assert read_token(query()) is None


def test_token_belongs_to_its_filters():
    token = write_token(query(labels={"a": "b"}), 123, "run-1")
    with pytest.raises(PageTokenError, match="filters"):
        read_token(query(page_token=token))


@pytest.mark.parametrize("token", ["x", "!!!", "eyJ9", "bnVsbA", "W10"])
def test_damaged_tokens(token):
    with pytest.raises(PageTokenError):
        read_token(query(page_token=token))
