// Opens a page in headless Chromium and says as JSON what it did: console messages, requests, what is wider than the
// window, what a screen reader could not name, whether a figure leads to its records, a folded part opens and a flame graph can be worked with.
//
//   node check.mjs CHROMIUM PAGE [FOLDER]     screenshots and a PDF go into FOLDER

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

import { open, tab } from './devtools.mjs';

const [chromium, page, folder] = process.argv.slice(2);
const url = pathToFileURL(page).href;
const { send, event, close, ...browser } = open(chromium);

// What of the page reaches beyond the window, and what has no name. Tables scroll within boxes of their own.
const inspect = `(() => {
  const wide = [...document.querySelectorAll('body *')].filter((one) =>
    one.getBoundingClientRect().right > innerWidth + 1 && !one.closest('.scroll, svg, pre, .skip, .graph'));
  const named = (one) => one.getAttribute('aria-label') || one.getAttribute('aria-labelledby') || one.querySelector('title');
  const levels = [...document.querySelectorAll('h1, h2, h3, h4, h5')].map((one) => Number(one.tagName[1]));
  return {
    overflow: document.documentElement.scrollWidth - innerWidth,
    wide: wide.slice(0, 5).map((one) => one.outerHTML.slice(0, 160)),
    nameless: [...document.querySelectorAll('svg[role=img], [role=region], nav, select, input')]
      .filter((one) => !named(one) && !one.title).map((one) => one.outerHTML.slice(0, 120)),
    unhidden: [...document.querySelectorAll('figure > svg:not([role]):not([aria-hidden])')].length,
    leaps: levels.filter((level, index) => index > 0 && level > levels[index - 1] + 1).length,
    headless: [...document.querySelectorAll('table')].filter((one) => !one.querySelector('th[scope=col]')).length,
    lang: document.documentElement.lang,
    tall: document.documentElement.scrollHeight,
  };
})()`;

// A figure of a table is followed to its records, which lie in something folded.
const follow = `new Promise((resolve) => {
  document.querySelector('td a[href^="#r-"]').click();
  setTimeout(() => {
    const box = document.querySelector(':target')?.getBoundingClientRect();
    resolve(!!box && box.width > 0 && box.bottom > 0 && box.top < innerHeight);
  }, 300);
})`;

// A flame graph is worked with as a person would: search a function, look at its callers, zoom with the keyboard and go
// back, look at the difference.
const walk = `(async () => {
  const pause = () => new Promise((resolve) => setTimeout(resolve, 60));
  const box = document.querySelector('.flames');
  if (!box) return { missing: true };
  const graph = box.querySelector('.graph');
  const count = () => graph.querySelectorAll('.frame').length;
  const press = (key) => graph.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true }));
  await pause();
  const all = count();
  const name = box.querySelector('.functions tbody button').textContent;
  const search = box.querySelector('input[type=search]');
  search.value = name.slice(0, 6);
  search.dispatchEvent(new Event('input', { bubbles: true }));
  await pause();
  const hits = graph.querySelectorAll('.frame.hit').length;
  box.querySelector('.functions tbody button').click();
  await pause();
  const callers = box.querySelectorAll('.sandwich li').length;
  search.value = '';
  search.dispatchEvent(new Event('input', { bubbles: true }));
  press('ArrowDown');
  press('ArrowDown');
  await pause();
  const moved = !!graph.querySelector('.frame.chosen');
  press('Enter');
  await pause();
  const zoomed = count() <= all && !box.querySelector('.bar button').disabled;
  press('Escape');
  await pause();
  const whole = count() === all && box.querySelector('.bar button').disabled;
  const choice = box.querySelector('select');
  choice.value = String([...choice.options].findIndex((one) => one.textContent.startsWith('difference')));
  choice.dispatchEvent(new Event('change', { bubbles: true }));
  await pause();
  return { frames: all, functions: box.querySelectorAll('.functions tbody tr').length, hits, callers, moved, zoomed, whole,
    differs: box.querySelectorAll('.functions thead th').length === 5 && count() > 0 };
})()`;

// Tab stops of the page as it opens, and whether a folded part opens by keyboard alone.
const stops = `[...document.querySelectorAll('a[href], button, input, select, summary, [tabindex="0"]')]
  .filter((one) => one.checkVisibility({ contentVisibilityAuto: true })).length`;

const answer = { console: [], requests: [], views: {} };
try {
  const sessionId = await tab({ send, ...browser }, (asked) => asked === url, answer);
  for (const [name, width, scheme] of [['narrow', 400, 'light'], ['middle', 800, 'light'], ['wide', 1600, 'light'], ['dark', 1600, 'dark']]) {
    await send('Emulation.setDeviceMetricsOverride', { width, height: 1000, deviceScaleFactor: 1, mobile: width < 500 }, sessionId);
    await send('Emulation.setEmulatedMedia', { features: [{ name: 'prefers-color-scheme', value: scheme }] }, sessionId);
    const loaded = event('Page.loadEventFired', sessionId);
    await send('Page.navigate', { url }, sessionId);
    await loaded;
    const seen = await send('Runtime.evaluate', { expression: inspect, returnByValue: true }, sessionId);
    answer.views[name] = seen.result.value;
    if (folder) {
      const clip = { x: 0, y: 0, width, height: Math.min(answer.views[name].tall, 12000), scale: 1 };
      const shot = await send('Page.captureScreenshot', { clip, captureBeyondViewport: true }, sessionId);
      writeFileSync(join(folder, `${name}.png`), Buffer.from(shot.data, 'base64'));
    }
  }
  const evaluate = async (expression) => {
    const seen = await send('Runtime.evaluate', { expression, awaitPromise: true, returnByValue: true }, sessionId);
    return seen.result.value ?? seen.exceptionDetails?.exception?.description;
  };
  answer.stops = await evaluate(stops);
  await evaluate(`document.querySelector('section details summary').focus()`);
  for (const type of ['keyDown', 'keyUp'])
    await send('Input.dispatchKeyEvent', { type, key: 'Enter', code: 'Enter', text: '\r', windowsVirtualKeyCode: 13 }, sessionId);
  answer.folded = await evaluate(`document.querySelector('section details').open`);
  answer.graph = await evaluate(walk);
  const followed = await send('Runtime.evaluate', { expression: follow, awaitPromise: true, returnByValue: true }, sessionId);
  answer.followed = followed.result.value;
  const pdf = await send('Page.printToPDF', { printBackground: true }, sessionId);
  answer.pdf_bytes = Buffer.from(pdf.data, 'base64').length;
  if (folder) writeFileSync(join(folder, 'print.pdf'), Buffer.from(pdf.data, 'base64'));
  await close();
} catch (error) {
  answer.error = String(error);
  await close(true);
}
console.log(JSON.stringify(answer, null, 1));
