import { $, h, Stream, fetchPage, span } from './page.js';
import { Lanes, knowConnectedTopics } from './lanes.js';

const lanes = new Lanes($('lanes'));
const figures = [...document.querySelectorAll('[data-figure]')];

// Two minutes as bars of a second each, as the server counts them: Will Messages
// and other events, by the second.
const width = 120;
const seconds = new Map();
const bars = Array.from({ length: width }, () => {
  const bar = h('i', {}, h('b'), h('b'));
  $('pulse').append(bar);
  return bar;
});
let skew = 0; // of this clock to the server's

let drawing = false;
function draw() {
  drawing = false;
  const last = Math.floor((Date.now() - skew) / 1000);
  for (const second of seconds.keys()) if (second <= last - width) seconds.delete(second);
  const most = Math.max(8, ...[...seconds.values()].map(([wills, others]) => wills + others));
  let allWills = 0, allOthers = 0;
  bars.forEach((bar, i) => {
    const [wills, others] = seconds.get(last - width + 1 + i) ?? [0, 0];
    allWills += wills;
    allOthers += others;
    // The square root lets one event be seen beside a thousand.
    const all = wills + others, height = all && 100 * Math.sqrt(all / most);
    bar.children[0].style.height = (all ? height * others / all : 0) + '%';
    bar.children[1].style.height = (all ? height * wills / all : 0) + '%';
  });
  $('pulse').setAttribute('aria-label', `Events in the last two minutes: ${allWills} Will Messages, ${allOthers} others`);
}
const drawSoon = () => { if (!drawing) { drawing = true; setTimeout(() => requestAnimationFrame(draw), 200); } };
setInterval(drawSoon, 1000);

let totals = null;

function receive(batch) {
  lanes.receive(batch);
  if (batch.fill) return;
  skew = Date.now() - batch.now;
  for (const f of figures) {
    const n = batch.totals[f.dataset.figure];
    const text = n.toLocaleString('en');
    if (f.textContent !== text) f.textContent = text;
    f.parentElement.toggleAttribute('data-some', n > 0);
  }
  if (batch.fresh) seconds.clear();
  for (const [second, wills, others] of batch.seconds ?? []) seconds.set(second, [wills, others]);
  if (!batch.fresh && totals) weather(batch);
  totals = batch.totals;
  // A stack that changes may bring other topics, addresses and problems.
  if (batch.missed || batch.events.some((e) => e.kind === 'stack' && e.detail.startsWith(e.name + ' '))) due ||= setTimeout(renew, 500);
  drawSoon();
}

// The counts beside the search, and what stands where no lane does.
lanes.summed = ({ devices, lost, own, fit, drawn }) => {
  const n = (count) => count.toLocaleString('en');
  if ($('waiting').hasAttribute('data-loading')) {
    $('waiting').removeAttribute('data-loading');
    $('waiting').replaceChildren($('nothing-yet').content.cloneNode(true));
  }
  const nothing = devices === 0 && fit === 0;
  $('waiting').hidden = !nothing;
  $('no-match').hidden = nothing || fit > 0;
  $('devices-count').textContent = devices === 1 ? '1 device' : n(devices) + ' devices';
  $('lost-count').textContent = n(lost);
  $('own-count').textContent = n(own);
  $('own-label').hidden = own === 0;
  $('older').hidden = fit <= drawn;
  $('older').textContent = `Show older devices: ${n(fit - drawn)} more`;
};

const search = () => lanes.search({ text: $('search').value, lost: $('lost').checked, own: $('own').checked });
for (const id of ['search', 'lost', 'own']) $(id).addEventListener('input', search);
$('find').addEventListener('submit', (e) => e.preventDefault());
$('show-all').addEventListener('click', () => {
  $('find').reset();
  search();
  $('search').focus();
});
$('older').addEventListener('click', () => {
  const last = [...document.querySelectorAll('.lane')].at(-1);
  lanes.older();
  // The focus goes where the reading goes on.
  const next = last?.nextElementSibling?.querySelector('button:not([hidden])') ?? $('lanes');
  next.focus({ preventScroll: true });
});
search(); // a browser keeps what was typed when a page is loaded again

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

// weather says that there is a storm: more events at once than are drawn one by one.
const counted = ['connected', 'refused', 'disconnected', 'message', 'will', 'copy', 'matched', 'unmatched', 'done', 'failed', 'erroraction', 'mail'];
const squall = 100;
let storm = null, calm = null;
function weather(batch) {
  if (!calm || batch.now - calm.last > 1000) calm = { totals, begun: batch.now };
  calm.last = batch.now;
  if (counted.reduce((n, k) => n + batch.totals[k] - totals[k], 0) > squall) {
    if (!storm || batch.now - storm.last > 5000) storm = { from: calm.totals, begun: calm.begun };
    storm.last = batch.now;
  }
  if (!storm || batch.now - storm.last > 5000) return;
  const since = (k) => (batch.totals[k] - storm.from[k]).toLocaleString('en');
  $('storm').hidden = false;
  $('storm').replaceChildren(
    h('h2', {}, `A storm: ${since('will')} Will Messages in ${span(Math.max(1000, storm.last - storm.begun))}`),
    h('p', {}, `${since('disconnected')} connections ended, the rule matched ${since('matched')} times and did not match ${since('unmatched')} times, ${since('copy')} copies, ${since('mail')} e-mails, ${since('failed')} failed actions.`));
}

const know = (lanes) => knowConnectedTopics(lanes.dataset.connected.split('\n').filter(Boolean));
know($('lanes'));
new Stream(receive, { whole: true });
