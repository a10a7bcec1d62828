// What all views share. Text from outside only ever becomes textContent.

// The server rendered the view: the browser paints it before any script has work
// to do. Where it tells no paint, a moment is enough.
if (!document.hidden) {
  await Promise.race([
    new Promise((painted) => new PerformanceObserver(painted).observe({ type: 'paint', buffered: true })),
    new Promise((waited) => setTimeout(waited, 300)),
  ]);
}

// h makes an element: h('p', {class: 'x', onclick: f}, 'text', element).
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, '');
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.filter((c) => c != null));
  return element;
}

export const $ = (id) => document.getElementById(id);

export function clock(ms) {
  const d = new Date(ms);
  return d.toLocaleTimeString('en-GB') + '.' + String(Math.floor(ms) % 1000).padStart(3, '0');
}

// span tells a time in milliseconds for people.
export function span(ms) {
  if (ms < 1) return Math.max(0, ms).toFixed(2) + ' ms';
  if (ms < 10) return ms.toFixed(1) + ' ms';
  if (ms < 1000) return Math.round(ms) + ' ms';
  const s = ms / 1000;
  if (s < 10) return s.toFixed(1) + ' s';
  if (s < 120) return Math.round(s) + ' s';
  if (s < 7200) return Math.round(s / 60) + ' min';
  if (s < 172800) return Math.round(s / 3600) + ' h';
  return Math.round(s / 86400) + ' days';
}

export function pretty(text) {
  try {
    const value = JSON.parse(text);
    // Only what is laid out anew: numbers beyond a double would change.
    return typeof value === 'object' && value && !/\d{16}/.test(text) ? JSON.stringify(value, null, 2) : text;
  } catch {
    return text;
  }
}

// payload shows what a message carries.
export const payload = (event) => (event.hex ? 'hex ' + event.payload.replace(/(..)/g, '$1 ') : pretty(event.payload ?? ''));

// ask sends JSON and returns the answer; what is refused throws an error for people.
export async function ask(path, body) {
  let response;
  try {
    response = await fetch('/_lwt/' + path, body === undefined ? {} : {
      method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body),
    });
  } catch {
    if ($('link').dataset.link !== 'lost') tell('lost', 'no answer');
    throw new Error('no answer: is lwt still running?');
  }
  if ($('link').textContent === 'no answer') ready();
  if (!response.headers.get('Content-Type')?.startsWith('application/json')) throw new Error((await response.text()).trim() || response.statusText);
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

// fetchPage asks the server for a view again and returns its document, in which
// no script runs.
export function fetchPage(path) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open('GET', path);
    request.responseType = 'document';
    request.onload = () => (request.status === 200 && request.response ? resolve(request.response) : reject(new Error(request.statusText)));
    request.onerror = () => reject(new Error('no answer'));
    request.send();
  });
}

// Browsers open six connections to a server, for all tabs together. Four may be
// streams; a tab beyond them asks every second instead, so that the last two
// stay free for everything else.
const slots = ['1', '2', '3', '4'].map((n) => 'lastwill-stream-' + n);

// takeSlot returns what gives the slot back, or null if none is free.
async function takeSlot() {
  for (const name of slots) {
    const release = await new Promise((resolve) => {
      navigator.locks.request(name, { ifAvailable: true }, (lock) => {
        if (!lock) return resolve(null);
        return new Promise((free) => resolve(free));
      });
    });
    if (release) return release;
  }
  return null;
}

// A Stream receives what happens, batch by batch. It resumes behind the last batch
// when the connection was lost, and rests while the page is hidden. A whole one asks
// for the events that were left out in a storm, when that is over.
export class Stream {
  constructor(receive, { filters = [], after = '', whole = false } = {}) {
    Object.assign(this, { receive, filters, last: after, whole, turn: 0 });
    this.visibility = () => (document.hidden ? this.rest() : this.open());
    document.addEventListener('visibilitychange', this.visibility);
    addEventListener('pagehide', () => this.rest());
    addEventListener('pageshow', (e) => e.persisted && this.open());
    this.visibility();
  }

  address(after, more = {}) {
    const query = new URLSearchParams(this.filters.map((f) => ['filter', f]));
    for (const [k, v] of Object.entries(more)) query.set(k, v);
    if (after) query.set('after', after);
    return '/_lwt/events?' + query;
  }

  // once asks for all that is kept after a place, and returns the batches with their ids.
  async once(after) {
    const text = await (await fetch(this.address(after, { once: '1' }))).text();
    return [...text.matchAll(/^id: (.*)\ndata: (.*)$/gm)].map(([, id, data]) => [id, data]);
  }

