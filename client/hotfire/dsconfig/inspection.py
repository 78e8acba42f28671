"""One walk over a config: every place at which a DeepSpeed version raises, ignores or reinterprets it.

The rules C102 to C105 report what is found here, each its own kinds. It mirrors `DeepSpeedConfig.__init__` and,
for the numbers nobody checks before they are used, the place of use (optimizer, scheduler, engine).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from hotfire.dsconfig import combinations, schema, values
from hotfire.dsconfig.hjson_reader import escape
from hotfire.dsconfig.schema_keys import Key, Section, anything, integer, number
from hotfire.dsconfig.schema_optimizers import OPTIMIZERS
from hotfire.dsconfig.versions import Version, parse

_COUNTS = ("/train_batch_size", "/train_micro_batch_size_per_gpu", "/gradient_accumulation_steps")
_MONITORS = ("/tensorboard", "/wandb", "/csv_monitor", "/comet")
_CRASHES = (
    *_COUNTS,
    "/gradient_clipping",
    "/steps_per_print",
    "/gradient_predivide_factor",
    "/wall_clock_breakdown",
    "/flops_profiler/enabled",
    "/checkpoint/parallel_write/pipeline_stage",
    "/vocabulary_size",
    "/sequence_parallel_size",
    "/optimizer/type",
    "/optimizer/params/",
)
_CRASHES_IF_ON = {
    "/flops_profiler": ("profile_step", "module_depth", "recompute_fwd_factor"),
    "/data_efficiency/data_routing/random_ltd": (
        *("total_layer_num", "random_ltd_layer_num", "random_ltd_schedule/min_value"),
        *("random_ltd_schedule/max_value", "random_ltd_schedule/schedule_config"),
    ),
}
"""Section -> numbers in it that are computed with once it, and every section above it, is enabled."""
_COMMENTS = ("comment", "comments", "//", "#")
_POSITIVE_STEPS = "0.19.3"

_READ_IF_ON = "/data_efficiency/data_routing/random_ltd/"
"""Nothing looks at what is in there before it is enabled."""


@dataclass(slots=True, kw_only=True)
class Issue:
    """One thing about one key."""

    kind: str
    """"unknown-key", "misplaced-key", "removed-key", "newer-key", "older-key", "wrong-type", "out-of-range",
    "combination", "without-type"."""
    pointer: str
    """Within the config."""
    refused: bool
    """DeepSpeed raises."""
    value: Any = None
    key: Key | None = None
    misfit: values.Misfit | None = None
    suggestion: str | None = None
    """The known name that was probably meant."""
    belongs_to: str | None = None
    """Pointer of the section in which the key is known."""
    section_off: bool = False
    """A whole section is without effect because of it."""
    detail: str = ""
    """What cannot be told from the fields: a sentence."""
    late: bool = False
    """Refused when the engine makes what is described there, unless the code hands over its own."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the walk asks about."""

    version: Version
    crashes: tuple[str, ...]
    """Beginnings of the pointers where a value of a wrong type raises once it is used."""


def inspect(given: dict[str, Any], version: str | None) -> list[Issue]:
    """Everything that is noteworthy about the config, for this DeepSpeed version (None: the newest known).

    Batch arithmetic and "auto" are not looked at here: see `effective.batch` and C106.
    """
    at = parse(version)
    issues = list(_section(given, schema.ROOT, "", _Asked(at, tuple(_crashing(given)))))
    issues += _scheduler(given, at)
    issues += _optimizer(given)
    issues += _nameless(given)
    for combination in combinations.check(given, at):
        refused = combination.refused
        issues.append(
            Issue(
                kind="combination", pointer=combination.pointer, refused=refused, detail=combination.message
            )
        )
    return issues


def _crashing(given: dict[str, Any]) -> Iterator[str]:
    yield from _CRASHES
    for pointer, names in _CRASHES_IF_ON.items():
        node: Any = given
        for token in pointer.split("/")[1:]:
            node = node.get(token) if isinstance(node, dict) else None
            node = node if _enabled(node) else None
        if node is not None:
            yield from (f"{pointer}/{name}" for name in names)


