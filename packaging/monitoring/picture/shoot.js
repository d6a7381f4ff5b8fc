// node shoot.js ANSWERS.json PICTURE.png: opens the page in Chromium and takes its picture.

import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { extname } from 'node:path';
import { chromium } from 'playwright-core';

const [answers, picture] = process.argv.slice(2);
const TYPES = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css' };

const server = createServer(async (request, response) => {
  const path = new URL(request.url, 'http://localhost').pathname;
  try {
    const file = await readFile(new URL(`dist${path === '/' ? '/index.html' : path}`, import.meta.url));
    response.writeHead(200, { 'content-type': TYPES[extname(path) || '.html'] ?? 'application/octet-stream' });
    response.end(file);
  } catch {
    response.writeHead(404).end();
  }
});
await new Promise((listening) => server.listen(0, '127.0.0.1', listening));

const browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox', '--disable-gpu'] });
try {
  const page = await browser.newPage({ viewport: { width: 1616, height: 1000 } });
  const errors = [];
  page.on('pageerror', (error) => errors.push(error.stack ?? String(error)));
  await page.addInitScript(`window.prometheus = ${await readFile(answers, 'utf8')}`);
  await page.goto(`http://127.0.0.1:${server.address().port}/`);
  await page.locator('.uplot canvas').first().waitFor({ state: 'attached' });
  // Legends and axes settle in a few more turns.
  await page.waitForTimeout(2000);
  if (errors.length) {
    throw new Error(errors.join('\n'));
  }
  await page.locator('#dashboard > div').screenshot({ path: picture });
} finally {
  await browser.close();
  server.close();
}
