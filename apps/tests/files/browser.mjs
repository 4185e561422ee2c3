// A headless Chromium clicks through the page of a folder. It is driven by the DevTools protocol, over a pipe.
//
//     node browser.mjs URL USER PASSWORD FOLDER [SCREENSHOTS]
//
// FOLDER has `picked.txt`, `dropped.txt`, and `downloads`, where what is downloaded goes.
import { spawn } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const [url, username, password, folder, screenshots] = process.argv.slice(2);
const profile = join(folder, 'profile');
const chromium = spawn('chromium', [
  '--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run',
  '--ignore-certificate-errors', '--remote-debugging-pipe', `--user-data-dir=${profile}`, 'about:blank',
], { stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'] });
const [, , , into, from] = chromium.stdio;

let next = 1;
const waiting = new Map();
const listeners = new Map();
let session;

function send(method, params = {}, ofBrowser = false) {
  const id = next++;
  const message = { id, method, params, ...(ofBrowser ? {} : { sessionId: session }) };
  into.write(JSON.stringify(message) + '\0');
  return new Promise((done, failed) => waiting.set(id, { done, failed, method }));
}

function on(event, call) {
  listeners.set(event, [...(listeners.get(event) || []), call]);
}

let text = '';
from.setEncoding('utf8');
from.on('data', data => {
  text += data;
  const messages = text.split('\0');
  text = messages.pop();
  for (const message of messages.map(one => JSON.parse(one))) {
    const call = waiting.get(message.id);
    waiting.delete(message.id);
    if (call && message.error) call.failed(new Error(`${call.method}: ${message.error.message}`));
    else if (call) call.done(message.result);
    else for (const listener of listeners.get(message.method) || []) listener(message.params);
  }
});

let isOver = false;
// A browser that was told to end may break its pipes.
for (const pipe of [into, from]) pipe.on('error', error => isOver || end(error));

function end(problem) {
  isOver = true;
  if (problem) console.error(problem.stack || problem);
  chromium.kill('SIGKILL');
  chromium.on('exit', () => process.exit(problem ? 1 : 0));
}
const limit = setTimeout(() => end(new Error('it took too long')), 90_000);
chromium.on('error', error => { console.error(error); process.exit(1); });

const sleep = ms => new Promise(done => setTimeout(done, ms));

async function until(what, is) {
  for (let n = 0; n < 400; n++) {
    const found = await is();
    if (found) return found;
    await sleep(50);
  }
  throw new Error(`in vain: ${what}`);
}

async function evaluate(expression) {
  const answer = await send('Runtime.evaluate', { expression, awaitPromise: true, returnByValue: true });
  if (answer.exceptionDetails) throw new Error(JSON.stringify(answer.exceptionDetails));
  return answer.result.value;
}

async function click(selector) {
  const place = await evaluate(`(() => {
    const at = document.querySelector(${JSON.stringify(selector)}).getBoundingClientRect();
    return [at.x + Math.min(at.width / 2, 20), at.y + at.height / 2];
  })()`);
  for (const type of ['mousePressed', 'mouseReleased']) {
    await send('Input.dispatchMouseEvent', { type, x: place[0], y: place[1], button: 'left', clickCount: 1 });
  }
}

const shows = name => until(`a line for ${name}`, () => evaluate(
  `document.readyState === 'complete' && !![...document.querySelectorAll('td a')].find(a => a.dataset.name === ${JSON.stringify(name)})`));
const downloaded = name => until(`the download of ${name}`, () => existsSync(join(folder, 'downloads', name)));

async function screenshot(name, width, height, scheme) {
  if (!screenshots) return;
  await send('Emulation.setDeviceMetricsOverride', { width, height, deviceScaleFactor: 1, mobile: false });
  await send('Emulation.setEmulatedMedia', { features: [{ name: 'prefers-color-scheme', value: scheme }] });
  await sleep(200);
  const { data } = await send('Page.captureScreenshot', { format: 'png' });
  writeFileSync(join(screenshots, name), Buffer.from(data, 'base64'));
  await send('Emulation.clearDeviceMetricsOverride');
}

async function main() {
  const { targetInfos } = await send('Target.getTargets', {}, true);
  const { targetId } = targetInfos.find(target => target.type === 'page');
  ({ sessionId: session } = await send('Target.attachToTarget', { targetId, flatten: true }, true));
  const problems = [];
  on('Runtime.exceptionThrown', event => problems.push(event.exceptionDetails.text));
  on('Log.entryAdded', ({ entry }) => entry.level === 'error' && problems.push(`${entry.text} ${entry.url || ''}`));
  on('Fetch.requestPaused', ({ requestId }) => send('Fetch.continueRequest', { requestId }).catch(() => {}));
  on('Fetch.authRequired', ({ requestId }) => send('Fetch.continueWithAuth', {
    requestId, authChallengeResponse: { response: 'ProvideCredentials', username, password },
  }).catch(() => {}));
  const dialogs = [];
  on('Page.javascriptDialogOpening', event => {
    dialogs.push(event.message);
    send('Page.handleJavaScriptDialog', { accept: true, promptText: 'made here' });
  });
  for (const domain of ['Page', 'Runtime', 'Log']) await send(`${domain}.enable`);
  await send('Fetch.enable', { handleAuthRequests: true });
  const downloadPath = join(folder, 'downloads');
  await send('Browser.setDownloadBehavior', { behavior: 'allow', downloadPath }, true);

  await send('Page.navigate', { url });
  await shows('binary.bin');
  await screenshot('folder-light.png', 900, 620, 'light');
  await screenshot('folder-dark.png', 900, 620, 'dark');
  await screenshot('folder-narrow.png', 390, 700, 'light');
  await send('Emulation.setEmulatedMedia', { features: [] });
  const order = await evaluate(`[...document.querySelectorAll('td a[data-name]')].map(a => a.dataset.name)`);
  console.log(JSON.stringify(order));

  await click('a[data-name="binary.bin"]');
  await downloaded('binary.bin');

  const { root } = await send('DOM.getDocument');
  const { nodeId } = await send('DOM.querySelector', { nodeId: root.nodeId, selector: '#files' });
  await send('DOM.setFileInputFiles', { nodeId, files: [join(folder, 'picked.txt')] });
  await shows('picked.txt');

  // The same again would replace what has come since: it is asked for.
  const again = (await send('DOM.getDocument')).root.nodeId;
  const input = (await send('DOM.querySelector', { nodeId: again, selector: '#files' })).nodeId;
  await send('DOM.setFileInputFiles', { nodeId: input, files: [join(folder, 'picked.txt')] });
  await until('a question', () => dialogs.length === 1 && dialogs[0].includes('Replace'));
  dialogs.length = 0;
  await sleep(300);
  await shows('picked.txt');

  const data = { items: [], files: [join(folder, 'dropped.txt')], dragOperationsMask: 1 };
  for (const type of ['dragEnter', 'dragOver', 'drop']) {
    await send('Input.dispatchDragEvent', { type, x: 200, y: 300, data });
  }
  await shows('dropped.txt');

  await click('#folder');
  await shows('made here');
  if (dialogs.length !== 1) throw new Error(`dialogs: ${dialogs}`);

  // The same again says why not.
  await click('#folder');
  await until('a word why not', () => evaluate(`document.getElementById('state').textContent.includes('already')`));

  await click('#zip');
  await downloaded('files.zip');

  // What strangers have put there runs nothing, and reads as what it is.
  await send('Page.navigate', { url: new URL('evil.html', url).href });
  await until('the page of a stranger', () => evaluate(`document.readyState === 'complete' && document.title !== ''`));
  if (await evaluate('document.title') !== 'untouched') throw new Error('a script of a stranger has run');
  await send('Page.navigate', { url: new URL('text.txt', url).href });
  await until('a text', () => evaluate(`document.body && document.body.textContent.includes('grüße')`));
  const ours = problems.filter(problem => !/405|412|evil\.html|sandboxed|favicon/.test(problem));
  if (ours.length) throw new Error(`the browser complains: ${ours.join('; ')}`);
}

main().then(() => { clearTimeout(limit); end(); }, end);
