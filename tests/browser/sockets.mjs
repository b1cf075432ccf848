// WebSockets over HTTP/2 (RFC 8441) by a real browser: Chromium opens a page through spliceway, and its sockets go on
// the page's own connection, to a server that speaks HTTP/1.1 and to one that speaks HTTP/2 alone.
//
// One connection is proven twice: a pass-through between the two counts what Chromium opens, and Chromium's own network
// log says which requests went where. Takes no arguments; SPLICEWAY and CHROMIUM as in chat.mjs.
// The servers' log and the network logs are left in target/browser/.
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import http2 from 'node:http2';
import net from 'node:net';
import path from 'node:path';
import { WebSocket, WebSocketServer } from 'ws';
import { accepts, binary, check, counts, expect, finish, freePort, launch, out, root, trusting, until } from './kit.mjs';

const log = path.join(out, 'sockets.log');
const certificate = path.join(root, 'certs/localhost.pem');
const key = path.join(root, 'certs/localhost.key');

/** Everything a page asks of its sockets: echoes, and a close by the server on the word. `ends` has what came of each. */
function serve(socket, ends) {
  const end = {};
  ends.push(end);
  socket.on('message', (data, binary) => {
    const [word, code] = binary ? [] : data.toString().split(' ');
    if (word === 'close') socket.close(Number(code), 'by the server');
    else socket.send(data, { binary });
  });
  socket.on('close', (code, reason) => { Object.assign(end, { code, reason: reason.toString() }); });
  socket.on('error', (error) => { end.error = error.message; });
}

const PAGE = '<!doctype html><title>sockets</title><link rel="icon" href="data:,">';
const choose = (offered) => ([...offered].includes('chat') ? 'chat' : false);

/** A server that speaks HTTP/1.1, by `ws` on node's http. */
function backendOfOne() {
  const backend = { ends: [], connections: 0 };
  const sockets = new WebSocketServer({ noServer: true, perMessageDeflate: true, handleProtocols: choose });
  const server = http.createServer((request, response) => {
    response.writeHead(200, { 'content-type': 'text/html' }).end(PAGE);
  });
  server.on('upgrade', (request, socket, head) => {
    if (request.url === '/refused') socket.end('HTTP/1.1 403 Forbidden\r\ncontent-length: 4\r\n\r\nno.\n');
    else sockets.handleUpgrade(request, socket, head, (accepted) => serve(accepted, backend.ends));
  });
  return { backend, server };
}

/** A server that speaks HTTP/2 alone: extended CONNECT by node's http2, the frames within by `ws`. */
function backendOfTwo() {
  const backend = { ends: [], connections: 0 };
  const server = http2.createSecureServer(
    { cert: fs.readFileSync(certificate), key: fs.readFileSync(key), settings: { enableConnectProtocol: true } });
  server.on('stream', (stream, headers) => {
    stream.on('error', () => {}); // what is reset is seen by `ws` as a close without a word
    if (headers[':method'] !== 'CONNECT') {
      stream.respond({ ':status': 200, 'content-type': 'text/html' });
      stream.end(PAGE);
      return;
    }
    const odd = headers[':protocol'] !== 'websocket' || headers['sec-websocket-version'] !== '13' || 'sec-websocket-key' in headers;
    if (odd || headers[':path'] === '/refused') {
      stream.respond({ ':status': odd ? 400 : 403 });
      stream.end('no.\n');
      return;
    }
    const chosen = choose((headers['sec-websocket-protocol'] ?? '').split(/, */));
    stream.respond({ ':status': 200, ...(chosen ? { 'sec-websocket-protocol': chosen } : {}) });
    // What WebSocketServer does after its 101; nothing in it minds that the duplex is no TCP socket.
    const socket = new WebSocket(null, undefined, { autoPong: true, closeTimeout: 30_000 });
    socket.setSocket(stream, Buffer.alloc(0), { allowSynchronousEvents: true, maxPayload: 0, skipUTF8Validation: false });
    serve(socket, backend.ends);
  });
  server.on('session', (session) => session.on('error', () => {}));
  return { backend, server };
}

/** Passes octets on as they come, half-closes too, and counts the connections. */
function passThrough(port) {
  const through = { connections: 0 };
  through.server = net.createServer({ allowHalfOpen: true }, (near) => {
    through.connections += 1;
    const far = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    for (const [from, to] of [[near, far], [far, near]]) {
      from.on('error', () => to.destroy());
      from.pipe(to);
    }
  });
  return through;
}

const listening = (server) => new Promise((resolve, reject) => {
  server.on('error', reject).listen(0, '127.0.0.1', () => resolve(server.address().port));
});

