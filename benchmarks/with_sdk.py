"""The same two questions asked through the official SDK, the way a short script would."""

from __future__ import annotations

import os
from collections import defaultdict
from datetime import datetime, timedelta, timezone

from openrouter import OpenRouter

with OpenRouter(api_key=os.environ["OPENROUTER_API_KEY"], server_url=os.environ["OPENROUTER_BASE_URL"]) as client:
    key = client.api_keys.get_current_key_metadata().data
    # One client for both keys: its second request reuses the connection of the first.
    manager = {"Authorization": "Bearer " + os.environ["OPENROUTER_MGMT_KEY"]}
    rows = client.analytics.get_user_activity(http_headers=manager).data

first_day = (datetime.now(timezone.utc) - timedelta(days=7)).strftime("%Y-%m-%d")
spent: dict[str, float] = defaultdict(float)
for row in rows:
    if row.date_[:10] >= first_day:
        spent[row.model] += row.usage
print(key.usage_daily, key.usage_weekly, key.usage_monthly, key.limit_remaining)
for model, usage in sorted(spent.items(), key=lambda item: -item[1])[:5]:
    print(model, round(usage, 6))
