import { $, h, ask, pretty, ready, marked, because } from './page.js';
import { marksOf } from './lanes.js';

const fields = ['sql', 'version', 'topic', 'payload', 'client'];
const given = JSON.parse(sessionStorage.getItem('try') ?? 'null');
if (given) {
  sessionStorage.removeItem('try');
  for (const f of fields) if (given[f]) $(f).value = f === 'payload' ? pretty(given[f]) : given[f];
}

let asked = 0;
async function evaluate() {
  const turn = ++asked;
  const input = Object.fromEntries(fields.map((f) => [f, $(f).value]));
  let answer;
  try {
    answer = await ask('try', input);
  } catch (err) {
    if (turn !== asked) return;
    $('sql-marks').replaceChildren(input.sql, '\n');
    show('lost', 'No result', h('p', { class: 'fault' }, err.message));
    return;
  }
  if (turn === asked) render(answer, input);
}

function show(tone, title, ...parts) {
  $('verdict').dataset.tone = tone;
  $('verdict').replaceChildren(h('h2', {}, title), ...parts);
}

function render({ fault, warnings, verdict: v, output }, input) {
  const marks = fault ? [{ ...fault, tone: 'lost' }] : [...warnings.map((w) => ({ ...w, tone: 'quiet' })), ...marksOf(v)];
  $('sql-marks').replaceChildren(...marked(input.sql, marks), '\n');
  $('sql-marks').scrollTop = $('sql').scrollTop;
  $('sql').setAttribute('aria-invalid', !!fault);
  const section = (title, ...content) => h('section', {}, h('h3', {}, title), ...content);
  const notes = warnings.length ? section('Warnings', h('ul', { class: 'because' }, ...warnings.map((w) => h('li', { 'data-tone': 'quiet' }, w.text)))) : null;
  if (fault) return show('lost', 'The statement is not valid', h('p', { class: 'fault' }, fault.text), h('pre', { class: 'sql', tabindex: '0' }, ...marked(input.sql, marks)));
  if (v.error) return show('lost', 'The statement cannot be evaluated', h('p', { class: 'fault' }, v.error), notes ?? '');
  if (!v.fired) {
    return show('quiet', 'The rule does not match', v.topic ? h('p', {}, v.topic) : '',
      v.against.length ? section('Conditions that are not true', because(v.against, 'lost')) : '', notes ?? '');
  }
  show('alive', 'The rule matches', v.for.length ? section('Conditions that are true', because(v.for, 'alive')) : h('p', { class: 'sub' }, 'Without WHERE, every message on the topic matches.'),
    section('Payload of the actions', h('pre', { tabindex: '0' }, output ? pretty(output) : '(nothing)')), notes ?? '');
}

let due = 0;
for (const f of fields) {
  $(f).addEventListener('input', () => { clearTimeout(due); due = setTimeout(evaluate, 40); });
}
$('sql').addEventListener('input', () => $('sql-marks').replaceChildren($('sql').value, '\n'));
$('sql').addEventListener('scroll', () => { $('sql-marks').scrollTop = $('sql').scrollTop; });
$('try').addEventListener('submit', (e) => { e.preventDefault(); evaluate(); });
new ResizeObserver(() => { $('sql-marks').style.height = $('sql').offsetHeight + 'px'; }).observe($('sql'));
ready();
evaluate();