/** spliceway with a TLS listener and a route to each server. */
async function startSpliceway(one, two) {
  const port = await freePort();
  const config = path.join(out, 'sockets.toml');
  fs.writeFileSync(config, `[[listen]]
address = "127.0.0.1:${port}"
[[listen.certificate]]
chain = "${certificate}"
key = "${key}"

[backend.one]
servers = ["http://127.0.0.1:${one}"]

[backend.two]
servers = ["https://localhost:${two}"]
protocol = "h2"
ca = "${path.join(root, 'certs/ca.pem')}"

[[route]]
path = "/one/"
strip_prefix = true
backend = "one"

[[route]]
path = "/two/"
strip_prefix = true
backend = "two"
`);
  const sink = fs.openSync(log, 'w');
  const child = spawn(binary, ['run', '--config', config], { stdio: ['ignore', sink, sink] });
  const spliceway = { child, port, over: false };
  child.on('error', () => { spliceway.over = true; });
  child.on('exit', () => { spliceway.over = true; });
  return spliceway;
}

/** In the page: opens a socket under a name, and keeps what comes of it. */
const open = (page, name, where, protocols = []) => page.evaluate(([name, where, protocols]) => {
  const url = new URL(where, location.href);
  url.protocol = 'wss:';
  const kept = { got: [], socket: new WebSocket(url, protocols) };
  kept.socket.binaryType = 'arraybuffer';
  kept.socket.onmessage = ({ data }) => kept.got.push(data);
  (window.kept ??= {})[name] = kept;
  return new Promise((resolve) => {
    kept.socket.onopen = () => resolve({ protocol: kept.socket.protocol, extensions: kept.socket.extensions });
    kept.socket.onclose = ({ code, reason, wasClean }) => { kept.end = { code, reason, wasClean }; resolve(kept.end); };
  });
}, [name, where, protocols]);

/** In the page: sends each of these, and says whether the same comes back. A number stands for so many octets. */
const echoes = (page, name, messages) => page.evaluate(async ([name, messages]) => {
  const kept = window.kept[name];
  const { socket, got } = kept;
  const octets = (length) => Uint8Array.from({ length }, (_, i) => (i * 7 + (i >> 8)) & 255);
  const sent = messages.map((message) => (typeof message === 'string' ? message : octets(message)));
  sent.forEach((message) => socket.send(message));
  while (got.length < sent.length && !kept.end) await new Promise((resolve) => { setTimeout(resolve, 5); });
  const same = (a, b) => a.length === b.length && a.every((octet, i) => octet === b[i]);
  return got.length === sent.length && got.splice(0).every((message, i) => (typeof sent[i] === 'string' ? sent[i] === message
    : message instanceof ArrayBuffer && same(sent[i], new Uint8Array(message))));
}, [name, messages]);

const end = async (page, name) => {
  await page.waitForFunction((name) => window.kept[name].end, name, { polling: 20 });
  return page.evaluate((name) => window.kept[name].end, name);
};

/** Chromium leaves its half of a stream open after the Close frames, and waits for a reset. A proxy that waits for Chromium
 * in turn keeps the server's connection for nothing: hence so few seconds. */
const seenByServer = (backend, nth) => until('the server saw the end', 2, () => backend.ends[nth]?.code !== undefined);
const said = (object) => JSON.stringify(object);

/** What Chromium's network log says of requests over HTTP/2: for each its connection and its head. */
function requests(file) {
  const { constants, events } = JSON.parse(fs.readFileSync(file, 'utf8'));
  const type = (name) => { expect(name in constants.logEventTypes, `no ${name} in this Chromium`); return constants.logEventTypes[name]; };
  const heads = events.filter((event) => event.type === type('HTTP2_SESSION_SEND_HEADERS'));
  return heads.map(({ source, params }) => ({ connection: source.id, head: params.headers.map((line) => line.toLowerCase()) }));
}

