// Opens pages in a headless Chromium, as different people see them, and prints what it finds as JSON.
// node look.mjs CHROMIUM TOOLS OUT FILE...   TOOLS has node_modules; screenshots go into OUT, unless it is empty.
// A page that is served is NAME|ADDRESS|COOKIE=VALUE in place of a file.
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

const [chromium, tools, out, ...files] = process.argv.slice(2);
const require = createRequire(join(resolve(tools), 'package.json'));
const playwright = require('playwright-core');
const axe = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');
const QUIET = [
  '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync',
];
const VIEWS = [
  { view: 'light', width: 1280, colorScheme: 'light' },
  { view: 'dark', width: 1280, colorScheme: 'dark' },
  { view: 'phone', width: 390, colorScheme: 'light' },
  { view: 'dark phone', width: 390, colorScheme: 'dark' },
];

// What is written over something else, or over an edge, is not readable.
function inspect() {
  const shown = (element) => element.getClientRects().length > 0;
  const boxes = (root) => [...root.querySelectorAll('text')].filter(shown).map((text) => {
    const { left, right, top, bottom } = text.getBoundingClientRect();
    return { words: text.textContent, left, right, top, bottom };
  });
  const collide = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom - 1 && b.top < a.bottom - 1;
  const overlaps = [];
  const roots = document.documentElement.localName === 'svg' ? [document.documentElement] : document.querySelectorAll('svg');
  for (const root of roots) {
    const texts = boxes(root);
    texts.forEach((a, i) => texts.slice(i + 1).forEach((b) => collide(a, b) && overlaps.push([a.words, b.words])));
  }
  const texts = [...roots].flatMap(boxes);
  const page = document.documentElement;
  return {
    overlaps,
    outside: texts.filter((box) => box.left < 0 || box.right > window.innerWidth).map((box) => box.words),
    wider: Math.max(0, page.scrollWidth - window.innerWidth),
    ground: document.body ? getComputedStyle(document.body).backgroundColor : '',
    figure: document.querySelector('.figure')?.innerText ?? '',
    plots: [...document.querySelectorAll('svg.plot')].map((plot) => Math.round(plot.getBoundingClientRect().width)),
  };
}

// The card of a bar, reached with the keyboard: what is on it, and whether all of it is on the screen.
async function cards(page) {
  const found = [];
  const inputs = await page.locator('.day input').all();
  for (const number of inputs.length ? new Set([0, Math.floor(inputs.length / 2), inputs.length - 1]) : []) {
    await inputs[number].scrollIntoViewIfNeeded();
    await page.keyboard.press('Shift');
    await inputs[number].focus();
    found.push(await page.evaluate(() => [...document.querySelectorAll('.told')].filter((card) => card.getClientRects().length)
      .map((card) => ({ words: card.innerText, ...card.getBoundingClientRect().toJSON() }))
      .map(({ words, left, right }) => ({ words, cut: left < 0 || right > window.innerWidth }))));
  }
  return found.map((shown) => (shown.length === 1 && !shown[0].cut ? shown[0].words : `wrong: ${JSON.stringify(shown)}`));
}

const browser = await playwright.chromium.launch({ executablePath: chromium, args: QUIET });
const found = [];
for (const given of files) {
  const [file, address, cookie] = given.split('|');
  for (const { view, width, colorScheme } of VIEWS) {
    const page = await browser.newPage({ viewport: { width, height: 900 }, colorScheme });
    const url = address || pathToFileURL(resolve(file)).href;
    if (cookie) {
      const [name, value] = cookie.split(/=(.*)/s);
      await page.context().addCookies([{ name, value, url }]);
    }
    const noise = [];
    page.on('console', (message) => noise.push(message.text()));
    page.on('pageerror', (error) => noise.push(String(error)));
    page.on('dialog', (dialog) => { noise.push(`dialog: ${dialog.message()}`); dialog.dismiss(); });
    page.on('request', (request) => request.url() !== url && noise.push(`request: ${request.url()}`));
    await page.goto(url);
    const seen = await page.evaluate(inspect);
    if (out) await page.screenshot({ path: join(out, `${basename(file)} ${view}.png`), fullPage: file.endsWith('.html'), timeout: 90_000 });
    seen.cards = await cards(page);
    if (out && seen.cards.length) await page.screenshot({ path: join(out, `${basename(file)} ${view} card.png`) });
    const quiet = [...noise];
    let violations = [];
    if (file.endsWith('.html')) {
      await page.evaluate(axe);
      const result = await page.evaluate(() => window.axe.run(document, { resultTypes: ['violations'] }));
      violations = result.violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(' ').slice(0, 300)}`);
      seen.passes = result.passes.length;
    }
    found.push({ file: basename(file), view, noise: quiet, violations, ...seen });
    await page.close();
  }
}
await browser.close();
console.log(JSON.stringify(found));
