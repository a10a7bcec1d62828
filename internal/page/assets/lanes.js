// The timeline: each device is a lane, each connection of it a life, each thing
// that happened to it a step.
import { $, h, ask, span, clock, payload, announce, marked, because } from './page.js';

const maxLanes = 40, maxLives = 3, maxSteps = 14;

// How a kind of event is called and coloured.
const looks = {
  connected: ['connected', 'alive'], refused: ['refused', 'lost'], disconnected: ['disconnected', 'plain'],
  message: ['message', 'plain'], will: ['Will Message', 'lost'], copy: ['copy', 'rule'],
  matched: ['rule matched', 'rule'], unmatched: ['rule did not match', 'quiet'],
  done: ['action', 'rule'], failed: ['action failed', 'lost'], erroraction: ['error action', 'quiet'], mail: ['e-mail', 'mail'], note: ['note', 'quiet'],
};

const reasons = {
  CLIENT_INITIATED_DISCONNECT: ['said goodbye', 'DISCONNECT: the Will Message is discarded', 'plain'],
  CONNECTION_LOST: ['connection lost', 'no DISCONNECT came', 'lost'],
  MQTT_KEEP_ALIVE_TIMEOUT: ['given up', 'silent for 1.5 times its keep alive', 'lost'],
  DUPLICATE_CLIENTID: ['taken over', 'another connection has its client ID', 'quiet'],
  SERVER_INITIATED_DISCONNECT: ['ended by the broker', 'its certificate or policy changed', 'lost'],
  API_INITIATED_DISCONNECT: ['ended with the API', 'DeleteConnection', 'lost'],
  FORBIDDEN_ACCESS: ['ended by the broker', 'it did what its policy forbids', 'lost'],
  AUTH_ERROR: ['ended by the broker', 'its credentials or policies no longer do', 'lost'],
  SERVER_ERROR: ['ended by the broker', 'an error of its own', 'lost'],
  THROTTLED: ['ended by the broker', 'it did more than the limits allow', 'lost'],
  WEBSOCKET_TTL_EXPIRATION: ['ended by the broker', 'a WebSocket may not stand longer', 'lost'],
  CUSTOMAUTH_TTL_EXPIRATION: ['ended by the broker', 'its authorizer’s time was over', 'lost'],
  CLIENT_ERROR: ['ended by the broker', 'it broke the protocol', 'lost'],
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
  constructor(lane, since) {
    Object.assign(this, { lane, since, steps: [], keys: new Map(), ended: false, hidden: 0 });
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
    step.button = h('button', { class: 'event', 'data-tone': tone, 'aria-expanded': 'false', onclick: () => open(step) },
      h('span', { class: 'what' }, what, step.small), step.about);
    step.el = h('li', { class: 'step fresh', 'data-kind': e.kind }, step.gap, step.button);
    // That the connection was lost is the broker's last word; it is the first thing that happened.
    const will = e.kind === 'disconnected' && this.steps.find((s) => s.event.kind === 'will');
    if (will) {
      this.track.insertBefore(step.el, will.el);
      this.steps.splice(this.steps.indexOf(will), 0, step);
    } else {
      this.track.insertBefore(step.el, this.silence && !this.ended ? this.silence.el : null);
      this.steps.push(step);
    }
    if (this.steps.length > maxSteps) this.fold();
    return step;
  }

  // fold takes the second step away: the first is how the life began.
  fold() {
    const [gone] = this.steps.splice(1, 1);
    gone.el.remove();
    this.hidden++;
    this.more ??= this.steps[0].el.insertAdjacentElement('afterend', h('li', { class: 'more' }));
    this.more.textContent = `${this.hidden} more`;
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
    const silent = Math.max(0, e.t - s.from);
    s.grow.pause();
    s.grow.currentTime = Math.min(silent, s.most);
    s.text.textContent = `silent for ${span(silent)} of ${s.most / 1000} s`;
    s.track.setAttribute('aria-valuenow', Math.round(silent / 1000));
  }
}

class Lane {
  constructor(name) {
    this.name = name;
    this.lives = [];
    this.state = h('p', { class: 'lane-state' });
    this.box = h('div', { class: 'lives' });
    this.el = h('article', { class: 'lane', 'data-tone': 'plain', 'data-client': name },
      h('header', {}, h('h2', {}, name || 'No device'), this.state), this.box);
    if (!name) this.state.textContent = 'sent by no device that is known';
  }

  life(at) {
    const life = new Life(this, at);
    this.lives.unshift(life);
    this.box.prepend(life.el);
    if (this.lives.length > maxLives) this.lives.pop().el.remove();
    return life;
  }

