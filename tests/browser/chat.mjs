// A person's first minute, by machine: `spliceway demo` runs, Chromium opens its page over http and https, two tabs
// chat over a WebSocket on the page's own port, and SIGTERM ends it all.
//
// Takes no arguments. SPLICEWAY=BINARY instead of the release build, CHROMIUM=BINARY instead of Debian's.
// Screenshots and the demo's log are left in target/browser/.
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { accepts, binary, check, counts, expect, finish, freePort, launch, out, until } from './kit.mjs';

const log = path.join(out, 'demo.log');

/** The demo as a process: `ended` resolves to its exit code, or to the signal that killed it. */
function startDemo(http, https) {
  const sink = fs.openSync(log, 'w');
  const child = spawn(binary, ['demo', '--http', `127.0.0.1:${http}`, '--https', `127.0.0.1:${https}`],
    { stdio: ['ignore', sink, sink] });
  const demo = { child, over: false };
  demo.ended = new Promise((resolve) => {
    child.on('error', (error) => { demo.over = true; resolve(error.message); });
    child.on('exit', (code, signal) => { demo.over = true; resolve(signal ?? code); });
  });
  return demo;
}

/** Waits for a condition in the page; not by its frames, which a tab in the background gets one of a second. */
const inPage = (tab, condition, argument) => tab.page.waitForFunction(condition, argument, { polling: 20 });

/** One tab on the demo's page, with what went wrong in it and the WebSockets that it opened. */
async function openTab(context, url, name) {
  const page = await context.newPage();
  const tab = { page, complaints: [], sockets: [], name };
  page.on('console', (message) => { if (message.type() === 'error') tab.complaints.push(message.text()); });
  page.on('pageerror', (error) => tab.complaints.push(error.message));
  page.on('requestfailed', (request) => tab.complaints.push(`${request.url()}: ${request.failure()?.errorText}`));
  page.on('websocket', (socket) => tab.sockets.push(socket.url()));
  await page.goto(url, { waitUntil: 'domcontentloaded' });
  await inPage(tab, () => document.querySelector('span#state')?.textContent.trim() === 'connected');
  await page.fill('input#name', name);
  return tab;
}

async function say(from, to, text) {
  await from.page.bringToFront();
  await from.page.fill('input#text', text);
  await from.page.click('button#send');
  // Both see it: the sender as well, as the server's word that it came there.
  for (const tab of [from, to]) {
    await inPage(tab,
      (wanted) => [...document.querySelectorAll('ul#messages li')].some((item) => item.textContent.includes(wanted)), text);
  }
}

async function chat(browser, scheme, port) {
  const context = await browser.newContext({ ignoreHTTPSErrors: true, viewport: { width: 900, height: 640 } });
  context.setDefaultTimeout(10_000);
  const tabs = [];
  await check(`${scheme}: two tabs open the page and connect`, async () => {
    for (const name of ['Ada', 'Grace']) tabs.push(await openTab(context, `${scheme}://127.0.0.1:${port}/`, name));
    return tabs[0].page.evaluate(() => performance.getEntriesByType('navigation')[0].nextHopProtocol);
  });
  if (tabs.length < 2) return tabs;
  const [ada, grace] = tabs;
  await check(`${scheme}: the WebSocket is on the page's own port`, async () => {
    const wanted = `${scheme === 'https' ? 'wss' : 'ws'}://127.0.0.1:${port}/`;
    for (const { sockets } of tabs) expect(sockets.length > 0 && sockets.every((url) => url.startsWith(wanted)), sockets.join(' '));
    return ada.sockets[0];
  });
  await check(`${scheme}: what one tab says, the other sees`, () => say(ada, grace, `Good day over ${scheme}`));
  await check(`${scheme}: and back, beyond ASCII`, () => say(grace, ada, 'Grüße, 世界 👋'));
  await check(`${scheme}: thirty messages in a row arrive in order`, async () => {
    // In one go inside the page: as fast as the socket takes them, which no hand and no driver does.
    await ada.page.evaluate((scheme) => {
      for (let i = 0; i < 30; i += 1) {
        document.querySelector('input#text').value = `${scheme} number ${i}.`;
        document.querySelector('button#send').click();
      }
    }, scheme);
    // The room remembers what was said over the other scheme: those are not counted.
    const numbers = (scheme) => [...document.querySelectorAll('ul#messages li')]
      .map((item) => new RegExp(`${scheme} number (\\d+)\\.`).exec(item.textContent)?.[1])
      .filter((number) => number !== undefined).join(' ');
    const wanted = Array.from({ length: 30 }, (_, i) => i).join(' ');
    for (const tab of tabs) {
      await until('all thirty', 5, async () => (await tab.page.evaluate(numbers, scheme)).split(' ').length >= 30);
      const seen = await tab.page.evaluate(numbers, scheme);
      expect(seen === wanted, `${tab.name} saw ${seen}`);
    }
  });
  await check(`${scheme}: markup in a message stays text`, async () => {
    await say(ada, grace, '<img src=x onerror="document.title=1"> & <b>bold</b>');
    const made = grace.page.locator('ul#messages img, ul#messages b', { hasText: 'bold' });
    const images = grace.page.locator('ul#messages img');
    expect(await made.count() === 0 && await images.count() === 0, 'it became elements');
  });
  await check(`${scheme}: nothing is complained of in the console`, () => {
    const complaints = tabs.flatMap((tab) => tab.complaints);
    expect(complaints.length === 0, complaints.join(' | '));
  });
  for (const tab of tabs) {
    await tab.page.bringToFront();
    await tab.page.screenshot({ path: path.join(out, `${scheme}-${tab.name.toLowerCase()}.png`) });
  }
  return tabs;
}

async function main() {
  fs.mkdirSync(out, { recursive: true });
  const [http, https] = [await freePort(), await freePort()];
  const demo = startDemo(http, https);
  let browser;
  try {
    await check('spliceway demo opens both of its ports', () => until(`${binary} demo`, 15, async () => {
      expect(!demo.over, `it ended at once: ${await (demo.over && demo.ended)}; see ${log}`);
      return (await accepts(http)) && accepts(https);
    }));
    if (counts.failed > 0) return;
    browser = await launch();
    const tabs = [...await chat(browser, 'http', http), ...await chat(browser, 'https', https)];
    await check('SIGTERM with four tabs connected ends it with exit code 0', async () => {
      const began = Date.now();
      demo.child.kill('SIGTERM');
      const late = new Promise((resolve) => { setTimeout(resolve, 15_000, 'nothing within 15 s').unref(); });
      const code = await Promise.race([demo.ended, late]);
      expect(code === 0, `it ended with ${code}`);
      return `${Date.now() - began} ms`;
    });
    await check('each tab hears of the end', async () => {
      for (const tab of tabs) {
        await inPage(tab, () => document.querySelector('span#state').textContent.trim() !== 'connected');
      }
    });
  } finally {
    await browser?.close();
    if (!demo.over) demo.child.kill('SIGKILL');
    if (counts.failed > 0) process.stdout.write(fs.readFileSync(log, 'utf8').split('\n').slice(-25).map((line) => `     | ${line}\n`).join(''));
  }
}

await finish(main);
