"""One door to the formats that are text."""

from __future__ import annotations

from hotfire.render.result import Result

TEXT_FORMATS = ("markdown", "sarif", "junit", "github", "html")


def render(format_: str, result: Result) -> str:
    """A result as text.

    Args:
        format_: One of `TEXT_FORMATS`.
        result: What is to be told.
    """
    if format_ == "markdown":
        from hotfire.render import markdown

        return markdown.render(result.preflight)
    if format_ == "sarif":
        from hotfire.render import sarif

        return sarif.render(result)
    if format_ == "junit":
        from hotfire.render import junit

        return junit.render(result)
    if format_ == "github":
        from hotfire.render import github

        return github.render(result)
    from hotfire.render import html

    return html.render(result)
