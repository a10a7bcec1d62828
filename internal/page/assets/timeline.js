import { $, h, Stream, fetchPage, span } from './page.js';
import { Lanes, knowConnectedTopics } from './lanes.js';

const lanes = new Lanes($('lanes'));
const figures = [...document.querySelectorAll('[data-figure]')];

// Two minutes as bars of a second each: other events, and Will Messages.
const bars = Array.from({ length: 120 }, () => {
  const bar = { el: h('i', {}, h('b'), h('b')), other: 0, wills: 0 };
  $('pulse').append(bar.el);
  return bar;
});
let second = Math.floor(Date.now() / 1000);

function pulse() {
  const at = Math.floor(Date.now() / 1000);
  for (; second < at; second++) {
    const first = bars.shift();
    Object.assign(first, { other: 0, wills: 0 });
    bars.push(first);
    $('pulse').append(first.el);
    if (at - second > 240) second = at - 121;
  }
}

let drawing = false;
function draw() {
  drawing = false;
  const most = Math.max(8, ...bars.map((b) => b.other + b.wills));
  for (const b of bars) {
    // The square root lets one event be seen beside a thousand.
    const all = b.other + b.wills, height = all && 100 * Math.sqrt(all / most);
    b.el.children[0].style.height = (all ? height * b.other / all : 0) + '%';
    b.el.children[1].style.height = (all ? height * b.wills / all : 0) + '%';
  }
  const sum = (key) => bars.reduce((n, b) => n + b[key], 0);
  $('pulse').setAttribute('aria-label', `Events in the last two minutes: ${sum('wills')} Will Messages, ${sum('other')} others`);
}
const drawSoon = () => { if (!drawing) { drawing = true; setTimeout(() => requestAnimationFrame(draw), 200); } };
setInterval(() => { pulse(); drawSoon(); }, 1000);

const counted = ['connected', 'refused', 'disconnected', 'message', 'will', 'copy', 'matched', 'unmatched', 'done', 'failed', 'erroraction', 'mail'];
let totals = null;

function receive(batch) {
  // In a storm, of which there are four batches a second, no more is drawn than at
  // a hundred events a second. All are counted.
  if (batch.missed && !batch.fresh) batch.events = batch.events.slice(-25);
  const size = lanes.receive(batch);
  $('waiting').hidden = size > 0;
  if ($('waiting').hasAttribute('data-loading')) {
    $('waiting').removeAttribute('data-loading');
    $('waiting').replaceChildren($('nothing-yet').content.cloneNode(true));
  }
  for (const f of figures) {
    const n = batch.totals[f.dataset.figure];
    const text = n.toLocaleString('en');
    if (f.textContent !== text) f.textContent = text;
    f.parentElement.toggleAttribute('data-some', n > 0);
  }
  pulse();
  if (batch.fresh || !totals) {
    bars.forEach((b) => Object.assign(b, { other: 0, wills: 0 }));
    for (const e of batch.events) {
      const bar = bars[bars.length - 1 - (second - Math.floor(e.t / 1000))];
      if (bar && e.kind !== 'stack') bar[e.kind === 'will' ? 'wills' : 'other']++;
    }
  } else {
    const last = bars[bars.length - 1];
    for (const k of counted) last[k === 'will' ? 'wills' : 'other'] += batch.totals[k] - totals[k];
    weather(batch);
  }
  totals = batch.totals;
  // A stack that changes may bring other topics, addresses and problems.
  if (batch.missed || batch.events.some((e) => e.kind === 'stack' && e.detail.startsWith(e.name + ' '))) due ||= setTimeout(renew, 500);
  drawSoon();
}

let due = 0;
async function renew() {
  try {
    const page = await fetchPage('/_lwt/');
    know(page.getElementById('lanes'));
    for (const id of ['addresses', 'problems']) {
      const part = page.getElementById(id);
      if (part && part.outerHTML !== $(id).outerHTML) $(id).replaceWith(document.adoptNode(part));
    }
  } catch {
    // The stream tells of a lost connection.
  }
  due = 0;
}

// weather tells of a storm: more than what is drawn one by one.
let storm = null, calm = null;
function weather(batch) {
  if (!calm || batch.now - calm.last > 1000) calm = { totals, begun: batch.now };
  calm.last = batch.now;
  const drawn = batch.events.filter((e) => e.kind !== 'stack').length;
  const happened = counted.reduce((n, k) => n + batch.totals[k] - totals[k], 0);
  if (happened > drawn) {
    if (!storm || batch.now - storm.last > 5000) storm = { from: calm.totals, begun: calm.begun };
    storm.last = batch.now;
    storm.folded = (storm.folded ?? 0) + happened - drawn;
  }
  if (!storm || batch.now - storm.last > 5000) return;
  const since = (k) => (batch.totals[k] - storm.from[k]).toLocaleString('en');
  $('storm').hidden = false;
  $('storm').replaceChildren(
    h('h2', {}, `A storm: ${since('will')} Will Messages in ${span(Math.max(1000, storm.last - storm.begun))}`),
    h('p', {}, `${since('disconnected')} connections ended, the rule matched ${since('matched')} times and not ${since('unmatched')} times, ${since('copy')} copies, ${since('mail')} e-mails, ${since('failed')} failed actions. `
      + `All that came are counted; ${storm.folded.toLocaleString('en')} of the events are not drawn one by one.`));
}

const know = (lanes) => knowConnectedTopics(lanes.dataset.connected.split('\n').filter(Boolean));
know($('lanes'));
new Stream(receive);
