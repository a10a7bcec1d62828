import { $, h, ask, clock, payload, ready, Stream } from './page.js';

const maxMessages = 200;
const kept = JSON.parse(sessionStorage.getItem('client') ?? '{"filters":[],"after":""}');
let stream = null, paused = false, total = 0;
let messages = []; // newest first, as on the screen
let held = [], came = 0; // while paused: the newest of those that came, and how many

function save() {
  sessionStorage.setItem('client', JSON.stringify({ filters: kept.filters, after: kept.after }));
}

// listen begins the stream anew: behind the last batch, so that no message is
// lost between two sets of filters. What came since the first subscription is
// told again after a reload.
function listen() {
  const after = stream?.last || kept.after;
  stream?.close();
  stream = null;
  save();
  $('filters').replaceChildren(...kept.filters.map((f) => h('li', {}, h('span', { class: 'mono' }, f),
    h('button', { type: 'button', 'aria-label': `Unsubscribe from ${f}`, onclick: () => unsubscribe(f) }, 'Unsubscribe'))));
  if (!kept.filters.length) ready();
  else stream = new Stream(receive, { filters: kept.filters, after });
}

function receive(batch) {
  if (batch.missed) {
    $('missed').hidden = false;
    $('missed').textContent = `Messages come faster than they can be read: ${batch.missed.toLocaleString('en')} were left out here. The timeline counts all.`;
  }
  take(batch.events);
}

function take(events) {
  if (paused) {
    came += events.length;
    held = [...held, ...events].slice(-maxMessages);
    $('pause').textContent = `Resume (${came.toLocaleString('en')} new)`;
    return;
  }
  add(events, events.length);
}

function add(events, count) {
  total += count;
  for (const e of events.slice(-maxMessages)) { // the others would be gone at once
    messages.unshift(e);
    $('messages').prepend(show(e));
  }
  while (messages.length > maxMessages) {
    messages.pop();
    $('messages').lastChild.remove();
  }
  $('count').textContent = total.toLocaleString('en');
  $('no-messages').hidden = messages.length > 0;
}

const tones = { message: 'plain', will: 'lost', copy: 'rule' };

function show(e) {
  const text = h('pre', { tabindex: '0' }, payload(e));
  const item = h('li', { class: 'message fresh', 'data-tone': tones[e.kind] },
    h('header', {}, h('span', { class: 'mono' }, e.topic), h('span', {}, `QoS ${e.qos}`), e.retain ? h('span', {}, 'retained') : null,
      e.kind === 'will' ? h('span', {}, 'Will Message') : e.kind === 'copy' ? h('span', {}, 'copy') : null,
      e.client ? h('span', {}, 'from ' + e.client) : null, h('time', { datetime: new Date(e.t).toISOString() }, clock(e.t))),
    text);
  if (e.size) {
    const more = h('button', { onclick: async () => {
      try {
        text.textContent = payload(await ask('event/' + e.n));
        more.remove();
      } catch (err) {
        more.replaceWith(h('p', { class: 'fault' }, err.message));
      }
    } }, `Show all ${e.size.toLocaleString('en')} bytes`);
    item.append(h('p', {}, more));
  }
  return item;
}

async function subscribe(filter) {
  $('subscribe-error').textContent = '';
  try {
    const answer = await ask('subscribe', { filter });
    if (kept.filters.includes(filter)) return;
    if (!kept.filters.length) {
      kept.after = answer.after;
      stream = null;
    }
    kept.filters.push(filter);
    take(answer.retained);
    listen();
  } catch (err) {
    $('subscribe-error').textContent = err.message;
  }
}

async function unsubscribe(filter) {
  kept.filters = kept.filters.filter((other) => other !== filter);
  listen();
  try {
    await ask('unsubscribe', { filter });
  } catch (err) {
    $('subscribe-error').textContent = err.message;
  }
}

$('subscribe').addEventListener('submit', (e) => { e.preventDefault(); subscribe($('filter').value); });
document.querySelectorAll('[data-filter]').forEach((b) => b.addEventListener('click', () => { $('filter').value = b.dataset.filter; subscribe(b.dataset.filter); }));

$('publish').addEventListener('submit', async (e) => {
  e.preventDefault();
  $('publish-error').textContent = '';
  try {
    await ask('publish', { topic: $('topic').value, payload: $('payload').value, qos: Number($('qos').value), retain: $('retain').checked });
  } catch (err) {
    $('publish-error').textContent = err.message;
  }
});

$('pause').addEventListener('click', () => {
  paused = !paused;
  $('pause').setAttribute('aria-pressed', paused);
  $('pause').textContent = paused ? 'Resume' : 'Pause';
  if (!paused) {
    add(held, came);
    held = [];
    came = 0;
  }
});

$('clear').addEventListener('click', () => {
  messages = [];
  total = 0;
  if (stream) kept.after = stream.last;
  save();
  $('messages').replaceChildren();
  $('missed').hidden = true;
  add([], 0);
});

// The whole of a message of which the stream had the beginning; if it is
// forgotten, the beginning and how many bytes there were.
const whole = (m) => (m.size ? ask('event/' + m.n).catch(() => m) : m);

$('export').addEventListener('click', async () => {
  const rows = (await Promise.all(messages.map(whole))).map((m) => ({
    time: new Date(m.t).toISOString(), topic: m.topic, qos: m.qos, retain: !!m.retain, kind: m.kind, client: m.client ?? '',
    payload: m.payload ?? '', hex: !!m.hex, bytes: m.size,
  }));
  const address = URL.createObjectURL(new Blob([JSON.stringify(rows, null, 2)], { type: 'application/json' }));
  h('a', { href: address, download: 'messages.json' }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000); // the download has begun by then
});

listen();
