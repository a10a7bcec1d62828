// The timeline: each device is a lane, each connection of it a life, each thing
// that happened to it a step.
import { $, h, ask, span, clock, payload, announce, marked, because } from './page.js';
import { Devices } from './devices.js';

// How much is drawn until somebody asks for what is older.
const maxLanes = 40, maxLives = 3, maxSteps = 14;
// More events than these at once are drawn together, not one by one.
const maxDrawn = 100, maxStorm = 25;

// How a kind of event is called and coloured.
const looks = {
  connected: ['connected', 'alive'], refused: ['refused', 'lost'], disconnected: ['disconnected', 'plain'],
  message: ['message', 'plain'], will: ['Will Message', 'lost'], copy: ['copy', 'rule'],
  matched: ['rule matched', 'rule'], unmatched: ['rule did not match', 'quiet'],
  done: ['action', 'rule'], failed: ['action failed', 'lost'], erroraction: ['error action', 'quiet'], mail: ['e-mail', 'mail'], note: ['note', 'quiet'],
};

// AWS's disconnectReason in the words of the commands: what it is called, what happened, its colour.
const reasons = {
  CLIENT_INITIATED_DISCONNECT: ['disconnect', 'DISCONNECT received: Will Message discarded', 'plain'],
  CONNECTION_LOST: ['connection lost', 'no DISCONNECT received', 'lost'],
  MQTT_KEEP_ALIVE_TIMEOUT: ['keep alive timeout', 'silent for 1.5 times its keep alive', 'lost'],
  DUPLICATE_CLIENTID: ['takeover', 'another connection uses its client ID', 'quiet'],
  SERVER_INITIATED_DISCONNECT: ['ended by the broker', 'its certificate or policy changed', 'lost'],
  API_INITIATED_DISCONNECT: ['kill', 'ended with DeleteConnection', 'lost'],
  FORBIDDEN_ACCESS: ['ended by the broker', 'its policy forbids what it did', 'lost'],
  AUTH_ERROR: ['ended by the broker', 'its credentials or policies are no longer valid', 'lost'],
  SERVER_ERROR: ['ended by the broker', 'internal error of the broker', 'lost'],
  THROTTLED: ['ended by the broker', 'it exceeded the limits', 'lost'],
  WEBSOCKET_TTL_EXPIRATION: ['ended by the broker', 'its WebSocket reached the longest allowed time', 'lost'],
  CUSTOMAUTH_TTL_EXPIRATION: ['ended by the broker', 'the time its authorizer allowed is over', 'lost'],
  CLIENT_ERROR: ['ended by the broker', 'it violated the protocol', 'lost'],
};

function look(e) {
  let [what, tone] = looks[e.kind];
  let about = e.topic ?? '';
  switch (e.kind) {
    case 'connected': about = e.keepAlive ? `keep alive ${e.keepAlive} s` : e.detail ?? ''; break;
    case 'disconnected': if (reasons[e.detail]) [what, about, tone] = reasons[e.detail]; else about = e.detail ?? ''; break;
    case 'message': if (connectedTopics.has(e.topic)) what = 'connected message'; break;
    case 'matched': about = e.rule; break;
    case 'unmatched': about = e.detail ?? e.rule; break;
    case 'done': if (e.detail === 'SnsAction') [what, about] = ['sent to SNS', e.rule]; else about = e.detail; break;
    case 'refused': case 'failed': case 'erroraction': case 'note': about = e.detail; break;
    case 'mail': about = e.detail || 'arrived'; break;
  }
  return { what, tone, about };
}

const connectedTopics = new Set(['/lwt/connected/topic']);
export const knowConnectedTopics = (topics) => topics.forEach((t) => connectedTopics.add(t));

// Steps of these kinds that repeat are one step with a count.
const repeats = new Set(['message', 'matched', 'unmatched', 'done', 'copy', 'mail', 'failed', 'erroraction', 'refused']);
const ends = new Set(['will', 'disconnected']);
const follows = new Set(['matched', 'unmatched', 'done', 'copy', 'failed', 'erroraction', 'mail']);

let skew = 0; // of this clock to the server's, in milliseconds
const now = () => Date.now() - skew;

class Life {
  constructor(lane, begin) {
    Object.assign(this, { lane, begin, steps: [], keys: new Map(), ended: false, hidden: 0 });
    this.track = h('ol', { class: 'track' });
    this.el = h('div', { class: 'life' }, this.track);
  }

