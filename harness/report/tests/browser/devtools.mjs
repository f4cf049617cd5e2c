// A headless Chromium, spoken with over a pipe in the DevTools protocol, so that no package is needed.

import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

// Starts it: `send` asks, `event` waits, `listeners` hear all, `close` ends it and takes its profile away.
export function open(chromium) {
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
  const close = async (failed) => {
    if (failed) browser.kill();
    else await send('Browser.close');
    await new Promise((resolve) => (browser.exitCode === null && browser.signalCode === null ? browser.on('exit', resolve) : resolve()));
    rmSync(profile, { recursive: true, force: true });
  };
  return { send, event, listeners, close };
}

// Opens an empty tab, and hears what its page says and asks for. Requests for `own` and for data are its own.
export async function tab(browser, own, heard) {
  const { targetId } = await browser.send('Target.createTarget', { url: 'about:blank' });
  const { sessionId } = await browser.send('Target.attachToTarget', { targetId, flatten: true });
  browser.listeners.push((message) => {
    if (message.sessionId !== sessionId) return;
    const { method, params } = message;
    if (method === 'Runtime.exceptionThrown') heard.console.push(params.exceptionDetails.text);
    if (method === 'Runtime.consoleAPICalled') heard.console.push(params.args.map((arg) => arg.value).join(' '));
    if (method === 'Log.entryAdded') heard.console.push(`${params.entry.level}: ${params.entry.text}`);
    if (method === 'Network.requestWillBeSent' && !own(params.request.url) && !params.request.url.startsWith('data:'))
      heard.requests.push(params.request.url);
  });
  for (const domain of ['Page', 'Runtime', 'Log', 'Network']) await browser.send(`${domain}.enable`, {}, sessionId);
  return sessionId;
}
