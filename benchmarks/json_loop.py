"""What one would write instead: json.loads for each line, and the sums of all calls, by model or another field.

Plainer than cost_tracker.py, which makes this comparison a hard one: amounts are added as floating point, an id
that comes twice counts twice, and a damaged line ends it with a traceback.
"""

import json
import sys
from collections import defaultdict

path, by, month = sys.argv[1:]
groups = defaultdict(lambda: [0, 0, 0, 0, 0, 0.0])
with open(path, encoding="utf-8") as file:
    for line in file:
        call = json.loads(line)
        if not call["ts"].startswith(month):
            continue
        group = groups[call["ts"][:10] if by == "day" else call.get(by, "")]
        group[0] += 1
        group[1] += call["prompt_tokens"]
        group[2] += call["completion_tokens"]
        group[3] += call.get("cached_tokens", 0)
        group[4] += call.get("reasoning_tokens", 0)
        group[5] += call.get("cost", 0)
print(f"Total Calls: {sum(group[0] for group in groups.values()):,}")
for name, figures in sorted(groups.items(), key=lambda item: -item[1][5]):
    print(name, *figures)
