// Reads the dashboard, uses its controls, and prints the findings as JSON.
//
//     node page.mjs URL [SCREENSHOTS]
import { Browser, sleep, until } from '../browser/chromium.mjs';

const [url, screenshots] = process.argv.slice(2);

Browser.run(async browser => {
  const evaluate = expression => browser.evaluate(expression);
  const text = id => evaluate(`document.getElementById('${id}').textContent`);
  await browser.send('Page.navigate', { url });
  await until('figures', () => evaluate(`!!document.querySelector('#quantiles tr[data-series="known"] td[title]')`));
  await until('a stall', () => evaluate(`document.querySelectorAll('#stalls tbody td').length > 1`));
  const found = await evaluate(`(() => {
    const cells = selector => [...document.querySelectorAll(selector)].map(row => [...row.cells].map(cell => cell.textContent));
    return {
      title: document.title,
      quantiles: [...document.querySelectorAll('tr[data-series="known"] td[title]')].map(cell => parseInt(cell.title)),
      values: document.querySelector('tr[data-series="known"]').cells[1].textContent,
      workers: document.querySelectorAll('#workers .card').length,
      cards: Object.fromEntries([...document.querySelectorAll('#counts .card')].map(card =>
        [card.querySelector('span').textContent, card.querySelector('b').textContent])),
      places: cells('#places tbody tr'), domains: cells('#domains tbody tr'), stalls: cells('#stalls tbody tr'),
      map: document.querySelector('svg[data-map="0"]').getAttribute('aria-label'),
      heat: document.querySelectorAll('svg[data-map="0"] path[class^="h"]').length,
      lines: [...document.querySelectorAll('svg[data-map="0"] polyline')].map(line => line.getAttribute('points').length),
    };
  })()`);
  await browser.screenshot('dashboard-test.png', 1200, 1500, 'light');

  // A label is shown as text, and not as HTML.
  if (await evaluate('window.wasRun')) throw new Error('a script in a label has run');

  // The space bar pauses the page and resumes it.
  await browser.press(' ', 'Space');
  await until('a pause', async () => (await text('state')).startsWith('Paused'));
  const numbers = () => evaluate(`document.getElementById('counts').innerHTML`);
  const [before] = [await numbers(), await sleep(1500)];
  if (await numbers() !== before) throw new Error('it goes on although it is paused');
  found.paused = await evaluate(`document.getElementById('pause').getAttribute('aria-pressed')`);
  found.download = await evaluate(`document.getElementById('download').getAttribute('href')`);
  await browser.click('#pause');
  await until('that it goes on', async () => (await text('state')).startsWith('Live'));

  // The number of a range selects it.
  await browser.press('3');
  await until('ten minutes', () => evaluate(`document.getElementById('download').href.includes('last=600')`));
  await browser.click('input[value="300"]');
  await until('five minutes', () => evaluate(`document.getElementById('download').href.includes('last=300')`));

  // The arrow keys read a column.
  await evaluate(`document.querySelector('svg[data-map="0"]').focus()`);
  for (let step = 0; step < 10; step++) {
    await browser.press('ArrowLeft');
    found.column = await evaluate(`document.querySelector('output[data-map="0"]').textContent`);
    if (found.column.includes('values')) break;
  }
  // Another series is selected.
  await evaluate(`(() => {
    const select = document.querySelector('select[data-map="0"]');
    select.value = 'run_time';
    select.dispatchEvent(new Event('change'));
  })()`);
  await until('another series', () => evaluate(`document.querySelector('svg[data-map="0"]').getAttribute('aria-label').startsWith('Run time')`));
  if (browser.problems.length) throw new Error(`the browser complains: ${browser.problems.join('; ')}`);
  console.log(JSON.stringify(found));
}, screenshots);