def _enabled(section: Any) -> bool:
    return isinstance(section, dict) and bool(section.get("enabled"))


def _section(given: dict[str, Any], section: Section, pointer: str, asked: _Asked) -> Iterator[Issue]:
    strict = section.strict(asked.version)
    for name, value in given.items():
        here = f"{pointer}/{escape(str(name))}"
        if (str(name).startswith("_") and not strict) or _is_shadowed(here, given):
            continue
        key = section.find(str(name))
        if key is None:
            if not section.any_key:
                yield from _unknown(str(name), value, given, section, here, strict)
        elif not key.known(asked.version):
            yield from _other_version(key, value, here, strict, asked.version)
        else:
            yield from _value(key, value, here, strict, asked)


def _is_shadowed(here: str, given: dict[str, Any]) -> bool:
    """The old name of bf16 is not read where the new one is given."""
    return here == "/bfloat16" and given.get("bf16") is not None


def _value(key: Key, value: Any, here: str, strict: bool, asked: _Asked) -> Iterator[Issue]:
    dropped = strict or here in _MONITORS
    if value == "auto" and (dropped or key.kind not in ("section", "choice")):
        return  # dropped before it is looked at; elsewhere C106 judges it
    if here == "/zero_optimization" and isinstance(value, bool):
        return  # the oldest form: true stands for stage 1
    if strict:
        misfit = values.check_strict(key, value, asked.version)
    else:
        crashes = here.startswith(asked.crashes)
        misfit = values.check_used(key, value, crashes=crashes)
        if misfit is not None and not crashes and here.startswith(_READ_IF_ON):
            misfit = replace(misfit, refused=False, taken=value)
    if misfit is not None:
        kind = "out-of-range" if misfit.range else "wrong-type"
        yield Issue(kind=kind, pointer=here, refused=misfit.refused, value=value, key=key, misfit=misfit)
    if key.section is not None and isinstance(value, dict):
        yield from _section(value, key.section, here, asked)


def _unknown(
    name: str, value: Any, given: dict[str, Any], section: Section, here: str, strict: bool
) -> Iterator[Issue]:
    if name.startswith("_") and value == "auto":
        return
    suggestion = None if name.lower() in _COMMENTS else schema.nearest(name, section)
    if suggestion is not None and suggestion in given:
        suggestion = None  # it stands there already: this is something else
    elsewhere = _home(name) if suggestion is None else None
    meant = section.find(suggestion) if suggestion is not None else None
    off = (
        meant is not None
        and meant.kind == "section"
        and isinstance(value, dict)
        and schema.edit_distance(name.lower().replace("-", "_"), suggestion or "") <= schema.MAX_EDITS
    )
    yield Issue(
        kind="misplaced-key" if elsewhere is not None and not strict else "unknown-key",
        pointer=here,
        # A strict section drops every "auto" before it looks at the names.
        refused=strict and value != "auto",
        value=value,
        suggestion=suggestion,
        belongs_to=elsewhere,
        section_off=off,
    )


def _home(name: str) -> str | None:
    """The one section in which a key of this name is known; None if there is none, or more than one."""
    homes = {
        p.rpartition("/")[0] for p, key in schema.KEYS.items() if p.endswith("/" + name) and not key.removed
    }
    homes.discard("/bfloat16")
    return homes.pop() if len(homes) == 1 else None


def _other_version(key: Key, value: Any, here: str, strict: bool, version: Version) -> Iterator[Issue]:
    gone = key.until is not None and version >= parse(key.until)
    kind = "newer-key" if not gone else "removed-key" if key.removed else "older-key"
    # A removed feature is refused by name, whatever the value; the others only by a strict section.
    refused = True if kind == "removed-key" else strict and value != "auto"
    yield Issue(kind=kind, pointer=here, refused=refused, value=value, key=key)


