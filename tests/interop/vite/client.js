'use strict';
// What Vite's page does: fetch modules, open the HMR socket (subprotocol vite-hmr), hear of an edit.
const fs = require('fs');
const path = require('path');
const WebSocket = require('ws');

const [host, port] = process.argv.slice(2);
const base = `http://${host}:${port}`;
const next = (ws) => new Promise((resolve, reject) => {
  setTimeout(() => reject(new Error('nothing within 5 s')), 5000).unref();
  ws.once('message', (data) => resolve(JSON.parse(data)));
  ws.once('close', (code) => reject(new Error(`closed with ${code}`)));
  ws.once('error', reject);
});

(async () => {
  let ws;
  const checks = {
    async 'GET / carries the HMR client'() {
      const body = await (await fetch(`${base}/`)).text();
      if (!body.includes('/@vite/client')) throw new Error(body.slice(0, 80));
    },
    async 'the HMR socket opens with subprotocol vite-hmr'() {
      const client = await (await fetch(`${base}/@vite/client`)).text();
      const token = /wsToken = "([^"]+)"/.exec(client);
      await (await fetch(`${base}/main.js`)).text();
      await (await fetch(`${base}/word.js`)).text();
      ws = new WebSocket(`ws://${host}:${port}/?token=${token ? token[1] : ''}`, 'vite-hmr');
      const hello = await next(ws);
      if (hello.type !== 'connected' || ws.protocol !== 'vite-hmr') throw new Error(JSON.stringify(hello));
    },
    async 'an edit is announced on the socket'() {
      const heard = next(ws);
      fs.writeFileSync(path.join(process.env.SCRATCH, process.env.BACKEND_PORT, 'word.js'), "export const word = 'second';\n");
      const update = await heard;
      if (update.type !== 'update') throw new Error(JSON.stringify(update));
    },
  };
  for (const [what, check] of Object.entries(checks)) {
    try { await check(); console.log(`ok ${what}`); } catch (error) { console.log(`FAIL ${what} -- ${error.message}`); }
  }
  process.exit(0);
})();