  add(e) {
    if (ends.has(e.kind)) this.end(e);
    const { what, tone, about } = look(e);
    const key = [e.kind, e.topic, e.rule, e.kind === 'failed' || e.kind === 'erroraction' ? e.detail : '', this.ended].join('\n');
    let step = repeats.has(e.kind) && this.keys.get(key);
    if (step) {
      step.count++;
      step.small.textContent = '× ' + step.count.toLocaleString('en');
      step.about.textContent = about;
    } else {
      step = this.insert(e, what, tone, about);
      this.keys.set(key, step);
    }
    step.event = e;
    step.el.dataset.n = e.n;
    step.el.dataset.t = e.t;
    if (this.previous && this.previous !== step && step.gap) {
      step.gap.textContent = (e.kind === 'mail' || follows.has(e.kind) ? '+ ' : '') + span(e.t - this.previous.event.t);
    }
    const cause = e.kind === 'disconnected' && this.steps[this.steps.indexOf(step) + 1];
    if (cause) { // the Will Message follows from it, whatever came first
      step.gap.textContent = cause.gap.textContent;
      cause.gap.textContent = '';
    }
    if (e.kind === 'will' && this.steps[this.steps.indexOf(step) - 1]?.event.kind === 'disconnected') step.gap.textContent = '';
    if (e.kind !== 'disconnected') this.previous = step;
  }

  insert(e, what, tone, about) {
    const step = { count: 1, event: e };
    step.small = h('small');
    step.about = h('span', { class: 'about' }, about);
    step.gap = h('span', { class: 'gap' });
    step.button = h('button', { class: 'event', 'data-tone': tone, 'aria-expanded': 'false', onclick: () => open(step, this.lane) },
      h('span', { class: 'what' }, what, step.small), step.about);
    step.el = h('li', { class: this.lane.drawing ? 'step' : 'step fresh', 'data-kind': e.kind }, step.gap, step.button);
    // That the connection was lost is the broker's last word; it is the first thing that happened.
    const will = e.kind === 'disconnected' && this.steps.find((s) => s.event.kind === 'will');
    if (will) {
      this.track.insertBefore(step.el, will.el);
      this.steps.splice(this.steps.indexOf(will), 0, step);
    } else {
      this.track.insertBefore(step.el, this.silence && !this.ended ? this.silence.el : null);
      this.steps.push(step);
    }
    if (this.steps.length > this.lane.stepsOf(this)) this.fold();
    return step;
  }

  // fold takes the second step away: the first is how the life began.
  fold() {
    const [gone] = this.steps.splice(1, 1);
    gone.el.remove();
    this.hidden++;
    this.more ??= this.steps[0].el.insertAdjacentElement('afterend', h('li', { class: 'more' }, h('button', { class: 'older', onclick: () => this.lane.unfold(this) })));
    this.more.firstChild.textContent = `${this.hidden.toLocaleString('en')} older`;
  }

  // heard starts the silence anew, after a sign of life.
  heard(at, keepAlive) {
    if (this.ended || !keepAlive) return;
    if (!this.silence) {
      const bar = h('div', { class: 'silence-bar' });
      const text = h('p');
      const track = h('div', { class: 'silence-track', role: 'meter', 'aria-label': `Silence of ${this.lane.name}`, 'aria-valuemin': 0 }, bar);
      this.silence = { bar, text, track, el: h('li', { class: 'silence' }, track, text) };
      this.track.append(this.silence.el);
    }
    const s = this.silence;
    if (s.most !== keepAlive * 1500) {
      s.most = keepAlive * 1500;
      s.track.setAttribute('aria-valuemax', keepAlive * 1.5);
      s.grow = s.bar.animate([{ transform: 'scaleX(0)' }, { transform: 'scaleX(1)' }], {
        id: 'silence', duration: s.most, fill: 'both', easing: `steps(${Math.round(s.most / 250)})`, // four frames a second are enough, and draw no more
      });
      s.from = at;
      this.tick();
    }
    s.from = at;
    s.grow.currentTime = Math.max(0, now() - at);
    s.grow.play();
  }

  tick() {
    const s = this.silence;
    if (!s || this.ended) return;
    if (s.grow.playState === 'paused') this.heard(s.from, s.most / 1500);
    const silent = Math.min(now() - s.from, s.most);
    s.track.setAttribute('aria-valuenow', Math.max(0, Math.round(silent / 1000)));
    s.text.textContent = `silent for ${Math.max(0, Math.floor(silent / 1000))} s, given up after ${s.most / 1000} s`;
  }

