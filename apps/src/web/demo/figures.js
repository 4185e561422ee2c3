// Reads /_dapple/metrics twice a second and shows the figures.
const tiles = [
  ['requests per second', now => rate(now, 'web_responses_total')],
  ['responses', now => sum(now, 'web_responses_total')],
  ['open connections', now => sum(now, 'web_connections_open')],
  ['events per second', now => rate(now, 'dapple_events_total')],
  ['workers', now => sum(now, 'dapple_workers')],
  ['colors stolen', now => sum(now, 'dapple_colors_stolen_total')],
  ['wake-ups', now => sum(now, 'dapple_wakeups_total')],
  ['panics', now => sum(now, 'dapple_panics_total')],
];
let before = null;

function parse(text) {
  const rows = [];
  for (const line of text.split('\n')) {
    const m = /^([a-z_]+)(?:\{(.*)\})? ([0-9.eE+-]+)/.exec(line);
    if (m) rows.push({ name: m[1], labels: m[2] || '', value: Number(m[3]) });
  }
  return { rows, at: performance.now() };
}
const sum = (now, name) => now.rows.filter(r => r.name === name).reduce((s, r) => s + r.value, 0);
const rate = (now, name) => before ? (sum(now, name) - sum(before, name)) / (now.at - before.at) * 1000 : 0;

function curve(now, name) {
  const counts = new Map();  // over all labels
  for (const r of now.rows) {
    const le = /le="([^"]+)"/.exec(r.labels);
    if (r.name === name + '_bucket' && le) {
      const bound = le[1] === '+Inf' ? Infinity : Number(le[1]);
      counts.set(bound, (counts.get(bound) || 0) + r.value);
    }
  }
  const total = counts.get(Infinity) || 0;
  return total ? [...counts].filter(([t]) => isFinite(t)).map(([t, n]) => [t, n / total]) : [];
}

const plot = { left: 40, right: 610, top: 15, bottom: 190 };
const x = t => plot.left + (Math.log10(t) + 6) / 7 * (plot.right - plot.left);
const y = share => plot.bottom - share * (plot.bottom - plot.top);

function draw(now) {
  let svg = '';
  const names = ['1 µs', '10 µs', '100 µs', '1 ms', '10 ms', '100 ms', '1 s', '10 s'];
  names.forEach((name, i) => {
    const at = x(10 ** (i - 6));
    svg += `<line class="grid" x1="${at}" x2="${at}" y1="${plot.top}" y2="${plot.bottom}"/><text x="${at - 12}" y="${plot.bottom + 17}">${name}</text>`;
  });
  for (const share of [0, .5, 1]) {
    svg += `<line class="grid" x1="${plot.left}" x2="${plot.right}" y1="${y(share)}" y2="${y(share)}"/><text x="6" y="${y(share) + 4}">${share * 100} %</text>`;
  }
  for (const [name, kind] of [['dapple_queue_delay_seconds', 'delay'], ['dapple_run_time_seconds', 'run']]) {
    const line = curve(now, name).map(([t, share]) => `${x(t)},${y(share)}`).join(' ');
    svg += `<polyline class="${kind}" points="${line}"/>`;
  }
  document.getElementById('plot').innerHTML = svg;
}

async function tick() {
  const state = document.getElementById('state');
  try {
    const answer = await fetch('/_dapple/metrics');
    if (!answer.ok) throw new Error(answer.status === 403 ? 'the figures are only for this machine, under localhost or a loopback address' : 'status ' + answer.status);
    const now = parse(await answer.text());
    document.getElementById('tiles').innerHTML = tiles.map(([name, f]) =>
      `<div class="tile"><b>${Math.round(f(now)).toLocaleString('en')}</b><span>${name}</span></div>`).join('');
    draw(now);
    before = now;
    state.textContent = '';
  } catch (error) {
    state.textContent = 'No figures: ' + error.message;
  }
  setTimeout(tick, 500);
}
tick();