  add(e) {
    this.touched = e.t;
    let life = this.lives[0];
    if (!life || e.kind === 'connected') life = this.life(e.t);
    // A mail may come when the device is back already.
    if (e.kind === 'mail' && !life.steps.some((s) => s.event.kind === 'matched')) {
      life = this.lives.find((l) => l.steps.some((s) => s.event.kind === 'matched')) ?? life;
    }
    life.add(e);
    switch (e.kind) {
      case 'connected': this.keepAlive = e.keepAlive; this.become('alive', 'connected', e.t); life.heard(e.t, e.keepAlive); break;
      case 'message': life.heard(e.t, this.keepAlive); break;
      case 'will': if (life === this.lives[0]) this.become('lost', 'lost', e.t); break;
      case 'disconnected': {
        const left = e.detail === 'CLIENT_INITIATED_DISCONNECT';
        if (life === this.lives[0]) this.become(left ? 'plain' : 'lost', left ? 'left' : 'lost', e.t);
      }
    }
  }

  become(tone, word, since) {
    if (!this.name) return;
    this.el.dataset.tone = tone;
    Object.assign(this, { word, since });
    this.tick();
  }

  known(c) {
    if (!this.lives.length) this.life(c.since);
    this.keepAlive = c.keepAlive;
    if (this.lives[0].ended) return;
    this.become('alive', 'connected', c.since);
    this.lives[0].heard(c.heard, c.keepAlive);
  }

  tick() {
    if (this.word) this.state.textContent = `${this.word} ${this.word === 'connected' ? 'for ' : ''}${span(Math.max(1000, now() - this.since))}${this.word === 'connected' ? '' : ' ago'}`;
    this.lives[0]?.tick();
  }
}

// Lanes draws lanes into an element; only those of some clients, if only is given.
export class Lanes {
  constructor(el, { only } = {}) {
    Object.assign(this, { el, only, lanes: new Map() });
    setInterval(() => {
      const known = $('stale').hidden;
      this.lanes.forEach((l) => (known ? l.tick() : l.lives[0]?.rest()));
    }, 1000);
  }

  receive(batch) {
    skew = Date.now() - batch.now;
    if (batch.fresh) {
      this.lanes.forEach((l) => l.el.remove());
      this.lanes.clear();
      close();
    }
    // That a client came or went is told without its lifecycle event, too.
    const events = batch.events.filter((e) => e.kind !== 'stack' && !(e.kind === 'message' && e.topic.startsWith('$aws/events/')) && (!this.only || this.only(e.client)));
    // Of the clients in a storm the last have lanes: there is no work for the others.
    const last = new Set();
    for (let i = events.length - 1; i >= 0 && last.size < maxLanes; i--) last.add(events[i].client ?? '');
    for (const e of events) {
      if (!last.has(e.client ?? '') && !this.lanes.has(e.client ?? '')) continue;
      this.lane(e.client ?? '', e.t).add(e);
      if (!batch.fresh && (e.kind === 'will' || e.kind === 'failed' || e.kind === 'mail')) announce(`${e.client ? e.client + ': ' : ''}${look(e).what}`);
    }
    for (const c of batch.clients ?? []) {
      if (this.only && !this.only(c.client)) continue;
      if (this.lanes.has(c.client) || (batch.fresh && this.lanes.size < maxLanes)) this.lane(c.client, c.heard).known(c);
    }
    return this.lanes.size;
  }

  lane(name, at) {
    let lane = this.lanes.get(name);
    if (lane) return lane;
    if (this.lanes.size >= maxLanes) {
      const oldest = [...this.lanes.values()].reduce((a, b) => ((a.touched ?? 0) <= (b.touched ?? 0) ? a : b));
      this.lanes.delete(oldest.name);
      oldest.el.remove();
    }
    lane = new Lane(name);
    lane.touched = at;
    this.lanes.set(name, lane);
    if (name) this.el.prepend(lane.el);
    else this.el.append(lane.el);
    return lane;
  }
}

// What is open in the detail.
let opened = null;

async function open(step) {
  if (opened === step) return close(true);
  close();
  opened = step;
  step.button.setAttribute('aria-expanded', 'true');
  const { what, tone } = look(step.event);
  const panel = $('detail');
  const title = h('h2', { tabindex: '-1' }, what);
  panel.dataset.tone = tone;
  panel.replaceChildren(h('div', { class: 'bar' }, title, h('button', { class: 'close', onclick: () => close(true) }, 'Close')), h('p', { class: 'sub' }, 'Loading'));
  panel.hidden = false;
  title.focus({ preventScroll: true });
  let parts;
  try {
    parts = describe(await ask('event/' + step.event.n));
  } catch (err) {
    parts = [h('p', { class: 'fault', role: 'alert' }, err.message)];
  }
  if (opened === step) panel.replaceChildren(panel.firstChild, ...parts);
}

function close(back = false) {
  if (!opened) return;
  opened.button.setAttribute('aria-expanded', 'false');
  if (back) opened.button.focus({ preventScroll: true });
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
    if (v.error) section('It could not be evaluated', h('p', { class: 'fault' }, v.error));
    else if (v.against?.length) section('What said no', because(v.against, 'lost'));
    else if (v.for?.length) section('What said yes', because(v.for, 'alive'));
  }
  if (e.payload !== undefined) section(v ? 'Message' : 'Payload', h('pre', { tabindex: '0' }, payload(e)));
  if (e.output !== undefined && e.output !== e.payload) section('What the actions get', h('pre', { tabindex: '0' }, payload({ payload: e.output })));
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
