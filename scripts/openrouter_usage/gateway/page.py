"""The gateway's page for the user's browser: the ledger's figures and the calls that run; it only reads.

`gateway page` gets a link with a code that works once, and the browser gets a cookie for it. No page of another site,
and no other program that knows the port, gets the figures without one of the two.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets as tokens
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from aiohttp import web

from openrouter_usage.called import as_called
from openrouter_usage.errors import OpenRouterUsageError
from openrouter_usage.figures.page import Live
from openrouter_usage.figures.summary import Summary
from openrouter_usage.home.settings import Settings
from openrouter_usage.jobs.breakdown import foreseeing_summary
from openrouter_usage.jobs.page import Asked, ledger_page
from openrouter_usage.jobs.snapshot import latest
from openrouter_usage.ledger.engines import open_ledger
from openrouter_usage.period import UTC, days, so_far
from openrouter_usage.render.page import Frame, note_page, policy, render
from openrouter_usage.tracker.record import utc_now
from openrouter_usage.vocabulary import before, days_of_word, spoken_word

_CODE_S, _MOST_CODES = 120.0, 8
_VISIT_S, _MOST_VISITS = 12 * 3600.0, 32
_FRESH_S = 2.0
_LOCK_S = 2.0
# OpenRouter is asked at most this often, and only while somebody looks.
_ASKED_S, _ASK_TIMEOUT_S = 300, 5.0
_PERIODS = ("today", "7d", "30d", "month")
_USUAL = "30d"
_EVERY_S = 10
_SCRIPT = f"""
setInterval(async () => {{
  const main = document.querySelector('main'), state = document.getElementById('state');
  if (!document.getElementById('renew').checked || document.hidden) return;
  if (main.querySelector('.day:hover, .day :focus-visible, .scroll:focus')) return;
  try {{
    const answer = await fetch(location.href, {{ cache: 'no-store' }});
    if (!answer.ok) throw new Error(answer.status);
    const found = new DOMParser().parseFromString(await answer.text(), 'text/html').querySelector('main');
    const fold = main.querySelector('#fold'), now = found.querySelector('#fold');
    if (fold && now) now.checked = fold.checked;
    main.replaceWith(found);
    state.textContent = '';
  }} catch (error) {{
    state.textContent = 'The gateway does not answer: these figures are old.';
  }}
}}, {_EVERY_S * 1000});
"""
_SWITCH = (
    '<p class="switch"><label><input type="checkbox" id="renew" checked> '
    f'renew every {_EVERY_S} seconds</label> <span id="state" role="status"></span></p>'
)
_OTHERS = ("cross-site", "same-site")


class _Kept(NamedTuple):
    """A page, when it was made, and how many calls had ended and were running then."""

    made_at: float
    state: tuple[int, int]
    page: str


class OwnPage:
    """Codes, the browsers that have shown one, and the page, made in a thread and kept for a moment."""

    def __init__(self, settings: Settings, ledger: Path | None, live: Callable[[], Live]) -> None:
        """Begin with nobody let in."""
        self._settings, self._ledger, self._live = settings, ledger, live
        self._codes: dict[str, float] = {}
        self._visits: dict[str, float] = {}
        self._kept: dict[str, _Kept] = {}
        self._making = asyncio.Lock()

    def new_code(self) -> str:
        """Return a code that lets one browser in, once, within two minutes."""
        return _put(self._codes, _CODE_S, _MOST_CODES)

    async def answer(self, request: web.BaseRequest) -> web.Response | None:
        """Return the page, or why it is not shown; None for a program that only wants to know whether this runs."""
        cookie = f"openrouter-usage-{request.transport and request.transport.get_extra_info('sockname')[1]}"
        code = request.query.get("once")
        if code is not None:
            return self._let_in(code, cookie)
        visit = request.cookies.get(cookie, "")
        if not _take(self._visits, visit, keep=True):
            is_browser = "text/html" in request.headers.get("Accept", "")
            return _told(401, _how_to_get_in()) if is_browser else None
        if request.headers.get("Sec-Fetch-Site") in _OTHERS:
            return _told(403, "This page is not shown to other sites: open it by its address.")
        return await self._page(request.query.get("period", _USUAL))

    def _let_in(self, code: str, cookie: str) -> web.Response:
        if not _take(self._codes, code):
            return _told(401, f"This link has been used, or is too old. {_how_to_get_in()}")
        # Not a redirect: after one that another program began, a browser would keep a strict cookie back.
        answer = _told(200, "The page opens.", leads_on=True)
        visit = _put(self._visits, _VISIT_S, _MOST_VISITS)
        answer.set_cookie(cookie, visit, httponly=True, samesite="Strict", path="/", max_age=int(_VISIT_S))
        return answer

    async def _page(self, word: str) -> web.Response:
        if word not in _PERIODS:
            return _told(400, f"The period is one of: {', '.join(_PERIODS)}.")
        frame = Frame(tuple((f"/?period={each}", _name(each), each == word) for each in _PERIODS), _SCRIPT, _SWITCH)
        async with self._making:
            live = self._live()
            # A page that somebody has just been shown is still true while no call has begun or ended.
            state = (live.calls, live.running)
            kept = self._kept.get(word)
            if kept and kept.state == state and time.monotonic() - kept.made_at < _FRESH_S:
                page = kept.page
            else:
                try:
                    page = await asyncio.to_thread(self._make, word, live, frame)
                except OpenRouterUsageError as error:
                    return _told(503, f"The figures cannot be read: {error.message}.")
                self._kept[word] = _Kept(time.monotonic(), state, page)
        return _html(200, page, policy(frame))

    def _make(self, word: str, live: Live, frame: Frame) -> str:
        """Make the page, in a thread of its own: calls go on meanwhile."""
        now = utc_now()
        ledger = open_ledger(self._ledger, lock_timeout_s=_LOCK_S)
        try:
            content = ledger_page(ledger, _asked(word, now), now, live=live, ask=lambda: self._summary(now))
        finally:
            ledger.close()
        return render(content, frame)

    def _summary(self, now: datetime) -> Summary:
        return foreseeing_summary(latest(self._settings, now, max_age_s=_ASKED_S, timeout_s=_ASK_TIMEOUT_S).parts)


def _asked(word: str, now: datetime) -> Asked:
    span = days_of_word(word, now.date())
    period = days(span.first, span.last, word)
    earlier = before(span, word)
    beside = so_far(days(earlier.first, earlier.last, "before"), period, now)
    return Asked(f"{_name(word)}, {span}", period, UTC, before=beside)


def _name(word: str) -> str:
    return spoken_word(word).capitalize()


def _put(found: dict[str, float], lasts_s: float, most: int) -> str:
    """Add a secret that lasts for some seconds; the oldest one gives way."""
    moment = time.monotonic()
    for old in [each for each, ends in found.items() if ends <= moment]:
        del found[old]
    while len(found) >= most:
        del found[next(iter(found))]
    secret = tokens.token_urlsafe(32)
    found[secret] = moment + lasts_s
    return secret


def _take(found: dict[str, float], given: str, *, keep: bool = False) -> bool:
    """Check whether a secret is known, comparing all in the same time; it is forgotten unless it is kept."""
    moment, known = time.monotonic(), ""
    for each, ends in found.items():
        if hmac.compare_digest(each.encode(), given.encode("utf-8", "replace")) and ends > moment:
            known = each
    if known and not keep:
        del found[known]
    return bool(known)


def _how_to_get_in() -> str:
    return as_called("For a link to this page run: cost_tracker.py gateway page")


def _told(status: int, words: str, *, leads_on: bool = False) -> web.Response:
    page, rule = note_page(words, leads_to="/" if leads_on else "")
    return _html(status, page, rule)


def _html(status: int, page: str, rule: str) -> web.Response:
    return web.Response(
        status=status,
        body=page.encode(),
        content_type="text/html",
        charset="utf-8",
        headers={
            "Content-Security-Policy": f"{rule}; frame-ancestors 'none'",
            "Cache-Control": "no-store",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
        },
    )
