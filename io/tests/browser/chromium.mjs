// A headless Chromium for tests, driven by the DevTools protocol over a pipe.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export const sleep = ms => new Promise(done => setTimeout(done, ms));

// Waits until `is` returns a value that is true.
export async function until(what, is) {
  for (let n = 0; n < 400; n++) {
    const found = await is();
    if (found) return found;
    await sleep(50);
  }
  throw new Error(`in vain: ${what}`);
}

export class Browser {
  #next = 1;
  #waiting = new Map();
  #listeners = new Map();
  #session;
  #isOver = false;
  #text = '';
  // The errors of the page.
  problems = [];

  // Runs `test` with a browser, and ends the process, with status 1 if the test failed.
  // `screenshots` is the folder for pictures. Without it, none are made.
  static run(test, screenshots) {
    const browser = new Browser(screenshots);
    const limit = setTimeout(() => browser.#end(new Error('it took too long')), 90_000);
    browser.#begin()
      .then(() => test(browser))
      .then(() => { clearTimeout(limit); browser.#end(); }, error => browser.#end(error));
  }

  constructor(screenshots) {
    this.screenshots = screenshots;
    this.profile = mkdtempSync(join(tmpdir(), 'chromium-'));
    this.process = spawn('chromium', [
      '--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run',
      '--ignore-certificate-errors', '--remote-debugging-pipe', `--user-data-dir=${this.profile}`, 'about:blank',
    ], { stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'] });
    this.process.on('error', error => { console.error(error); process.exit(1); });
    const [, , , into, from] = this.process.stdio;
    this.into = into;
    from.setEncoding('utf8');
    from.on('data', data => this.#read(data));
    // A browser that is ending may close its pipes early.
    for (const pipe of [into, from]) pipe.on('error', error => this.#isOver || this.#end(error));
  }

  #read(data) {
    const messages = (this.#text + data).split('\0');
    this.#text = messages.pop();
    for (const message of messages.map(one => JSON.parse(one))) {
      const call = this.#waiting.get(message.id);
      this.#waiting.delete(message.id);
      if (call && message.error) call.failed(new Error(`${call.method}: ${message.error.message}`));
      else if (call) call.done(message.result);
      else for (const listener of this.#listeners.get(message.method) || []) listener(message.params);
    }
  }

  async #begin() {
    const { targetInfos } = await this.send('Target.getTargets', {}, true);
    const { targetId } = targetInfos.find(target => target.type === 'page');
    const attached = await this.send('Target.attachToTarget', { targetId, flatten: true }, true);
    this.#session = attached.sessionId;
    this.on('Runtime.exceptionThrown', event => this.problems.push(event.exceptionDetails.text));
    this.on('Log.entryAdded', ({ entry }) => entry.level === 'error' && this.problems.push(`${entry.text} ${entry.url || ''}`));
    for (const domain of ['Page', 'Runtime', 'Log']) await this.send(`${domain}.enable`);
  }

  #end(problem) {
    this.#isOver = true;
    if (problem) console.error(problem.stack || problem);
    this.process.kill('SIGKILL');
    this.process.on('exit', () => {
      try { rmSync(this.profile, { recursive: true, force: true, maxRetries: 5 }); } catch { /* its processes may still end */ }
      process.exit(problem ? 1 : 0);
    });
  }

  send(method, params = {}, ofBrowser = false) {
    const id = this.#next++;
    const message = { id, method, params, ...(ofBrowser ? {} : { sessionId: this.#session }) };
    this.into.write(JSON.stringify(message) + '\0');
    return new Promise((done, failed) => this.#waiting.set(id, { done, failed, method }));
  }

  on(event, call) {
    this.#listeners.set(event, [...(this.#listeners.get(event) || []), call]);
  }

  // Answers requests for a name and a password.
  async logIn(username, password) {
    this.on('Fetch.requestPaused', ({ requestId }) => this.send('Fetch.continueRequest', { requestId }).catch(() => {}));
    this.on('Fetch.authRequired', ({ requestId }) => this.send('Fetch.continueWithAuth', {
      requestId, authChallengeResponse: { response: 'ProvideCredentials', username, password },
    }).catch(() => {}));
    await this.send('Fetch.enable', { handleAuthRequests: true });
  }

  async evaluate(expression) {
    const answer = await this.send('Runtime.evaluate', { expression, awaitPromise: true, returnByValue: true });
    if (answer.exceptionDetails) throw new Error(JSON.stringify(answer.exceptionDetails));
    return answer.result.value;
  }

  async click(selector) {
    const [x, y] = await this.evaluate(`(() => {
      const at = document.querySelector(${JSON.stringify(selector)}).getBoundingClientRect();
      return [at.x + Math.min(at.width / 2, 20), at.y + at.height / 2];
    })()`);
    for (const type of ['mousePressed', 'mouseReleased']) {
      await this.send('Input.dispatchMouseEvent', { type, x, y, button: 'left', clickCount: 1 });
    }
  }

  async press(key, code = key) {
    const text = key.length === 1 ? { text: key } : {};
    for (const type of ['keyDown', 'keyUp']) {
      await this.send('Input.dispatchKeyEvent', { type, key, code, ...(type === 'keyDown' ? text : {}) });
    }
  }

  async screenshot(name, width, height, scheme) {
    if (!this.screenshots) return;
    await this.send('Emulation.setDeviceMetricsOverride', { width, height, deviceScaleFactor: 1, mobile: false });
    await this.send('Emulation.setEmulatedMedia', { features: [{ name: 'prefers-color-scheme', value: scheme }] });
    await sleep(200);
    const { data } = await this.send('Page.captureScreenshot', { format: 'png' });
    writeFileSync(join(this.screenshots, name), Buffer.from(data, 'base64'));
    await this.send('Emulation.clearDeviceMetricsOverride');
    await this.send('Emulation.setEmulatedMedia', { features: [] });
  }
}
