"""D120."""

from tests.unit.rules.factory import check, data, evidence, row

from hotfire.rules.data import MediaPlaceholders
from hotfire.rules.evidence import Outcome

RULE = MediaPlaceholders()


def _media(**changes: object) -> dict:
    media = {
        "num_rows": {"image": 20},
        "placeholder_ids": {"image": 500},
        "has_processor": True,
        "problems": {},
    }
    return {"media": {**media, **changes}}


def test_bad_placeholders_cut_off() -> None:
    problems = {"image_cut": {"num_rows": 3, "rows": [1, 2, 3]}}
    rows = [row(n, num_tokens_untruncated=700) for n in range(1, 21)]
    given = evidence(data=data(rows, extra=_media(problems=problems)))
    (finding,), _ = check(RULE, given)
    assert "max_length 512 cuts off placeholder tokens of image" in finding.message
    assert finding.fix.patch[0].value == 704


def test_bad_an_image_without_its_placeholder() -> None:
    problems = {"image_mismatch": {"num_rows": 1, "rows": [7]}}
    (finding,), _ = check(RULE, evidence(data=data(extra=_media(problems=problems))))
    assert finding.location.row == 7
    assert "does not fit the number of images" in finding.message


def test_good() -> None:
    findings, outcome = check(RULE, evidence(data=data(extra=_media())))
    assert (findings, outcome.outcome) == ([], Outcome.PASSED)


def test_skips_with_the_reason() -> None:
    def reason(extra: dict) -> str:
        outcome = check(RULE, evidence(data=data(extra=extra)))[1]
        assert outcome.outcome is Outcome.SKIPPED
        return outcome.reason or ""

    assert "no processor is in the model folder" in reason(_media(has_processor=False))
    assert "names no placeholder token" in reason(_media(placeholder_ids={}))
    assert reason({}) == "no row has an image, audio or video"
