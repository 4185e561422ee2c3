// Requests the new rows once a second, and draws the last minutes.
'use strict';
const COLUMNS = 120;
const QUANTILES = ['p50', 'p90', 'p99', 'p99.9', 'p99.99', 'longest'];
const by = id => document.getElementById(id);

let rows = [];
let next = 0;
let range = 60;
let started = 0;
let last = null;      // the last answer
let pausedAt = null;  // the number of the first row that is not shown
const chosen = [null, null];
const cursors = [null, null];

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

const SVG = 'http://www.w3.org/2000/svg';
function shape(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

// Formats a number with three significant digits, or as a whole number from 100 on.
const short = n => n >= 100 ? Math.round(n).toLocaleString('en') : Number(n.toPrecision(3)).toString();

// Formats a duration in nanoseconds.
function duration(nanos) {
  for (const [unit, of] of [['ns', 1e3], ['µs', 1e6], ['ms', 1e9]]) {
    if (Number((nanos / of * 1e3).toPrecision(3)) < 1e3) return `${short(nanos / of * 1e3)} ${unit}`;
  }
  return `${short(nanos / 1e9)} s`;
}
const clock = millis => new Date(millis).toLocaleTimeString();
const share = part => `${(100 * part).toFixed(part < .1 ? 1 : 0)} %`;
const sentence = name => name ? (name[0].toUpperCase() + name.slice(1)).replaceAll('_', ' ') : 'Without a name';

// Returns the rows of the selected range.
function shown() {
  const until = pausedAt ?? next;
  return rows.filter(row => row.number >= until - range && row.number < until);
}

// Draws a card with a number and its course. `values` has an element for each shown row.
function card(name, number, values, highest, isBad) {
  const made = element('div', undefined, isBad ? 'card bad' : 'card');
  made.append(element('b', number), element('span', name));
  const svg = shape('svg', { viewBox: `0 0 ${range} 100`, preserveAspectRatio: 'none', 'aria-hidden': true });
  const first = range - values.length;
  const at = (value, index) => `L${first + index + 1} ${(100 - 96 * Math.min(1, value / (highest || 1))).toFixed(1)}`;
  if (values.length) svg.append(shape('path', { d: `M${first} 102${values.map(at).join('')}L${range} 102` }));
  made.append(svg);
  return made;
}

// Returns the mean of the last few values, which is steadier than the last one.
function lately(values) {
  const few = values.slice(-3);
  return few.reduce((sum, value) => sum + value, 0) / (few.length || 1);
}

function drawCards(now) {
  const workers = (now.at(-1)?.busy || []).map((_, worker) => {
    const busy = now.map(row => row.busy[worker] || 0);
    return card(`Worker ${worker}`, share(lately(busy)), busy, 1);
  });
  by('workers').replaceChildren(...workers);
  const rate = (name, values) => card(name, `${short(lately(values))} / s`, values, Math.max(...values));
  const total = (name, values) => {
    const sum = values.reduce((sum, value) => sum + value, 0);
    return card(name, short(sum), values, Math.max(...values), sum > 0);
  };
  const counter = name => {
    const number = last.counters.indexOf(name);
    return now.map(row => row.counters[number] / row.seconds);
  };
  const counted = name => now.map(row => row.counters[last.counters.indexOf(name)]);
  const own = last.own.map(({ group, name, is_gauge }, number) => {
    const values = now.map(row => row.own[number] || 0);
    if (is_gauge) return card(name, short(values.at(-1) || 0), values, Math.max(...values));
    return rate(group ? `${group}: ${name}` : name, values.map((value, index) => value / now[index].seconds));
  });
  by('counts').replaceChildren(
    ...own,
    rate('Events', counter('events')),
    rate('Steals', counter('steals')), rate('Wake-ups', counter('wakeups')), rate('Sleeps', counter('parks')),
    total('Stalls in range', counted('stalls')),
    total('Stalled tickets in range', counted('ticket_stalls')),
    total('Panics in range', counted('panics')),
  );
}

// Groups the rows by column of a heat map: the sums of their cells, and the greatest quantiles.
function columns(now, series) {
  const per = Math.ceil(range / COLUMNS);
  const all = new Map();
  for (const row of now) {
    const figures = row.series[series];
    const key = Math.floor(row.number / per);
    const column = all.get(key) || { begin: row.end - row.seconds * 1e3, end: row.end, count: 0, cells: new Map(), quantiles: [0, 0, 0, 0, 0, 0] };
    all.set(key, column);
    column.end = row.end;
    if (!figures || !figures.count) continue;
    column.count += figures.count;
    column.quantiles = column.quantiles.map((value, index) => Math.max(value, figures.quantiles[index]));
    const cells = figures.cells || [];
    for (let i = 0; i < cells.length; i += 2) {
      column.cells.set(cells[i], (column.cells.get(cells[i]) || 0) + cells[i + 1]);
    }
  }
  const end = Math.floor(((pausedAt ?? next) - 1) / per);
  const count = Math.floor(range / per);
  return Array.from({ length: count }, (_, index) => all.get(end - count + 1 + index) || null);
}

const plot = { left: 56, right: 636, top: 6, bottom: 274 };

function drawMap(map, now) {
  const svg = document.querySelector(`svg[data-map="${map}"]`);
  const series = last.series.indexOf(chosen[map]);
  const all = columns(now, series);
  let [lowest, highest, most] = [Infinity, 0, 0];
  for (const column of all) {
    for (const [row, count] of column ? column.cells : []) {
      lowest = Math.min(lowest, row);
      highest = Math.max(highest, row);
      most = Math.max(most, count);
    }
  }
  if (!most) [lowest, highest] = [40, 80];
  lowest = Math.max(0, lowest - 2);
  highest = Math.max(highest + 3, lowest + 16);
  const width = (plot.right - plot.left) / all.length;
  const height = (plot.bottom - plot.top) / (highest - lowest);
  const x = index => plot.left + index * width;
  const y = row => plot.bottom - (row - lowest) * height;
  const paths = Array.from({ length: 8 }, () => '');
  const lines = { p50: [], p99: [], p999: [] };
  all.forEach((column, index) => {
    if (!column || !column.count) return;
    for (const [row, count] of column.cells) {
      const level = 1 + Math.floor(6.99 * Math.log(count) / Math.log(Math.max(2, most)));
      paths[Math.min(7, level)] += `M${x(index).toFixed(1)} ${y(row + 1).toFixed(1)}h${width.toFixed(2)}v${height.toFixed(2)}h-${width.toFixed(2)}z`;
    }
    const point = nanos => `${(x(index) + width / 2).toFixed(1)},${y(4 * Math.log2(nanos)).toFixed(1)}`;
    lines.p50.push(point(column.quantiles[0]));
    lines.p99.push(point(column.quantiles[2]));
    lines.p999.push(point(column.quantiles[3]));
  });
  const drawn = paths.map((d, level) => d && shape('path', { d, class: `h${level}` })).filter(Boolean);
  for (let power = 0; power < 12; power++) {
    const at = y(4 * Math.log2(10 ** power));
    if (at > plot.bottom || at < plot.top) continue;
    drawn.push(shape('line', { class: 'grid', x1: plot.left, x2: plot.right, y1: at, y2: at }),
      shape('text', { x: plot.left - 6, y: at + 4, 'text-anchor': 'end' }, duration(10 ** power)));
  }
  for (let ago = 0; ago <= range; ago += range / (range === 60 ? 4 : 5)) {
    const part = 1 - ago / range;
    const text = ago === 0 ? (pausedAt === null ? 'now' : 'pause') : ago % 60 === 0 ? `-${ago / 60} min` : `-${ago} s`;
    const anchor = part === 0 ? 'start' : part === 1 ? 'end' : 'middle';
    drawn.push(shape('text', { x: plot.left + part * (plot.right - plot.left), y: 292, 'text-anchor': anchor }, text));
  }
  for (const [name, points] of Object.entries(lines)) drawn.push(shape('polyline', { class: name, points: points.join(' ') }));
  const cursor = cursors[map];
  if (cursor !== null) {
    drawn.push(shape('rect', { class: 'cursor', x: x(cursor), width, y: plot.top, height: plot.bottom - plot.top }));
  }
  svg.replaceChildren(...drawn);
  const whole = last.range.series[series];
  svg.setAttribute('aria-label', `${sentence(chosen[map])} over the last ${range} seconds: ${read(whole)}`);
  const column = cursor === null ? null : all[cursor];
  by('maps').querySelector(`output[data-map="${map}"]`).textContent =
    cursor === null ? '' : column ? `${clock(column.begin)} to ${clock(column.end)}: ${read(column)}` : 'There are no figures for this time';
}

// Returns the figures of durations as a sentence.
function read(figures) {
  if (!figures || !figures.count) return 'no values';
  const all = figures.quantiles.map((value, index) => `${QUANTILES[index]} ${duration(value)}`);
  return `${figures.count.toLocaleString('en')} values, ${all.join(', ')}`;
}

function line(cells) {
  const row = element('tr');
  for (const [text, className] of cells) row.append(text instanceof Node ? text : element('td', text, className));
  return row;
}

function fill(id, lines, nothing) {
  const table = by(id);
  if (!lines.length) {
    const cell = element('td', nothing, 'text');
    cell.colSpan = table.tHead.rows[0].cells.length;
    lines = [line([[cell]])];
  }
  table.tBodies[0].replaceChildren(...lines);
}

function drawTables() {
  const { range: whole, domains, stalls, series } = last;
  fill('quantiles', whole.series.map(({ count, quantiles }, number) => {
    const cells = quantiles.map(value => {
      const cell = element('td', count ? duration(value) : '');
      if (count) cell.title = `${value} ns`;
      return [cell];
    });
    const row = line([[sentence(series[number])], [count.toLocaleString('en')], ...cells]);
    row.dataset.series = series[number];
    return row;
  }), '');
  fill('places', whole.places.map(place => {
    const of = place.run / (whole.run || 1);
    const cell = element('td');
    const bar = element('span', undefined, 'bar');
    bar.style.setProperty('width', `${6 * of}rem`);
    cell.append(bar, share(of));
    return line([[place.label ?? 'none'], [place.site, 'place text'], [cell], [place.sampled.toLocaleString('en')],
      [duration(place.run / place.sampled)], [duration(place.delay / place.sampled)],
      [place.delay ? share(place.idle / place.delay) : '']]);
  }), 'No event was sampled in the range');
  fill('domains', domains.map(domain => line([[domain.label ?? 'none'], [domain.ticket, 'text'], [domain.doing, 'text'],
    [domain.site, 'place text'], [duration(domain.waiting)], [domain.uncommitted.toLocaleString('en')]])),
  'All events have committed');
  fill('stalls', stalls.map(stall => line([[clock(stall.at)], [stall.label ?? 'none', 'text'], [stall.site, 'place text'],
    [stall.worker], [`${duration(stall.running)}${stall.ended ? '' : ', or longer'}`]])),
  'No event ran longer than the stall threshold');
}

function chooseSeries() {
  const { series } = last;
  const defaults = [series[2] ?? series[0], series[2] ? series[0] : series[1]];
  document.querySelectorAll('select[data-map]').forEach((select, map) => {
    if ([...select.options].map(option => option.value).join() !== series.join()) {
      const before = select.dataset.touched && series.includes(chosen[map]) ? chosen[map] : null;
      select.replaceChildren(...series.map(name => new Option(sentence(name), name)));
      chosen[map] = before ?? defaults[map];
      select.value = chosen[map];
    }
  });
}

function draw() {
  if (!last) return;
  const now = shown();
  chooseSeries();
  drawCards(now);
  drawMap(0, now);
  drawMap(1, now);
  drawTables();
}

function say(text, isBad) {
  const state = by('state');
  // Set only once, because a screen reader reads each change.
  if (state.textContent !== text) state.textContent = text;
  state.className = isBad ? 'bad' : '';
}

let turn = 0;
async function ask() {
  const mine = ++turn;
  const isPaused = pausedAt !== null;
  const query = isPaused ? `after=${Number.MAX_SAFE_INTEGER}&last=${range}&until=${pausedAt}` : `after=${next}&last=${range}`;
  try {
    const answer = await fetch(`data.json?${query}`, { cache: 'no-store' });
    if (!answer.ok) throw new Error(`the server answered with status ${answer.status}`);
    const data = await answer.json();
    if (mine !== turn) return;
    if (data.started !== started) {
      // The program, or this page, has started anew.
      const isAgain = started !== 0;
      [started, rows, next, pausedAt] = [data.started, [], 0, null];
      by('pause').setAttribute('aria-pressed', 'false');
      by('pause').textContent = 'Pause';
      if (isAgain) return setTimeout(ask, 0);
    }
    if (!isPaused) {
      rows = rows.concat(data.rows).slice(-600);
      next = data.next;
    } else {
      // While the page is paused, these stay as they were.
      [data.domains, data.stalls] = [last.domains, last.stalls];
    }
    last = data;
    by('title').textContent = data.title;
    document.title = data.title;
    by('download').href = `histograms.hlog?last=${range}${isPaused ? `&until=${pausedAt}` : ''}`;
    say(isPaused ? `Paused at ${clock(rows.at(-1)?.end ?? data.now)}` : `Live since ${clock(started)}`);
    draw();
  } catch (error) {
    if (mine === turn) say(`No figures: ${error.message}`, true);
  }
  if (mine === turn && pausedAt === null) setTimeout(() => mine === turn && !document.hidden && ask(), 1000);
}

function pause() {
  if (!last) return;
  pausedAt = pausedAt === null ? next : null;
  by('pause').setAttribute('aria-pressed', String(pausedAt !== null));
  by('pause').textContent = pausedAt === null ? 'Pause' : 'Go on';
  ask();
}

function setRange(seconds) {
  range = seconds;
  cursors.fill(null);
  document.querySelector(`input[name="range"][value="${seconds}"]`).checked = true;
  ask();
}

by('pause').onclick = pause;
by('ranges').onchange = event => setRange(Number(event.target.value));
document.onvisibilitychange = () => document.hidden || pausedAt !== null || ask();
addEventListener('keydown', event => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches('select, input')) return;
  if (event.key === ' ' && !event.target.matches('button, a')) {
    event.preventDefault();
    pause();
  } else if ('123'.includes(event.key) && event.key.length === 1) {
    setRange([60, 300, 600][Number(event.key) - 1]);
  }
});
document.querySelectorAll('select[data-map]').forEach((select, map) => {
  select.onchange = () => {
    chosen[map] = select.value;
    select.dataset.touched = 'yes';
    draw();
  };
});
document.querySelectorAll('svg[data-map]').forEach((svg, map) => {
  const count = () => Math.floor(range / Math.ceil(range / COLUMNS));
  const set = column => {
    cursors[map] = column === null ? null : Math.min(count() - 1, Math.max(0, column));
    if (last) drawMap(map, shown());
  };
  svg.onpointermove = event => {
    const at = svg.getBoundingClientRect();
    const x = (event.clientX - at.x) / at.width * 640;
    set(x < plot.left ? null : Math.floor((x - plot.left) / (plot.right - plot.left) * count()));
  };
  svg.onpointerleave = () => document.activeElement === svg || set(null);
  svg.onblur = () => set(null);
  svg.onkeydown = event => {
    const step = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -Infinity, End: Infinity }[event.key];
    if (event.key === 'Escape') set(null);
    if (step === undefined) return;
    event.preventDefault();
    set((cursors[map] ?? count()) + step);
  };
});
ask();
