// Uploads by a file picker and by drag and drop, new folders, and times in the local time zone.
'use strict';
const $ = id => document.getElementById(id);
const state = text => { $('state').textContent = text; };

for (const time of document.querySelectorAll('time')) {
  const at = new Date(time.dateTime);
  time.title = at.toString();
  time.textContent = at.toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'short' });
}

function send(method, path, body, fields, progress) {
  return new Promise((done, failed) => {
    const request = new XMLHttpRequest();
    request.open(method, path);
    for (const [name, value] of Object.entries(fields || {})) request.setRequestHeader(name, value);
    request.upload.onprogress = event => progress && event.lengthComputable && progress(event.loaded / event.total);
    request.onload = () => request.status < 300 ? done(request.status)
      : failed(Object.assign(new Error(request.responseText.trim() || request.statusText), { status: request.status }));
    request.onerror = () => failed(new Error('the connection was lost'));
    request.send(body || null);
  });
}

const url = path => path.map(encodeURIComponent).join('/');

async function put(path, file) {
  const shown = path.join('/');
  const percent = share => state(`${shown}: ${Math.floor(share * 100)} %`);
  percent(0);
  const fields = { 'X-OC-Mtime': String(Math.floor(file.lastModified / 1000)) };
  try {
    await send('PUT', url(path), file, { ...fields, 'If-None-Match': '*' }, percent);
  } catch (error) {
    // A file of this name exists. It may be newer than this page.
    if (error.status !== 412) throw error;
    if (!confirm(`Replace ${shown}?`)) return false;
    await send('PUT', url(path), file, fields, percent);
  }
  return true;
}

async function makeFolder(path) {
  try {
    await send('MKCOL', url(path));
  } catch (error) {
    // The folder exists already.
    if (error.status !== 405) throw error;
  }
}

// Yields a dropped entry and, if it is a folder, everything in it, each with its path. A folder
// precedes its contents.
async function* below(entry, path) {
  const at = [...path, entry.name];
  if (entry.isFile) {
    yield { path: at, file: await new Promise((done, failed) => entry.file(done, failed)) };
    return;
  }
  yield { path: at };
  const reader = entry.createReader();
  for (;;) {
    const some = await new Promise((done, failed) => reader.readEntries(done, failed));
    if (!some.length) return;
    for (const one of some) yield* below(one, at);
  }
}

async function upload(things) {
  const errors = [];
  let count = 0;
  try {
    for await (const { path, file } of things) {
      try {
        const done = file ? await put(path, file) : await makeFolder(path);
        count += done === false ? 0 : 1;
      } catch (error) {
        errors.push(`${path.join('/')}: ${error.message}`);
      }
    }
  } catch (error) {
    // A dropped entry cannot be read.
    errors.push(error.message);
  }
  if (errors.length) return state('Not uploaded:\n' + errors.join('\n'));
  if (count) location.reload();
}

async function* picked(files) {
  for (const file of files) yield { path: [file.name], file };
}

async function* dropped(entries) {
  for (const entry of entries) yield* below(entry, []);
}

if ($('upload')) {
  $('upload').hidden = $('folder').hidden = $('hint').hidden = false;
  $('upload').onclick = () => $('files').click();
  $('files').onchange = () => upload(picked([...$('files').files]));
  $('folder').onclick = async () => {
    const name = prompt('Name of the new folder');
    if (!name) return;
    try {
      await send('MKCOL', url([name]));
      location.reload();
    } catch (error) {
      state(`${name}: ${error.status === 405 ? 'there is one already' : error.message}`);
    }
  };
  let depth = 0;
  const over = by => { depth += by; document.body.classList.toggle('drop', depth > 0); };
  addEventListener('dragenter', () => over(1));
  addEventListener('dragleave', () => over(-1));
  addEventListener('dragover', event => event.preventDefault());
  addEventListener('drop', event => {
    event.preventDefault();
    over(-depth);
    // The entries are valid only until this function returns.
    const entries = [...event.dataTransfer.items].map(item => item.webkitGetAsEntry?.()).filter(Boolean);
    const files = [...event.dataTransfer.files];
    upload(entries.length ? dropped(entries) : picked(files));
  });
}
