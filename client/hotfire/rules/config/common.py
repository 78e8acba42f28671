"""What every config rule needs: the config, the asked version, places, patches."""

from __future__ import annotations

from typing import Any

from hotfire.dsconfig import schema, versions
from hotfire.dsconfig.hjson_reader import escape
from hotfire.dsconfig.inspection import Issue, inspect
from hotfire.rules.engine import Skip
from hotfire.rules.evidence import Evidence, Location, PatchOperation

LOADERS = {"TRAINER": "the HF Trainer", "ACCELERATE": "accelerate"}
"""Loops whose loader reads strict JSON, fills in "auto", and insists on a zero_optimization section."""
ROOT = "/deepspeed"


def config_of(evidence: Evidence) -> dict[str, Any]:
    """The config as parsed.

    Raises:
        Skip: Nothing can read it (C101 says so).
    """
    assert evidence.config is not None
    if evidence.config.given is None:
        raise Skip("the config could not be read")
    return evidence.config.given


def version_of(evidence: Evidence) -> str | None:
    """DeepSpeed's version on the target, if it was given."""
    return evidence.cluster.versions.get("deepspeed") if evidence.cluster is not None else None


def issues_of(evidence: Evidence) -> list[Issue]:
    """What the walk over the config finds for the asked version; made once for all rules."""
    config, version = evidence.config, version_of(evidence)
    assert config is not None
    if config.issues is None or config.issues[0] != version:
        config.issues = (version, inspect(config_of(evidence), version))
    found: list[Issue] = config.issues[1]
    return found


def strict_since(pointer: str) -> str | None:
    """First version that refuses what does not belong into the key's section; None: every one, or none does."""
    above = pointer.rpartition("/")[0]
    section, key = schema.section_at(above), schema.lookup(above)
    if section is None or section.strict_since is None:
        return None
    since = section.strict_since if versions.parse(section.strict_since) > (0,) else None
    return since or (key.since if key is not None else None)


def named(evidence: Evidence) -> str:
    """The DeepSpeed that is asked about: "DeepSpeed 0.18.2"."""
    return f"DeepSpeed {version_of(evidence) or versions.KNOWN}"


def place(evidence: Evidence, pointer: str) -> Location:
    """The place of a key, or of the nearest section above it that stands in the text.

    Args:
        evidence: For the positions.
        pointer: Within the config.
    """
    assert evidence.config is not None
    at, above = None, pointer
    while at is None and above:
        at = evidence.config.positions.get(above)
        above = above.rpartition("/")[0]
    line, column = at if at is not None else (None, None)
    return Location(config_path=ROOT + pointer, line=line, column=column)


def value_at(config: dict[str, Any], pointer: str, default: Any = None) -> Any:
    """The value at a pointer within the config."""
    node: Any = config
    for token in pointer.split("/")[1:]:
        if not isinstance(node, dict):
            return default
        node = node.get(token.replace("~1", "/").replace("~0", "~"), default)
    return node


def dotted(pointer: str) -> str:
    """A pointer as people write it: zero_optimization.stage."""
    return ".".join(t.replace("~1", "/").replace("~0", "~") for t in pointer.split("/")[1:])


def put(config: dict[str, Any], pointer: str, value: Any) -> list[PatchOperation]:
    """Sets a key, with the sections above it where they are absent."""
    tokens = pointer.split("/")[1:]
    node: Any = config
    for depth, token in enumerate(tokens[:-1]):
        if not isinstance(node, dict) or not isinstance(node.get(token), dict):
            for rest in reversed(tokens[depth + 1 :]):
                value = {rest: value}
            op = "replace" if isinstance(node, dict) and token in node else "add"
            return [PatchOperation(op=op, path=ROOT + "/" + "/".join(tokens[: depth + 1]), value=value)]
        node = node[token]
    op = "replace" if tokens[-1] in node else "add"
    return [PatchOperation(op=op, path=ROOT + pointer, value=value)]


def drop(pointer: str) -> PatchOperation:
    """Takes a key out."""
    return PatchOperation(op="remove", path=ROOT + pointer)


def move(config: dict[str, Any], old: str, new: str) -> list[PatchOperation]:
    """Gives a key another name or section."""
    return [drop(old), *put(config, new, value_at(config, old))]


def beside(pointer: str, name: str) -> str:
    """The pointer of another key of the same section."""
    return f"{pointer.rpartition('/')[0]}/{escape(name)}"


def is_on(section: Any) -> bool:
    """`enabled` as DeepSpeed reads it; "auto" is not on."""
    return isinstance(section, dict) and truth(section.get("enabled"))


def truth(value: Any) -> bool:
    """A true value as pydantic reads it: 1 and the words on, t, true, y and yes as well."""
    if isinstance(value, str):
        return value.lower() in ("1", "on", "t", "true", "y", "yes")
    return value is True or (isinstance(value, int | float) and value == 1)


def stage_of(config: dict[str, Any]) -> int | None:
    """The ZeRO stage that DeepSpeed takes, 0 where none is given; None where it cannot be told ("auto")."""
    section = config.get("zero_optimization")
    if isinstance(section, bool):
        return int(section)
    if section is None:
        return 0
    stage = section.get("stage", 0) if isinstance(section, dict) else None
    if isinstance(stage, str) and stage.strip() in ("0", "1", "2", "3"):
        return int(stage)
    return int(stage) if isinstance(stage, int | float) and stage in (0, 1, 2, 3) else None
