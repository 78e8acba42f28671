"""Warnings of the libraries: often the only sign of what is wrong, such as an input without a gradient."""

from __future__ import annotations

import logging
import warnings
from typing import Any, TextIO

_LOGGERS = ("transformers", "accelerate", "DeepSpeed", "peft")
_MAX_REMARKS = 20
_MAX_CHARACTERS = 300


class Remarks(logging.Handler):
    """Keeps the distinct warnings of this process, at most 20 of 300 characters, and lets them pass on."""

    def __init__(self) -> None:
        super().__init__(level=logging.WARNING)
        self.texts: list[str] = []

    def listen(self) -> None:
        """Begins. A rank is a process of its own: there is no end to it."""
        show = warnings.showwarning

        def heard(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if not issubclass(category, DeprecationWarning | FutureWarning | ImportWarning | ResourceWarning):
                self._keep(str(message))
            show(message, category, filename, lineno, file, line)

        warnings.showwarning = heard
        for name in _LOGGERS:
            logging.getLogger(name).addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Takes a log record of level WARNING or above."""
        self._keep(record.getMessage())

    def _keep(self, text: Any) -> None:
        text = " ".join(str(text).split())[:_MAX_CHARACTERS]
        if text not in self.texts and len(self.texts) < _MAX_REMARKS:
            self.texts.append(text)