def _scheduler(given: dict[str, Any], version: Version) -> Iterator[Issue]:
    """What the constructors of DeepSpeed's schedulers refuse."""
    section = given.get("scheduler")
    if not isinstance(section, dict):
        return
    kind, params = section.get("type"), section.get("params")
    takes = schema.SCHEDULERS.get(kind) if isinstance(kind, str) else None
    if takes is None or not isinstance(params, dict):
        return
    known = Section(keys=takes)
    for name, value in params.items():
        here = f"/scheduler/params/{escape(str(name))}"
        key = known.find(str(name))
        if key is None:
            suggestion = schema.nearest(str(name), known)
            suggestion = None if suggestion in params else suggestion
            yield Issue(
                kind="unknown-key",
                pointer=here,
                refused=True,
                value=value,
                suggestion=suggestion,
                detail=f"{kind} takes no {name}: its constructor raises a TypeError",
            )
        elif value != "auto":
            yield from _scheduler_value(key, value, here, version)


def _optimizer(given: dict[str, Any]) -> Iterator[Issue]:
    """What the constructors of the optimizers refuse."""
    section = given.get("optimizer")
    if not isinstance(section, dict):
        return
    kind, params = section.get("type"), section.get("params")
    takes = OPTIMIZERS.get(kind.lower()) if isinstance(kind, str) else None
    if takes is None or not isinstance(params, dict):
        return
    known = Section(keys=tuple(anything(name) for name in takes))
    for name, value in params.items():
        if name in takes:
            yield from _optimizer_number(str(name), value)
            continue
        if name == "max_grad_norm":  # C118's
            continue
        suggestion = schema.nearest(str(name), known)
        yield Issue(
            kind="unknown-key",
            pointer=f"/optimizer/params/{escape(str(name))}",
            refused=False,
            late=True,
            value=value,
            suggestion=None if suggestion in params else suggestion,
            detail=f"{kind} takes no {name}: the engine fails with a TypeError when it makes the optimizer",
        )


def _optimizer_number(name: str, value: Any) -> Iterator[Issue]:
    """Text that spells a number, in a parameter that the key table does not list: nothing checks it."""
    misfit = None
    if isinstance(value, str) and schema.lookup(f"/optimizer/params/{name}") is None and value != "auto":
        misfit = values.check_used(number(name), value, crashes=False)
    if misfit is not None and misfit.better is not None:
        yield Issue(
            kind="wrong-type",
            pointer=f"/optimizer/params/{name}",
            refused=misfit.refused,
            value=value,
            misfit=misfit,
        )


def _nameless(given: dict[str, Any]) -> Iterator[Issue]:
    """A section that describes an optimizer or a scheduler of no type: DeepSpeed looks at the type alone."""
    for name in ("optimizer", "scheduler"):
        section = given.get(name)
        # A name that is not known is reported by itself: it may be the type's.
        if (
            isinstance(section, dict)
            and set(section) <= {"params", "legacy_fusion"}
            and section.get("params")
        ):
            yield Issue(
                kind="without-type",
                pointer=f"/{name}/type",
                refused=False,
                value=None,
                detail=f"{name} gives no type: DeepSpeed makes no {name} of it, and ignores its params",
            )


def _scheduler_value(key: Key, value: Any, here: str, version: Version) -> Iterator[Issue]:
    per_group = isinstance(value, list) and key.kind == "float"
    misfit = None if per_group else values.check_used(key, value, crashes=True)
    if key.name in ("warmup_num_steps", "lr_range_test_step_size"):
        since = _POSITIVE_STEPS if key.name == "warmup_num_steps" else "0.19.4"
        if version >= parse(since):
            misfit = values.check_strict(integer(key.name, gt=0), value, version)
            if misfit is None and isinstance(value, float):
                misfit = values.Misfit(
                    refused=True, expected="a whole number without a decimal point", better=int(value)
                )
            elif misfit is not None and not misfit.refused:
                misfit = values.Misfit(refused=True, expected=misfit.expected, better=misfit.better)
    if misfit is not None:
        kind = "out-of-range" if misfit.range else "wrong-type"
        yield Issue(kind=kind, pointer=here, refused=misfit.refused, value=value, key=key, misfit=misfit)
