// A headless Chromium clicks through the page of a folder.
//
//     node browser.mjs URL USER PASSWORD FOLDER [SCREENSHOTS]
//
// FOLDER contains `picked.txt`, `dropped.txt`, and the folder `downloads` for downloaded files.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Browser, sleep, until } from '../../../io/tests/browser/chromium.mjs';

const [url, username, password, folder, screenshots] = process.argv.slice(2);
let browser;
const evaluate = expression => browser.evaluate(expression);
const click = selector => browser.click(selector);
const send = (...message) => browser.send(...message);

const shows = name => until(`a line for ${name}`, () => evaluate(
  `document.readyState === 'complete' && !![...document.querySelectorAll('td a')].find(a => a.dataset.name === ${JSON.stringify(name)})`));
const downloaded = name => until(`the download of ${name}`, () => existsSync(join(folder, 'downloads', name)));

async function main(opened) {
  browser = opened;
  await browser.logIn(username, password);
  const dialogs = [];
  browser.on('Page.javascriptDialogOpening', event => {
    dialogs.push(event.message);
    send('Page.handleJavaScriptDialog', { accept: true, promptText: 'made here' });
  });
  const downloadPath = join(folder, 'downloads');
  await send('Browser.setDownloadBehavior', { behavior: 'allow', downloadPath }, true);

  await send('Page.navigate', { url });
  await shows('binary.bin');
  await browser.screenshot('folder-light.png', 900, 620, 'light');
  await browser.screenshot('folder-dark.png', 900, 620, 'dark');
  await browser.screenshot('folder-narrow.png', 390, 700, 'light');
  const order = await evaluate(`[...document.querySelectorAll('td a[data-name]')].map(a => a.dataset.name)`);
  console.log(JSON.stringify(order));

  await click('a[data-name="binary.bin"]');
  await downloaded('binary.bin');

  const { root } = await send('DOM.getDocument');
  const { nodeId } = await send('DOM.querySelector', { nodeId: root.nodeId, selector: '#files' });
  await send('DOM.setFileInputFiles', { nodeId, files: [join(folder, 'picked.txt')] });
  await shows('picked.txt');

  // A second upload would replace the file, so the page asks for confirmation.
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

  // A second attempt shows the reason for its failure.
  await click('#folder');
  await until('a word why not', () => evaluate(`document.getElementById('state').textContent.includes('already')`));

  await click('#zip');
  await downloaded('files.zip');

  // The browser runs no script of an uploaded page, and shows a text in its encoding.
  await send('Page.navigate', { url: new URL('evil.html', url).href });
  await until('the page of a stranger', () => evaluate(`document.readyState === 'complete' && document.title !== ''`));
  if (await evaluate('document.title') !== 'untouched') throw new Error('a script of a stranger has run');
  await send('Page.navigate', { url: new URL('text.txt', url).href });
  await until('a text', () => evaluate(`document.body && document.body.textContent.includes('grüße')`));
  const ours = browser.problems.filter(problem => !/405|412|evil\.html|sandboxed|favicon/.test(problem));
  if (ours.length) throw new Error(`the browser complains: ${ours.join('; ')}`);
}

Browser.run(main, screenshots);
