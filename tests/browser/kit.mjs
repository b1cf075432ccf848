// What the browser tests share: where things are, how a check is counted, ports, and the browser's flags.
import crypto from 'node:crypto';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');
export const binary = process.env.SPLICEWAY || path.join(process.env.CARGO_TARGET_DIR || path.join(root, 'target'), 'release/spliceway');
export const out = path.join(root, 'target/browser');

const FLAGS = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync'];

export const launch = (more = []) => chromium.launch(
  { executablePath: process.env.CHROMIUM || '/usr/bin/chromium', headless: true, args: [...FLAGS, ...more] });

/** The flag that has Chromium trust one certificate as if its authority were known: with no warning passed first, by a
 * second connection. */
export function trusting(certificate) {
  const key = new crypto.X509Certificate(fs.readFileSync(certificate)).publicKey.export({ type: 'spki', format: 'der' });
  return `--ignore-certificate-errors-spki-list=${crypto.createHash('sha256').update(key).digest('base64')}`;
}

export const counts = { passed: 0, failed: 0 };

export async function check(what, body) {
  const began = Date.now();
  const seconds = () => ((Date.now() - began) / 1000).toFixed(1);
  try {
    const note = await body();
    counts.passed += 1;
    console.log(`ok   ${what} (${seconds()} s)${note ? ` -- ${note}` : ''}`);
  } catch (error) {
    counts.failed += 1;
    console.log(`FAIL ${what} (${seconds()} s) -- ${String(error.message).split('\n')[0]}`);
  }
}

export function expect(condition, why) {
  if (!condition) throw new Error(why);
}

export function freePort() {
  return new Promise((resolve, reject) => {
    const server = net.createServer().on('error', reject).listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

export const accepts = (port) => new Promise((resolve) => {
  const socket = net.connect(port, '127.0.0.1', () => { socket.destroy(); resolve(true); });
  socket.on('error', () => resolve(false));
});

export async function until(what, seconds, condition) {
  const end = Date.now() + seconds * 1000;
  while (!(await condition())) {
    expect(Date.now() < end, `${what}: not within ${seconds} s`);
    await new Promise((resolve) => { setTimeout(resolve, 20); });
  }
}

/** Runs the whole test; its last line is the count, and the process ends. */
export async function finish(main) {
  try {
    await main();
  } catch (error) {
    counts.failed += 1;
    console.log(`FAIL the test itself -- ${error.stack}`);
  }
  console.log(`${counts.passed} passed, ${counts.failed} failed`);
  process.exit(counts.failed > 0 ? 1 : 0);
}
