"""D119 unreadable-sample."""

from __future__ import annotations

from collections.abc import Iterable

from hotfire.rules.data.malformed_row import NAMED_ELSEWHERE
from hotfire.rules.engine import Rule, Skip
from hotfire.rules.evidence import Evidence, Finding, Fix, Location, Severity


class UnreadableSample(Rule):
    """The data cannot be read, is empty, or has no usable row.

    Why:
        Nothing can be said about training without a row to train on, and the job itself will stop here.

    Example:
        A Git LFS pointer instead of the file; an empty file; a Parquet file where JSON Lines were meant; rows
        with columns that no known format has.

    Fix:
        The message says what was found and what is wanted: JSON Lines with messages, prompt and completion,
        instruction and output, text, or input_ids.

    Source:
        The formats are those of the contract's `DataSpec.format`.
    """

    id = "D119"
    name = "unreadable-sample"
    severity = Severity.ERROR
    needs = ("data",)

    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """Judges the sample as a whole."""
        data = evidence.data
        assert data is not None
        numbers = {
            "num_rows_read": data.num_rows_read,
            "num_rows_usable": data.num_rows_usable,
            "format": data.format,
        }
        place = Location(config_path="/data")
        if data.read_error is not None:
            yield Finding(
                message=f"The data sample cannot be read: {data.read_error.rstrip('.')}.",
                location=place,
                evidence=numbers,
                fix=Fix(
                    description="Give JSON Lines in one of the known formats, or name the columns with "
                    "data.columns."
                ),
            )
        elif data.num_rows_read == 0:
            yield Finding(
                message="The data sample is empty.",
                location=place,
                evidence=numbers,
                fix=Fix(description="Give at least as many rows as one optimizer step takes."),
            )
        elif data.num_rows_usable == 0:
            model = evidence.model
            if not data.rejected and model is not None and (not model.readable or model.blocked is not None):
                # They were read, but there is no tokenizer to use them with.
                raise Skip("the rows were not tokenised, because the model could not be loaded")
            if data.rejected and all(row.kind in NAMED_ELSEWHERE for row in data.rejected):
                return  # unknown-role, role-order or template-mismatch says what is wrong with them
            first = data.rejected[0] if data.rejected else None
            why = f": row {first.row}: {first.reason.rstrip('.')}" if first else ""
            yield Finding(
                message=f"None of the {data.num_rows_read} rows can be used{why}.",
                location=Location(config_path="/data", row=first.row if first else None),
                evidence=numbers,
                fix=Fix(description="Repair the rows; unknown-role and malformed-row name the reasons."),
            )
