// Drives a real browser for test_browser.py: does each step, and prints what it saw as one line of JSON. It judges nothing.
//
//     node browse.js '{"playwright": DIRECTORY, "chromium": PROGRAM, "server": URL, "allowed": URL, "foreign": URL}'
'use strict';

const options = JSON.parse(process.argv[2]);
const {chromium} = require(options.playwright);
const DEADLINE = 30000;

// A page that writes down what it is refused, complains of, and asks for.
async function openPage(context, url) {
  const page = await context.newPage();
  const seen = {errors: [], refused: [], requests: []};
  page.setDefaultTimeout(DEADLINE);
  page.on('pageerror', error => seen.errors.push(String(error)));
  page.on('console', message => message.type() === 'error' && seen.errors.push(message.text()));
  page.on('request', request => seen.requests.push(request.url()));
  await page.addInitScript(() => {
    window.refused = [];
    document.addEventListener('securitypolicyviolation', e => window.refused.push(`${e.violatedDirective} ${e.blockedURI}`));
  });
  await page.goto(url);
  seen.finish = async () => {
    seen.refused = await page.evaluate(() => window.refused);
    await page.close();
    delete seen.finish;
    return seen;
  };
  return {page, seen};
}

// "Try it out" of one operation; the status and body that the page shows.
async function execute(page, operation, fill) {
  const block = page.locator(`[id="operations-${operation}"]`);
  await block.locator('.opblock-summary-control').click();
  await block.getByRole('button', {name: 'Try it out'}).click();
  if (fill) await fill(block);
  await block.getByRole('button', {name: 'Execute'}).click();
  const live = block.locator('.live-responses-table .response');
  await live.waitFor();
  return {
    status: (await live.locator('.response-col_status').innerText()).trim(),
    body: await live.locator('.response-col_description pre').first().innerText(),
    url: await block.locator('.request-url pre').innerText(),
  };
}

async function swagger(context) {
  const {page, seen} = await openPage(context, options.server + '/swagger/index.html');
  await page.locator('.opblock').first().waitFor();
  const result = {title: await page.locator('.info .title').innerText()};
  result.operations = await page.locator('.opblock-summary').evaluateAll(all => all.map(one =>
    one.querySelector('.opblock-summary-method').innerText + ' ' +
    one.querySelector('.opblock-summary-path').dataset.path));
  result.health = await execute(page, 'service-health');
  result.anonymous = await execute(page, 'downloads-getDownload', async block =>
    block.locator('input[placeholder="id"]').fill('00000000-0000-0000-0000-000000000000'));

  await page.locator('.auth-wrapper .authorize').first().click();
  for (const [name, value] of [['user', 'ann'], ['organization', 'acme']]) {
    const form = page.locator('.auth-container', {hasText: `x-${name}-id`});
    await form.locator('input').fill(value);
    await form.getByRole('button', {name: 'Apply credentials'}).or(form.getByRole('button', {name: 'Authorize'})).click();
  }
  await page.locator('.auth-btn-wrapper .btn-done').first().click();
  result.list = await execute(page, 'downloads-listDownloads');
  result.create = await execute(page, 'downloads-createDownload');
  result.complaints = await page.locator('.errors-wrapper').allInnerTexts(); // of the document
  return Object.assign(result, await seen.finish());
}

// What gopie's page does, in a page of that origin: reads split at newlines, and no rest carried over.
async function download(context, origin, sql) {
  const {page, seen} = await openPage(context, origin);
  const result = await page.evaluate(async ({server, sql}) => {
    const headers = {'Content-Type': 'application/json', 'x-user-id': 'page', 'x-organization-id': 'acme', 'x-project-ids': 'p',
      'x-chat-id': 'c', 'userID': 'page', 'Authorization': 'Bearer x'};
    const use = async (path, options) => fetch(server + path, {credentials: 'include', headers, ...options});
    try {
      const response = await use('/downloads', {method: 'POST', body: JSON.stringify({dataset_id: 'sample', sql, format: 'csv'})});
      const reader = response.body.getReader(), decoder = new TextDecoder();
      const events = [], lost = [];
      let reads = 0;
      for (;;) {
        const {done, value} = await reader.read();
        if (done) break;
        reads++;
        for (const line of decoder.decode(value, {stream: true}).split('\n')) {
          if (!line.startsWith('data: ')) continue;
          try {
            events.push(JSON.parse(line.slice(6)));
          } catch (e) {
            lost.push(line.length);
          }
        }
      }
      const job = events.find(e => e.status === 'pending')?.id ?? events.at(-1).download_id;
      const list = await (await use('/downloads')).json();
      const joined = await (await use(`/downloads/${job}/events`, {headers: {...headers, 'Last-Event-ID': '1'}})).text();
      const file = await (await fetch(events.at(-1).message)).text();
      const removed = await use('/downloads/' + job, {method: 'DELETE'});
      return {events: events.map(e => ({...e, sql: undefined})), lost, reads, requestId: response.headers.get('X-Request-Id'),
        listed: list.map(r => r.id), joined, file, removed: removed.status, job};
    } catch (e) {
      return {error: String(e)};
    }
  }, {server: options.server, sql});
  return Object.assign(result, await seen.finish());
}

// A page of another origin: nothing may be read, with or without a preflight request.
async function foreign(context) {
  const {page, seen} = await openPage(context, options.foreign);
  const result = await page.evaluate(async server => {
    const tell = async (path, options) => {
      try {
        return (await fetch(server + path, options)).status;
      } catch (e) {
        return String(e);
      }
    };
    const headers = {'Content-Type': 'application/json', 'x-user-id': 'evil', 'x-organization-id': 'acme'};
    return {
      post: await tell('/downloads', {method: 'POST', credentials: 'include', headers,
        body: JSON.stringify({dataset_id: 'd', sql: 'SELECT 1', format: 'csv'})}),
      simplePost: await tell('/downloads', {method: 'POST', body: '{"dataset_id":"d","sql":"SELECT 1"}'}),
      list: await tell('/downloads', {headers}),
      health: await tell('/health', {}),
    };
  }, options.server);
  return Object.assign(result, await seen.finish());
}

async function main() {
  const browser = await chromium.launch({
    executablePath: options.chromium, headless: true,
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync'],
  });
  const steps = {
    swagger,
    short: context => download(context, options.allowed, 'SELECT * FROM t'),
    long: context => download(context, options.allowed, 'SELECT 1 AS a -- ' + 'x'.repeat(100000)),
    foreign,
  };
  const results = {};
  try {
    for (const [name, step] of Object.entries(steps)) {
      const context = await browser.newContext();
      results[name] = await step(context).catch(error => ({failed: String(error.stack)}));
      await context.close();
    }
  } finally {
    await browser.close();
  }
  console.log(JSON.stringify(results));
}

main().catch(error => {
  console.error(error);
  process.exitCode = 1;
});
