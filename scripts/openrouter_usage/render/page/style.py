"""The style sheet of the page: light and dark, on paper, and as narrow as a phone."""

from __future__ import annotations

from openrouter_usage.render.page.colours import DARK, LIGHT, properties

STYLE = f"""
:root {{ color-scheme: light dark; {properties(LIGHT)} }}
@media (prefers-color-scheme: dark) {{ :root {{ {properties(DARK)} }} }}
* {{ box-sizing: border-box; }}
body {{
  margin: 0; background: var(--ground); color: var(--ink); overflow-wrap: anywhere;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
}}
main {{ max-width: 1040px; margin: 0 auto; padding: 32px 24px 48px; }}
h1 {{ font-size: 1.6rem; line-height: 1.25; margin: 0 0 4px; }}
.title {{ font-size: 1.2rem; margin: 0; }}
h2 {{ font-size: 1.1rem; margin: 0 0 4px; }}
p {{ margin: 0 0 8px; }}
section, .tiles div {{ background: var(--card); border: 1px solid var(--line); border-radius: 12px; }}
section {{ padding: 20px 24px; margin: 16px 0 0; }}
.muted, figcaption, caption, .tiles dt, .tiles .more {{ color: var(--muted); font-size: 0.875rem; }}
.tiles {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(190px, 1fr)); gap: 12px; margin: 20px 0 0; }}
.tiles div {{ padding: 14px 18px; }}
.tiles dd {{ margin: 0; }}
.tiles .figure {{ font-size: 1.5rem; font-weight: 600; line-height: 1.3; font-variant-numeric: tabular-nums; }}
.tiles .warn {{ border-color: var(--unknown); border-style: dashed; border-width: 2px; }}
figure {{ margin: 12px 0 0; }}
.chart {{ display: flex; }}
.chart svg {{ display: block; flex: none; overflow: visible; }}
.chart .plot {{ flex: 1 1 0; min-width: 0; width: 100%; }}
.bar:hover .hit {{ fill: var(--line); fill-opacity: 0.55; }}
.legend {{ display: flex; flex-wrap: wrap; gap: 4px 18px; list-style: none; margin: 12px 0 0; padding: 0; }}
.legend li {{ font-size: 0.875rem; }}
.swatch {{ display: inline-block; margin-right: 7px; vertical-align: -1px; }}
.shares, .notes {{ list-style: none; margin: 8px 0 0; padding: 0; }}
.below {{ margin: 20px 0 0; }}
.notes {{ margin-top: 16px; }}
footer {{ margin-top: 24px; }}
.shares li {{ margin: 12px 0 0; }}
.pair {{ display: flex; flex-wrap: wrap; justify-content: space-between; gap: 0 16px; }}
.meter {{ display: block; width: 100%; margin-top: 4px; }}
.scroll {{ overflow-x: auto; margin: 8px -8px 0; padding: 0 8px; }}
.scroll + .scroll, .shares + .scroll {{ margin-top: 24px; }}
table {{ border-collapse: collapse; width: 100%; font-size: 0.875rem; font-variant-numeric: tabular-nums; }}
caption {{ text-align: left; padding: 0 0 8px; }}
th, td {{ padding: 6px 10px; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }}
th {{ font-weight: 600; }}
thead th {{ vertical-align: bottom; white-space: normal; overflow-wrap: break-word; min-width: 6em; max-width: 12em; }}
th:first-child {{ text-align: left; padding-left: 0; white-space: normal; min-width: 7.5em; }}
tfoot th, tfoot td {{ border-bottom: 0; font-weight: 600; }}
:focus-visible {{ outline: 3px solid var(--model0); outline-offset: 2px; }}
@media (max-width: 640px) {{
  main {{ padding: 20px 12px 32px; }}
  section {{ padding: 16px; }}
  .minor {{ display: none; }}
  .tiles {{ grid-template-columns: 1fr 1fr; gap: 8px; }}
  .tiles div {{ padding: 12px; }}
  .tiles .figure {{ font-size: 1.2rem; }}
}}
@media print {{
  body {{ background: none; }}
  section, .tiles div {{ break-inside: avoid; }}
  .figures {{ break-inside: auto; }}
  .scroll {{ overflow: visible; }}
}}
"""
