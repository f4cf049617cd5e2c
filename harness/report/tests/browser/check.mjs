// Opens a page in headless Chromium and says as JSON what it did: console messages, requests, what is wider than the
// window, what a screen reader could not name, whether a figure leads to its records and a flame graph answers a click.
// Speaks the DevTools protocol over a pipe, so it needs no package.
//
//   node check.mjs CHROMIUM PAGE [FOLDER]     screenshots and a PDF go into FOLDER

import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const [chromium, page, folder] = process.argv.slice(2);
const url = pathToFileURL(page).href;
const profile = mkdtempSync(join(tmpdir(), 'uplift-page-'));
const browser = spawn(
  chromium,
  ['--headless', '--no-sandbox', '--disable-gpu', '--hide-scrollbars', '--remote-debugging-pipe', `--user-data-dir=${profile}`],
  { stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'] },
);
const pending = new Map();
const listeners = [];
let next = 0;
let rest = '';
browser.stdio[4].on('data', (chunk) => {
  const parts = (rest + chunk).split('\0');
  rest = parts.pop();
  for (const part of parts) {
    const message = JSON.parse(part);
    if (message.id === undefined) listeners.forEach((listener) => listener(message));
    else {
      const { resolve, reject } = pending.get(message.id);
      pending.delete(message.id);
      if (message.error) reject(new Error(JSON.stringify(message.error)));
      else resolve(message.result);
    }
  }
});
const send = (method, params = {}, sessionId) =>
  new Promise((resolve, reject) => {
    next += 1;
    pending.set(next, { resolve, reject });
    browser.stdio[3].write(JSON.stringify({ id: next, method, params, sessionId }) + '\0');
  });
const event = (name, sessionId) =>
  new Promise((resolve) => {
    const listener = (message) => {
      if (message.method !== name || message.sessionId !== sessionId) return;
      listeners.splice(listeners.indexOf(listener), 1);
      resolve(message.params);
    };
    listeners.push(listener);
  });

// What of the page reaches beyond the window, and what has no name. Tables scroll within boxes of their own.
const inspect = `(() => {
  const wide = [...document.querySelectorAll('body *')].filter((one) =>
    one.getBoundingClientRect().right > innerWidth + 1 && !one.closest('.scroll, iframe, svg, pre, .skip'));
  const named = (one) => one.getAttribute('aria-label') || one.getAttribute('aria-labelledby') || one.querySelector('title');
  const levels = [...document.querySelectorAll('h1, h2, h3, h4')].map((one) => Number(one.tagName[1]));
  return {
    overflow: document.documentElement.scrollWidth - innerWidth,
    wide: wide.slice(0, 5).map((one) => one.outerHTML.slice(0, 160)),
    nameless: [...document.querySelectorAll('svg[role=img], [role=region], nav, iframe')]
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

// A frame of a flame graph that is not as wide as the graph is clicked: the graph must show it alone. A graph is laid out,
// and listens, some time after its page is there: until then a click does nothing.
const zoom = `(async () => {
  const groups = [...document.querySelectorAll('#frames g')];
  const width = (group) => group.querySelector('rect').getBoundingClientRect().width;
  for (let tries = 0; tries < 100; tries++) {
    const widest = Math.max(...groups.map(width));
    const part = groups.find((group) => width(group) > 4 && width(group) < widest / 2);
    const before = part && width(part);
    part?.dispatchEvent(new MouseEvent('click', { bubbles: true }));
    await new Promise((resolve) => setTimeout(resolve, 50));
    if (part && width(part) > 1.5 * before) return { frames: groups.length, grown: true };
  }
  return { frames: groups.length, grown: false };
})()`;

const answer = { console: [], requests: [], views: {}, graphs: [] };
const frames = new Set();
try {
  const { targetId } = await send('Target.createTarget', { url: 'about:blank' });
  const { sessionId } = await send('Target.attachToTarget', { targetId, flatten: true });
  listeners.push((message) => {
    const { method, params } = message;
    if (method === 'Runtime.exceptionThrown') answer.console.push(params.exceptionDetails.text);
    if (method === 'Runtime.consoleAPICalled') answer.console.push(params.args.map((arg) => arg.value).join(' '));
    if (method === 'Log.entryAdded') answer.console.push(`${params.entry.level}: ${params.entry.text}`);
    if (method === 'Network.requestWillBeSent' && params.request.url !== url && !params.request.url.startsWith('data:'))
      answer.requests.push(params.request.url);
    if (method === 'Target.detachedFromTarget') frames.delete(params.sessionId);
    // Frames are looked at like the page.
    if (method === 'Target.attachedToTarget') {
      if (params.targetInfo.type === 'iframe') frames.add(params.sessionId);
      for (const domain of ['Runtime', 'Log', 'Network'])
        send(`${domain}.enable`, {}, params.sessionId).catch(() => {});
    }
  });
  for (const domain of ['Page', 'Runtime', 'Log', 'Network']) await send(`${domain}.enable`, {}, sessionId);
  await send('Target.setAutoAttach', { autoAttach: true, waitForDebuggerOnStart: false, flatten: true }, sessionId);
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
  const followed = await send('Runtime.evaluate', { expression: follow, awaitPromise: true, returnByValue: true }, sessionId);
  answer.followed = followed.result.value;
  // A frame that is out of sight need not be laid out, and learns its width only when it is drawn: all of the page is
  // brought into sight and drawn.
  const { wide } = answer.views;
  await send('Emulation.setDeviceMetricsOverride', { width: 1600, height: wide.tall, deviceScaleFactor: 1, mobile: false }, sessionId);
  const draw = () => send('Page.captureScreenshot', { format: 'jpeg', quality: 1 }, sessionId);
  await draw();
  await draw();
  // Frames that are closed to the page are a process of their own or not, as the browser likes.
  const evaluate = async (expression, context, session) => {
    const seen = await send('Runtime.evaluate', { expression, awaitPromise: true, returnByValue: true, ...context }, session);
    return seen.result.value ?? seen.exceptionDetails?.exception?.description;
  };
  const { frameTree } = await send('Page.getFrameTree', {}, sessionId);
  for (const { frame } of frameTree.childFrames ?? []) {
    const { executionContextId } = await send('Page.createIsolatedWorld', { frameId: frame.id }, sessionId);
    answer.graphs.push(await evaluate(zoom, { contextId: executionContextId }, sessionId));
  }
  for (const own of frames) answer.graphs.push(await evaluate(zoom, {}, own));
  const pdf = await send('Page.printToPDF', { printBackground: true }, sessionId);
  answer.pdf_bytes = Buffer.from(pdf.data, 'base64').length;
  if (folder) writeFileSync(join(folder, 'print.pdf'), Buffer.from(pdf.data, 'base64'));
  await send('Browser.close');
} catch (error) {
  answer.error = String(error);
  browser.kill();
}
await new Promise((resolve) => (browser.exitCode === null && browser.signalCode === null ? browser.on('exit', resolve) : resolve()));
rmSync(profile, { recursive: true, force: true });
console.log(JSON.stringify(answer, null, 1));
