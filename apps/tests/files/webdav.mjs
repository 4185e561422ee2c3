// Uses the `webdav` package of npm as a program would: node webdav.mjs PACKAGE URL USER PASSWORD
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import { join } from 'node:path';
import assert from 'node:assert/strict';

const [root, url, username, password] = process.argv.slice(2);
process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0';
const path = createRequire(join(root, 'x.js')).resolve('webdav');
const { createClient } = await import(pathToFileURL(path).href);
const client = createClient(url, { username, password });

await client.createDirectory('/npm folder');
assert.equal(await client.putFileContents('/npm folder/ä.txt', 'contents'), true);
assert.equal(await client.getFileContents('/npm folder/ä.txt', { format: 'text' }), 'contents');
const [listed] = await client.getDirectoryContents('/npm folder');
assert.deepEqual([listed.basename, listed.type, listed.size], ['ä.txt', 'file', 8]);
assert.equal((await client.stat('/npm folder/ä.txt')).mime, 'text/plain');

// The package sends lock tokens without brackets.
const lock = await client.lock('/npm folder/ä.txt');
await assert.rejects(client.putFileContents('/npm folder/ä.txt', 'other'), error => error.status === 423);
await client.unlock('/npm folder/ä.txt', lock.token);
assert.equal(await client.putFileContents('/npm folder/ä.txt', 'other'), true);

await client.copyFile('/npm folder/ä.txt', '/npm folder/copy.txt');
await client.moveFile('/npm folder/copy.txt', '/npm folder/moved {x}^.txt');
assert.equal(await client.exists('/npm folder/moved {x}^.txt'), true);
await client.deleteFile('/npm folder');
assert.equal(await client.exists('/npm folder'), false);
