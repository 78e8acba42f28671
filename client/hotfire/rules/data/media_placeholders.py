"""D120 media-placeholders."""

from __future__ import annotations

from collections.abc import Iterable

from hotfire.rules.engine import Rule, Skip
from hotfire.rules.evidence import Evidence, Finding, Fix, Location, Severity
from hotfire.rules.remedy import set_value
from hotfire.rules.wording import counted, listed


class MediaPlaceholders(Rule):
    """Images, audio or video of a row do not fit the placeholder tokens among its ids.

    Why:
        The model puts the features of an image in place of its placeholder tokens. Where truncation cuts
        placeholders off and the pixels stay, or where a row has an image and no placeholder, the forward
        raises, or puts features where text should be.

    Example:
        `max_length: 512` with an image of 1,024 placeholder tokens.

    Fix:
        A `max_length` that keeps the placeholders, or none; one placeholder for every image.

    Source:
        huggingface/trl commit 2f68c7319 (pull request 5927); transformers `get_placeholder_mask`.
    """

    id = "D120"
    name = "media-placeholders"
    severity = Severity.ERROR
    needs = ("data",)

    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """One finding for every kind of media and of trouble."""
        data = evidence.data
        assert data is not None
        media = data.extra.get("media")
        if not media:
            raise Skip("no row has an image, audio or video")
        kinds = listed(sorted(media["num_rows"]))
        if not media["placeholder_ids"]:
            raise Skip(
                f"rows have {kinds}, but config.json names no placeholder token (such as image_token_id), so "
                "that they cannot be counted"
            )
        if not media["has_processor"]:
            raise Skip(
                f"rows have {kinds}, but no processor is in the model folder (processor_config.json or "
                "preprocessor_config.json), so that their placeholders cannot be counted"
            )
        for name, facts in media["problems"].items():
            kind, _, problem = name.partition("_")
            count, rows = facts["num_rows"], facts["rows"]
            is_cut = problem == "cut"
            what = (
                f"max_length {data.max_length} cuts off placeholder tokens of {kind}, while the {kind} itself "
                "stays"
                if is_cut
                else f"the number of placeholder tokens does not fit the number of {kind}s"
            )
            yield Finding(
                message=f"In {counted(count, 'row')} of {len(data.rows)} {what}. Rows {listed(rows)}.",
                location=Location(
                    row=rows[0] if rows else None, config_path="/training/max_length" if is_cut else "/data"
                ),
                evidence={
                    "kind": kind,
                    "problem": problem,
                    "num_rows_affected": count,
                    "rows": rows[:20],
                    "max_length": data.max_length,
                },
                fix=_longer(evidence) if is_cut else Fix(description=f"Give one placeholder per {kind}."),
            )


def _longer(evidence: Evidence) -> Fix:
    data, model = evidence.data, evidence.model
    needed = max((row.num_tokens_untruncated for row in data.rows), default=0) if data else 0
    limit = model.max_positions if model else None
    if limit is not None and needed > limit:
        return Fix(
            description=f"Make these rows shorter: the longest has {needed} tokens, the model {limit}."
        )
    if (evidence.training or {}).get("max_length") is None:
        return Fix(description="Cut nothing off rows with media.")
    return Fix(
        description="Cut nothing off.",
        patch=[set_value(evidence, "/training/max_length", -(-needed // 64) * 64)],
    )