  async open() {
    if (this.running || this.closed) return;
    this.running = true;
    const turn = ++this.turn;
    const release = await takeSlot();
    if (turn !== this.turn) return release?.();
    if (!release) return this.askAgain(turn);
    this.release = release;
    this.source = new EventSource(this.address(this.last));
    this.source.onopen = () => this.told('live');
    this.source.onerror = () => {
      this.lost();
      if (this.source?.readyState === EventSource.CLOSED) { // refused: the browser gives up
        this.rest();
        setTimeout(() => this.open(), 2000);
      }
    };
    this.source.onmessage = (e) => this.take(e.lastEventId, e.data);
  }

  async askAgain(turn) {
    while (turn === this.turn) {
      try {
        const batches = await this.once(this.last);
        if (turn !== this.turn) return;
        if (!batches.length) throw new Error('no batch');
        this.told('live, every second');
        for (const [id, data] of batches) this.take(id, data);
      } catch {
        this.lost();
      }
      await new Promise((resolve) => setTimeout(resolve, 1000));
    }
  }

  told(how) {
    $('stale').hidden = true;
    tell('live', how);
  }

  // lost says from when it is what the page shows: nobody knows what is now.
  lost() {
    tell('lost', 'connection lost, trying again');
    if (!$('stale').hidden) return;
    $('stale').textContent = `The connection was lost at ${new Date().toLocaleTimeString('en-GB')}: this is how it was then. The page goes on as soon as there is an answer.`;
    $('stale').hidden = false;
  }

  take(id, data) {
    const batch = JSON.parse(data);
    if (!batch.fresh && earlier(id, this.last)) return;
    if (batch.fresh) this.gap = null;
    if (batch.missed && this.whole) {
      this.gap ??= this.last;
      clearTimeout(this.calm);
      this.calm = setTimeout(() => this.fill(), 1000);
    }
    this.last = id;
    this.receive(batch);
  }

  // fill asks for what was left out. What the batches say beside their events is old.
  async fill() {
    const gap = this.gap;
    this.gap = null;
    try {
      const batches = (await this.once(gap)).map(([, data]) => JSON.parse(data));
      if (batches.some((b) => b.fresh) || this.gap) return;
      for (const { events, first, more } of batches) this.receive({ events, first, more, fill: true });
    } catch {
      this.gap ??= gap;
      this.calm = setTimeout(() => this.fill(), 2000);
    }
  }

  rest() {
    this.turn++;
    this.running = false;
    this.source?.close();
    this.release?.();
    this.source = this.release = null;
    if (document.hidden) tell('opening', 'resting');
  }

  close() {
    this.closed = true;
    clearTimeout(this.calm);
    this.rest();
    document.removeEventListener('visibilitychange', this.visibility);
  }
}

// earlier compares ids of batches: epoch-number.
function earlier(id, than) {
  const [epoch, n] = id.split('-');
  const [other, m] = than.split('-');
  return epoch === other && Number(n) < Number(m);
}

// ready is the state of a view that has no stream.
export const ready = () => tell('live', 'ready');

function tell(state, text) {
  const link = $('link');
  if (link.textContent === text) return;
  link.dataset.link = state;
  link.textContent = text;
}

// announce says something to a screen reader, at most every other second.
let spoken = 0, pending = [];
export function announce(text) {
  pending.push(text);
  const wait = Math.max(0, spoken + 2000 - Date.now());
  if (pending.length > 1) return;
  setTimeout(() => {
    spoken = Date.now();
    $('live').textContent = pending.length > 4 ? pending.slice(-3).join('. ') + `. And ${pending.length - 3} more.` : pending.join('. ');
    pending = [];
  }, wait);
}

// marked shows a statement with places marked; marks have start, end, tone.
export function marked(sql, marks) {
  const out = [];
  let at = 0;
  for (const m of [...marks].sort((a, b) => a.start - b.start)) {
    if (m.start < at) continue;
    const text = sql.slice(m.start, m.end) || ' ';
    out.push(sql.slice(at, m.start), h('mark', { 'data-tone': m.tone }, text));
    at = Math.max(m.end, m.start);
  }
  return [...out, sql.slice(at)];
}

// because lists the parts of WHERE that decided, with their values.
export function because(clauses, tone) {
  return h('ul', { class: 'because' }, ...clauses.map((c) => h('li', { 'data-tone': tone },
    h('span', { class: 'mono' }, c.text), `is ${c.value}`,
    c.inputs.length ? ': ' + c.inputs.map((i) => `${i.SQL} is ${i.Value}`).join(', ') : '')));
}

// On a phone the tabs scroll: the one of this view is in sight.
document.querySelector('.top [aria-current]')?.scrollIntoView({ inline: 'center', block: 'nearest' });
