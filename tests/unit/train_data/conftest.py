"""The families of tokenizers, made once."""

from __future__ import annotations

import pytest
from tests.unit.train_data import families


@pytest.fixture(scope="session", params=families.FAMILIES)
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> families.Family:
    return families.make_family(request.param, tmp_path_factory.mktemp("family"))
