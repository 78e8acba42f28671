"""`hotfire rules`: the catalogue, and a rule's page. Offline."""

from __future__ import annotations

import difflib
from typing import Annotated

import typer

from hotfire import wire
from hotfire.cli import exits, options
from hotfire.cli.output import Output
from hotfire.errors import SettingsError
from hotfire.rules.engine import Rule, all_rules, find_rule
from hotfire.v1 import preflight_service_pb2 as service_pb2

_FIELDS = ("id", "name", "category", "severity", "summary", "documentation")


def rules(
    rule: Annotated[
        str | None, typer.Argument(metavar="ID|NAME", help="Show this rule's page.", show_default=False)
    ] = None,
    format_: options.PlainFormatOption = options.PlainFormat.PRETTY,
    output: options.Output = None,
) -> int:
    """List the rules, or explain one."""
    from hotfire.render import lists

    out = Output(format_, output)
    if rule is None:
        catalogue = [_message(r) for r in all_rules()]
        out.message(service_pb2.ListRulesResponse(rules=catalogue), lists.rules(catalogue))
        return exits.OK
    found = find_rule(rule)
    if found is None:
        names = [name for r in all_rules() for name in (r.id, r.name)]
        near = difflib.get_close_matches(rule, names, n=1)
        raise SettingsError(
            f"there is no rule {rule!r}"
            + (f"; did you mean {near[0]}?" if near else "; hotfire rules lists them")
        )
    message = _message(found)
    out.message(message, lists.rule_page(message))
    return exits.OK


def _message(rule: Rule) -> service_pb2.Rule:
    return wire.record_to_message({name: getattr(rule, name) for name in _FIELDS}, service_pb2.Rule)