async function judge(name, spliceway, through, port, backend) {
  const netLog = path.join(out, `sockets-${name}.netlog.json`);
  fs.rmSync(netLog, { force: true });
  through.connections = 0;
  backend.ends.length = 0;
  const browser = await launch([trusting(certificate), `--log-net-log=${netLog}`]);
  let opened = 0;
  try {
    const context = await browser.newContext();
    context.setDefaultTimeout(10_000);
    const page = await context.newPage();
    const within = (promise) => Promise.race([promise,
      new Promise((_, reject) => { setTimeout(reject, 15_000, new Error('nothing within 15 s')).unref(); })]);
    const socket = async (key, where = 'socket', protocols = []) => {
      opened += 1;
      return within(open(page, key, where, protocols));
    };

    await check(`${name}: the page comes over HTTP/2`, async () => {
      await page.goto(`https://127.0.0.1:${port}/${name}/`);
      const protocol = await page.evaluate(() => performance.getEntriesByType('navigation')[0].nextHopProtocol);
      expect(protocol === 'h2', protocol);
    });
    await check(`${name}: a socket opens, with one of the subprotocols that it offers`, async () => {
      const answer = await socket('first', 'socket', ['superchat', 'chat']);
      expect(answer.protocol === 'chat', said(answer));
      return answer.extensions || 'no extension';
    });
    await check(`${name}: text comes back, empty and beyond ASCII too`, async () => {
      expect(await within(echoes(page, 'first', ['', 'hello', 'Grüße, 世界 👋', 'x'.repeat(70_000)])), 'not the same');
    });
    await check(`${name}: binary comes back, more than a window of it`, async () => {
      expect(await within(echoes(page, 'first', [0, 125, 126, 65_535, 65_536, 3 << 20])), 'not the same');
    });
    await check(`${name}: a second socket beside it, and a page's request between`, async () => {
      await socket('second');
      const both = [echoes(page, 'first', ['a', 1000, 'b']), echoes(page, 'second', [1000, 'c', 1000])];
      const status = page.evaluate(() => fetch('?again').then((answer) => answer.status));
      expect((await within(Promise.all(both))).every(Boolean), 'not the same');
      expect(await within(status) === 200, `the request: ${await status}`);
    });
    await check(`${name}: a close with 4001 by the page is the server's to see`, async () => {
      await page.evaluate(() => window.kept.first.socket.close(4001, 'by the page'));
      const seen = await end(page, 'first');
      expect(seen.code === 4001 && seen.wasClean, `the page saw ${said(seen)}`);
      await seenByServer(backend, 0);
      expect(backend.ends[0].code === 4001 && backend.ends[0].reason === 'by the page' && !backend.ends[0].error, `the server saw ${said(backend.ends[0])}`);
    });
    await check(`${name}: a close with 4001 by the server is the page's to see`, async () => {
      await page.evaluate(() => window.kept.second.socket.send('close 4001'));
      const seen = await end(page, 'second');
      expect(seen.code === 4001 && seen.reason === 'by the server' && seen.wasClean, `the page saw ${said(seen)}`);
      await seenByServer(backend, 1);
      expect(backend.ends[1].code === 4001 && !backend.ends[1].error, `the server saw ${said(backend.ends[1])}`);
    });
    await check(`${name}: a refused socket leaves the connection to the others`, async () => {
      const refused = await socket('refused', 'refused');
      expect(refused.code === 1006, said(refused));
      await socket('third');
      expect(await within(echoes(page, 'third', ['still here'])), 'not the same');
    });
    await check(`${name}: all of it was one TCP connection`, () => {
      expect(through.connections === 1, `${through.connections} connections`);
    });
  } finally {
    await browser.close(); // which ends the network log
  }
  await check(`${name}: Chromium's log has the page and each socket on one connection, by :protocol websocket`, () => {
    const all = requests(netLog);
    const sockets = all.filter(({ head }) => head.includes(':method: connect') && head.includes(':protocol: websocket'));
    const page = all.filter(({ head }) => head.includes(':method: get') && head.includes(`:path: /${name}/`));
    expect(page.length === 1, `${page.length} requests for the page`);
    expect(sockets.length === opened, `${sockets.length} sockets over HTTP/2 of ${opened}`);
    expect(sockets.every(({ connection }) => connection === page[0].connection), 'on several connections');
    return `${sockets.length} sockets`;
  });
  await check(`${name}: a browser that goes away is an end that the server hears of`, async () => {
    await until('the end of the third', 5, () => backend.ends[2]?.code !== undefined);
    return said(backend.ends[2]);
  });
  expect(!spliceway.over, `spliceway ended; see ${log}`);
}

async function main() {
  fs.mkdirSync(out, { recursive: true });
  const [one, two] = [backendOfOne(), backendOfTwo()];
  const spliceway = await startSpliceway(await listening(one.server), await listening(two.server));
  const through = passThrough(spliceway.port);
  const port = await listening(through.server);
  try {
    await check('spliceway opens its port', () => until(`${binary} run`, 15, () => {
      expect(!spliceway.over, `it ended at once; see ${log}`);
      return accepts(spliceway.port);
    }));
    if (counts.failed > 0) return;
    await judge('one', spliceway, through, port, one.backend);
    await judge('two', spliceway, through, port, two.backend);
  } finally {
    if (!spliceway.over) spliceway.child.kill('SIGKILL');
    if (counts.failed > 0) process.stdout.write(fs.readFileSync(log, 'utf8').split('\n').slice(-25).map((line) => `     | ${line}\n`).join(''));
  }
}

await finish(main);
