"""Do the chat template and the vocabulary belong together?"""

from __future__ import annotations

import re
from typing import Any

_MARKER = re.compile(r"<[|｜][^<>|｜\s]{1,40}[|｜]>|</?(?:start|end)_of_turn>|\[gMASK\]|<sop>|<\|?turn\|?>")
_ROLE_TOKENS = (
    "<|im_start|>",
    "<|start_header_id|>",
    "<start_of_turn>",
    "<|user|>",
    "<｜User｜>",
    "<|start|>",
    "<|turn>",
    "<|im_user|>",
    "<|START_OF_TURN_TOKEN|>",
)
"""Tokens with which public model families begin a turn."""
_PROBE = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hello"}]


def template_facts(tokenizer: Any, own_template: Any = None) -> dict[str, Any]:
    """What the template writes that the vocabulary does not have, and what it leaves unused.

    Args:
        tokenizer: The job's, with the job's template.
        own_template: The template that lies in the model folder; None: there is none.

    Returns:
        `template`: `foreign_markers` (written as if control tokens, and no tokens of this vocabulary),
        `unused_role_tokens` (those of the vocabulary, where the template writes none of them), `is_own`, and
        `lacks_bos` (the folder's own template begins with BOS and the job's does not). Empty without a
        template.
    """
    if tokenizer is None or not tokenizer.chat_template:
        return {}
    rendered = _render(tokenizer, None)
    if rendered is None:
        return {}
    vocabulary = tokenizer.get_vocab()
    markers = list(dict.fromkeys(_MARKER.findall(rendered)))
    role_tokens = [token for token in _ROLE_TOKENS if token in vocabulary]
    bos = tokenizer.bos_token
    is_own = own_template is not None and tokenizer.chat_template == own_template
    own = _render(tokenizer, own_template) if own_template is not None and not is_own else None
    return {
        "template": {
            "foreign_markers": [marker for marker in markers if marker not in vocabulary],
            "unused_role_tokens": [] if any(t in rendered for t in role_tokens) else role_tokens,
            "is_own": is_own,
            "has_own": own_template is not None,
            "lacks_bos": bool(bos and own and own.startswith(bos) and not rendered.startswith(bos)),
        }
    }


def _render(tokenizer: Any, template: Any) -> str | None:
    """A short conversation as the template writes it; None where it refuses it."""
    try:
        return str(tokenizer.apply_chat_template(_PROBE, chat_template=template, tokenize=False))
    except Exception:  # noqa: BLE001 - a template raises what it likes; rows tell of that
        return None