  // rest stops the bar while nobody knows what happens.
  rest() {
    if (this.silence && !this.ended) this.silence.grow.pause();
  }

  end(e) {
    if (this.ended) return;
    this.ended = true;
    const s = this.silence;
    if (!s) return;
    const silent = Math.max(0, e.t - (e.heard ?? s.from));
    s.grow.pause();
    s.grow.currentTime = Math.min(silent, s.most);
    s.text.textContent = `silent for ${span(silent)} of ${s.most / 1000} s`;
    s.track.setAttribute('aria-valuenow', Math.round(silent / 1000));
  }
}

class Lane {
  constructor(device) {
    Object.assign(this, { device, name: device.name, lives: [], last: 0, shownLives: maxLives, unfolded: new Map() });
    this.state = h('p', { class: 'lane-state' });
    this.box = h('div', { class: 'lives' });
    this.earlier = h('button', { class: 'older', onclick: () => { this.shownLives += maxLives; this.draw(); } });
    this.el = h('article', { class: 'lane', 'data-tone': 'plain', 'data-client': this.name },
      h('header', {}, h('h2', {}, this.name || 'No device'), this.state), h('div', {}, this.box, this.earlier));
    if (!this.name) this.state.textContent = 'events that name no client';
    this.draw();
  }

  // draw draws the lane from all that is known of the device.
  draw() {
    const restore = keepFocus(this.el);
    const events = this.device.events;
    let from = events.length;
    for (let lives = 0; from > 0 && lives < this.shownLives; from--) if (events[from - 1].kind === 'connected') lives++;
    this.lives = [];
    this.box.replaceChildren();
    this.drawing = true;
    for (const e of events.slice(from)) this.add(e);
    this.drawing = false;
    this.offer(events.slice(0, from).filter((e, i) => i === 0 || e.kind === 'connected').length);
    if (!this.lives.length && this.device.state && this.device.state.state !== 'connected') {
      this.box.replaceChildren(h('p', { class: 'life sub' }, 'Its events are no longer kept.'));
    }
    this.know();
    restore();
    if (opened?.client === this.name) reopen(this);
  }

  // offer offers the connections that are not drawn.
  offer(older) {
    this.older = older;
    this.earlier.hidden = !older;
    this.earlier.textContent = `${older.toLocaleString('en')} older connection${older === 1 ? '' : 's'}`;
  }

  stepsOf(life) {
    return this.unfolded.get(life.begin) ?? maxSteps;
  }

  unfold(life) {
    this.unfolded.set(life.begin, this.stepsOf(life) + 50);
    this.draw();
    this.lives.find((l) => l.begin === life.begin)?.steps[1]?.button.focus({ preventScroll: true });
  }

  life(begin) {
    const life = new Life(this, begin);
    if (!this.lives.length) this.box.replaceChildren();
    this.lives.unshift(life);
    this.box.prepend(life.el);
    if (this.lives.length > this.shownLives) {
      this.lives.pop().el.remove();
      this.offer(this.older + 1);
    }
    return life;
  }

  add(e) {
    this.last = e.n;
    let life = this.lives[0];
    if (!life || e.kind === 'connected') life = this.life(e.n);
    // A mail may come when the device is back already.
    if (e.kind === 'mail' && !life.steps.some((s) => s.event.kind === 'matched')) {
      life = this.lives.find((l) => l.steps.some((s) => s.event.kind === 'matched')) ?? life;
    }
    life.add(e);
    if (e.kind === 'connected') {
      this.keepAlive = e.keepAlive;
      life.heard(e.t, e.keepAlive);
    } else if (e.kind === 'message') {
      life.heard(e.t, this.keepAlive);
    }
  }

  // know shows the state of the device as the server knows it.
  know() {
    const c = this.device.state;
    if (!this.name || !c) return;
    this.el.dataset.tone = { connected: 'alive', lost: 'lost', left: 'plain' }[c.state];
    this.tick();
    if (c.state !== 'connected') return;
    if (!this.lives.length) this.life(0);
    this.keepAlive = c.keepAlive;
    this.lives[0].heard(c.heard, c.keepAlive);
  }

  tick() {
    const c = this.device.state;
    if (this.name && c) this.state.textContent = `${c.state} ${c.state === 'connected' ? 'for ' : ''}${span(Math.max(1000, now() - c.since))}${c.state === 'connected' ? '' : ' ago'}`;
    this.lives[0]?.tick();
  }
}

