// Opens pages in headless Chromium and says as JSON what axe-core finds in each, light and dark, wide and narrow, and what
// the page says on the console and asks for.
//
//   node audit.mjs CHROMIUM AXE PAGE…     AXE is the file axe.min.js

import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

import { open, tab } from './devtools.mjs';

const [chromium, axe, ...pages] = process.argv.slice(2);
const source = readFileSync(axe, 'utf8');
const run = `axe.run(document, { resultTypes: ['violations'] }).then((found) => found.violations.map((one) => ({
  id: one.id, impact: one.impact, help: one.help,
  nodes: one.nodes.slice(0, 4).map((node) => node.html.slice(0, 200) + ' | ' + (node.any[0]?.message ?? node.failureSummary)),
})))`;

const { send, event, close, ...browser } = open(chromium);
const answer = { pages: {} };
try {
  for (const page of pages) {
    const url = pathToFileURL(page).href;
    const heard = { console: [], requests: [], views: {} };
    const sessionId = await tab({ send, ...browser }, (asked) => asked === url, heard);
    for (const [name, width, scheme] of [['light', 1400, 'light'], ['dark', 1400, 'dark'], ['narrow', 420, 'light']]) {
      await send('Emulation.setDeviceMetricsOverride', { width, height: 1000, deviceScaleFactor: 1, mobile: width < 500 }, sessionId);
      await send('Emulation.setEmulatedMedia', { features: [{ name: 'prefers-color-scheme', value: scheme }] }, sessionId);
      const loaded = event('Page.loadEventFired', sessionId);
      await send('Page.navigate', { url }, sessionId);
      await loaded;
      await send('Runtime.evaluate', { expression: source }, sessionId);
      const seen = await send('Runtime.evaluate', { expression: run, awaitPromise: true, returnByValue: true }, sessionId);
      heard.views[name] = seen.result.value ?? [{ id: 'axe', impact: 'serious', help: seen.exceptionDetails?.exception?.description }];
    }
    answer.pages[page] = heard;
  }
  await close();
} catch (error) {
  answer.error = String(error);
  await close(true);
}
console.log(JSON.stringify(answer, null, 1));
