"""The `max_length` that would keep the answers, as a fix."""

from __future__ import annotations

from hotfire.rules.evidence import DataEvidence, Evidence, Fix, PreparedRow
from hotfire.rules.remedy import set_value
from hotfire.rules.wording import counted, percent

#: Lengths are proposed in multiples of this: kernels like them, and a few tokens are left for the collator.
_MULTIPLE = 64
#: A length this many times what nine rows in ten need is one outlier's, not the data's.
_OUTLIER = 4


def is_truncated(row: PreparedRow) -> bool:
    """Tokens of the row were cut off."""
    return row.num_tokens < row.num_tokens_untruncated


def num_lost(row: PreparedRow) -> int:
    """Supervised tokens that truncation took from the row."""
    if not is_truncated(row) or row.num_supervised_untruncated is None:
        return 0
    return max(0, row.num_supervised_untruncated - row.num_supervised)


def length_fixes(evidence: Evidence, affected: list[PreparedRow]) -> list[Fix]:
    """Fixes for rows whose answer was cut, the best first.

    Args:
        evidence: The job; its data says where rows were cut.
        affected: The rows that lose supervised tokens.
    """
    data = evidence.data
    if data is None or not affected:
        return []
    fixes: list[Fix] = []
    length, num_kept = _length_for(affected, evidence.model.max_positions if evidence.model else None)
    if data.max_length is None or length > data.max_length:
        kept = (
            f"keeps the whole answer of {'the' if num_kept == 1 else 'all'} "
            f"{counted(num_kept, 'affected row')}"
            if num_kept == len(affected)
            else f"keeps the whole answer of {num_kept} of {len(affected)} affected rows"
        )
        fixes.append(
            Fix(
                description=f"max_length {length} {kept}.",
                patch=[set_value(evidence, "/training/max_length", length)],
            )
        )
    if left := _left_truncation(evidence, data, affected):
        fixes.append(left)
    fixes.append(
        Fix(description=f"Drop or shorten the {counted(len(affected), 'row')} that do not fit max_length.")
    )
    return fixes


def _length_for(affected: list[PreparedRow], max_positions: int | None) -> tuple[int, int]:
    """A length, and how many of the rows fit it whole."""
    lengths = sorted(row.num_tokens_untruncated for row in affected)
    typical = lengths[min(len(lengths) - 1, int(0.9 * len(lengths)))]
    needed = lengths[-1] if lengths[-1] <= _OUTLIER * typical else typical
    length = -(-needed // _MULTIPLE) * _MULTIPLE
    if max_positions is not None:
        length = min(length, max_positions)
    return length, sum(size <= length for size in lengths)


def _left_truncation(evidence: Evidence, data: DataEvidence, affected: list[PreparedRow]) -> Fix | None:
    """Cutting on the other side, where that keeps at least part of most answers."""
    if data.max_length is None or (evidence.training or {}).get("truncation_side") == "left":
        return None
    kept = [
        row
        for row in affected
        if row.last_supervised is not None
        and row.last_supervised >= row.num_tokens_untruncated - data.max_length
    ]
    if 2 * len(kept) < len(affected):
        return None
    return Fix(
        description="Cut the beginning of the prompt instead of the answer: keeps the end of the answer in "
        f"{percent(len(kept), len(affected))} of the affected rows.",
        patch=[set_value(evidence, "/training/truncation_side", "left")],
    )
