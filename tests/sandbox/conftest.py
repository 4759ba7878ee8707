"""An account on which nothing has been spent, at a fixed time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from decimal import Decimal

import pytest

from tests.sandbox import Account, Reply, Sandbox

NOW = datetime(2026, 11, 22, 15, 30, tzinfo=timezone.utc)
PRICE = Decimal("0.001")


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A sandbox whose every call costs the same."""
    with Sandbox(Account.simple(now=lambda: NOW)) as running:
        running.account.reply = Reply("one two three four", cost=PRICE)
        yield running