// Lanes draws the lanes of devices into an element: those of some clients, if only
// is given, and those that were searched for.
export class Lanes {
  constructor(el, { only } = {}) {
    Object.assign(this, { el, only, devices: new Devices(), lanes: new Map(), limit: maxLanes, news: [], text: '', lost: false, own: false });
    this.drawAll = true; // and not one event after the other
    setInterval(() => {
      const known = $('stale').hidden;
      this.lanes.forEach((l) => (known ? l.tick() : l.lives[0]?.rest()));
    }, 1000);
  }

  fits(device) {
    if (this.only && !this.only(device.name)) return false;
    if (device.own && !this.own) return false;
    if (this.lost && device.state?.state !== 'lost') return false;
    return device.name.toLowerCase().includes(this.text) && (device.name !== '' || this.text === '' && device.events.length > 0);
  }

  receive(batch) {
    if (batch.now) skew = Date.now() - batch.now;
    if (batch.fresh) {
      this.lanes.forEach((l) => l.el.remove());
      this.lanes.clear();
      close();
    }
    this.drawAll ||= batch.fresh || batch.fill;
    this.news.push(...this.devices.take(batch));
    if (batch.more) return;
    const { news } = this;
    this.news = [];
    if (this.drawAll || news.length > maxDrawn && !batch.missed) {
      this.drawAll = false;
      this.draw();
      return;
    }
    // In a storm, of which there are four batches a second, no more is drawn than at
    // a hundred events a second.
    for (const e of batch.missed ? news.slice(-maxStorm) : news) {
      this.drawEvent(e);
      if (!e.own && (e.kind === 'will' || e.kind === 'failed' || e.kind === 'mail')) announce(`${e.client ? e.client + ': ' : ''}${look(e).what}`);
    }
    for (const c of batch.clients ?? []) this.follow(this.devices.all.get(c.client));
    this.sum();
  }

  drawEvent(e) {
    const device = this.devices.all.get(e.client ?? '');
    const lane = this.lanes.get(device.name);
    if (!lane && this.fits(device)) this.lane(device);
    else if (lane && e.n > lane.last) lane.add(e);
  }

  // follow shows the state of a device: its lane may come or go with it.
  follow(device) {
    const lane = this.lanes.get(device.name);
    if (lane) lane.know();
    if (lane && !this.fits(device)) this.remove(lane);
    else if (!lane && this.fits(device) && this.lanes.size < this.limit) this.lane(device);
  }

  // draw draws all lanes: those last heard of, and no more than the limit.
  draw() {
    const shown = [...this.devices.all.values()].filter((d) => this.fits(d)).sort((a, b) => b.touched - a.touched).slice(0, this.limit);
    const restore = keepFocus(this.el);
    const before = this.lanes;
    this.lanes = new Map();
    for (const device of shown.reverse()) {
      const lane = before.get(device.name) ?? new Lane(device);
      if (before.delete(device.name)) lane.draw();
      this.place(lane);
    }
    before.forEach((lane) => lane.el.remove());
    restore();
    this.sum();
  }

  lane(device) {
    if (this.lanes.size >= this.limit) {
      const oldest = [...this.lanes.values()].filter((l) => !l.el.contains(document.activeElement)).reduce((a, b) => (a.device.touched <= b.device.touched ? a : b));
      this.remove(oldest);
    }
    this.place(new Lane(device));
  }

  place(lane) {
    this.lanes.set(lane.name, lane);
    if (lane.name) this.el.prepend(lane.el);
    else this.el.append(lane.el);
  }

  remove(lane) {
    this.lanes.delete(lane.name);
    lane.el.remove();
  }

  // search shows the devices that a text, and what is ticked, ask for.
  search({ text, lost, own }) {
    Object.assign(this, { text: text.trim().toLowerCase(), lost, own, limit: maxLanes });
    this.draw();
  }

  // older shows more devices.
  older() {
    this.limit += maxLanes;
    this.draw();
  }

  // sum counts, at most four times a second.
  sum() {
    if (this.summing || !this.summed || this.drawAll) return; // nothing has come yet
    this.summing = setTimeout(() => {
      this.summing = 0;
      const sums = { devices: 0, lost: 0, own: 0, fit: 0, drawn: this.lanes.size };
      for (const d of this.devices.all.values()) {
        if (this.fits(d)) sums.fit++;
        if (d.own) sums.own++;
        if (d.own && !this.own || !d.name) continue;
        sums.devices++;
        if (d.state?.state === 'lost') sums.lost++;
      }
      this.summed(sums);
    }, 100);
  }
}

