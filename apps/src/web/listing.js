// A search field, and times in the local time zone.
'use strict';
for (const time of document.querySelectorAll('time')) {
  const at = new Date(time.dateTime);
  time.title = at.toString();
  time.textContent = at.toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'short' });
}
const search = document.getElementById('search');
const state = document.getElementById('state');
const rows = [...document.querySelectorAll('tbody tr')].map(row => ({
  row, name: row.querySelector('a').textContent.toLowerCase(),
})).filter(({ name }) => name !== '..');
search.hidden = rows.length === 0;
search.oninput = () => {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const { row, name } of rows) {
    row.hidden = !words.every(word => name.includes(word));
    shown += row.hidden ? 0 : 1;
  }
  state.textContent = words.length ? `${shown} of ${rows.length}` : '';
};
addEventListener('keydown', event => {
  if (event.key === '/' && document.activeElement !== search) {
    event.preventDefault();
    search.focus();
  } else if (event.key === 'Escape' && document.activeElement === search) {
    search.value = '';
    search.oninput();
  }
});