// keepFocus returns what gives the focus back to an event that is drawn again.
function keepFocus(el) {
  const focused = document.activeElement;
  const n = el.contains(focused) && focused.closest('[data-n]')?.dataset.n;
  return () => {
    if (n && document.activeElement !== focused) (focused.isConnected ? focused : el.querySelector(`[data-n="${n}"] button`))?.focus({ preventScroll: true });
  };
}

// What is open in the detail: a step, and the client that its lane is of.
let opened = null;

async function open(step, lane) {
  if (opened?.step === step) return close(true);
  close();
  const now = opened = { step, client: lane.name };
  step.button.setAttribute('aria-expanded', 'true');
  const { what, tone } = look(step.event);
  const panel = $('detail');
  const title = h('h2', { tabindex: '-1' }, what);
  const content = h('div', { class: 'content' }, h('p', { class: 'sub' }, 'Loading'));
  panel.dataset.tone = tone;
  panel.replaceChildren(h('div', { class: 'bar' }, title, h('button', { class: 'close', onclick: () => close(true) }, 'Close')), content);
  panel.hidden = false;
  title.focus({ preventScroll: true });
  let parts;
  try {
    parts = describe(await ask('event/' + step.event.n));
  } catch (err) {
    parts = [h('p', { class: 'fault', role: 'alert' }, err.message)];
  }
  if (opened === now) content.replaceChildren(...parts);
}

// reopen finds the step that is open again, after its lane was drawn.
function reopen(lane) {
  const n = opened.step.event.n;
  const step = lane.lives.flatMap((l) => l.steps).find((s) => s.event.n === n);
  if (!step) return;
  opened.step = step;
  step.button.setAttribute('aria-expanded', 'true');
}

function close(back = false) {
  if (!opened) return;
  const { button } = opened.step;
  button.setAttribute('aria-expanded', 'false');
  if (back) (button.isConnected ? button : $('lanes')).focus({ preventScroll: true });
  opened = null;
  $('detail').hidden = true;
}

addEventListener('keydown', (e) => e.key === 'Escape' && close(true));

function describe(e) {
  const facts = h('dl', { class: 'facts' });
  const fact = (name, value, mono) => value !== undefined && value !== '' && facts.append(h('dt', {}, name), h('dd', mono ? { class: 'mono' } : {}, String(value)));
  fact('Time', clock(e.t));
  fact('Client', e.client, true);
  fact('Rule', e.rule, true);
  fact('Topic', e.topic, true);
  if (e.topic !== undefined) fact('QoS', e.qos + (e.retain ? ', retained' : ''));
  fact('Keep alive', e.keepAlive && e.keepAlive + ' s');
  if (e.kind !== 'matched' && e.kind !== 'unmatched') fact(e.kind === 'mail' ? 'Subject' : 'Detail', e.detail);
  const parts = [facts];
  const section = (title, ...content) => parts.push(h('section', {}, h('h3', {}, title), ...content));
  const v = e.verdict;
  if (v) {
    section('Statement', h('pre', { class: 'sql', tabindex: '0' }, ...marked(v.sql, marksOf(v))));
    if (v.error) section('The statement could not be evaluated', h('p', { class: 'fault' }, v.error));
    else if (v.against?.length) section('Conditions that are not true', because(v.against, 'lost'));
    else if (v.for?.length) section('Conditions that are true', because(v.for, 'alive'));
  }
  if (e.payload !== undefined) section(v ? 'Message' : 'Payload', h('pre', { tabindex: '0' }, payload(e)));
  if (e.output !== undefined && e.output !== e.payload) section('Payload of the actions', h('pre', { tabindex: '0' }, payload({ payload: e.output })));
  if (e.name && e.kind === 'mail') parts.push(h('p', {}, h('a', { href: '/_lwt/mailbox/' + encodeURIComponent(e.name) }, 'Read the mail')));
  if (v) {
    parts.push(h('p', {}, h('a', { href: '/_lwt/rule', onclick: () => sessionStorage.setItem('try', JSON.stringify({ sql: v.sql, version: v.version, topic: e.topic, payload: e.payload ?? '', client: e.client ?? '' })) }, 'Try the rule with this message')));
  }
  return parts;
}

export const marksOf = (v) => [
  ...(v.against ?? []).map((c) => ({ ...c, tone: 'lost' })),
  ...(v.against?.length ? [] : v.for ?? []).map((c) => ({ ...c, tone: 'alive' })),
];
