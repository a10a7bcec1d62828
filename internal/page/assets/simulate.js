import { $, h, ask, span, pretty, Stream } from './page.js';
import { Lanes } from './lanes.js';

// How a device can end, by the names that the commands have for it.
const ways = [
  ['drop', 'The process dies: the socket closes without DISCONNECT. The Will Message is published at once.'],
  ['reset', 'TCP reset, as from a router that forgot the connection.'],
  ['freeze', 'Power loss: the socket stays open and silent. The broker gives up after 1.5 times the keep alive.'],
  ['takeover', 'A second connection uses the same client ID. The broker ends the first and publishes its Will Message.'],
  ['kill', 'The broker ends the connection, as DeleteConnection of AWS IoT does, and publishes the Will Message.'],
  ['disconnect', 'DISCONNECT: the broker discards the Will Message. No alert.'],
];
const tones = { connected: 'alive', silent: 'quiet', lost: 'lost', left: 'plain' };

if ($('start')) {
  const started = new Set();
  const lanes = new Lanes($('lanes'), { only: (client) => started.has(client) });

  lanes.summed = ({ fit }) => { $('waiting').hidden = fit > 0; };

  async function list() {
    const devices = await ask('devices');
    const news = devices.filter((d) => !started.has(d.client));
    news.forEach((d) => started.add(d.client));
    if (news.length) lanes.draw(); // with those that were started elsewhere
    $('no-devices').hidden = devices.length > 0;
    // What has not changed stays, so that the focus does.
    const shown = new Map([...$('devices').children].map((el) => [el.dataset.key, el]));
    $('devices').replaceChildren(...devices.map((d) => shown.get(key(d)) ?? card(d)));
    $('devices').querySelectorAll('time').forEach((t) => { t.textContent = span(Math.max(1000, Date.now() - Number(t.dataset.t))); });
  }

  const key = (d) => `${d.client} ${d.state} ${d.since}`;

  function card(d) {
    const fault = h('p', { class: 'fault', role: 'alert' });
    const act = (way) => async () => {
      fault.textContent = '';
      try {
        await ask('devices/' + way, { client: d.client });
        new Stream((batch) => lanes.receive(batch), { whole: true });
  await list();
        $('devices').querySelector(`[data-client="${CSS.escape(d.client)}"] button`)?.focus({ preventScroll: true });
      } catch (err) {
        fault.textContent = err.message;
      }
    };
    const choices = d.state === 'connected' ? ways
      : d.state === 'silent' ? ways.filter(([way]) => way === 'drop' || way === 'reset')
        : [['reconnect', 'The same device connects again.']];
    return h('article', { class: 'card device', 'data-client': d.client, 'data-key': key(d), 'data-state': d.state },
      h('h3', {}, d.client, h('span', { class: 'status', 'data-tone': tones[d.state] }, d.state)),
      h('p', { class: 'sub' }, d.detail ? d.detail + ', ' : '', 'for ', h('time', { 'data-t': d.since })),
      h('div', { class: 'ways' }, ...choices.map(([way, what]) => h('button', { 'data-way': way, onclick: act(way) }, way, h('small', {}, what)))), fault);
  }

  function choose() {
    const thing = $('thing').selectedOptions[0];
    $('will-payload').value = pretty(thing.dataset.will);
    $('missing').textContent = thing.dataset.missing;
    $('start').querySelector('.main').disabled = !!thing.dataset.missing;
  }
  $('thing').addEventListener('change', choose);
  choose();

  $('start').addEventListener('submit', async (e) => {
    e.preventDefault();
    $('start-error').textContent = '';
    // On the wire the Will Message has no white space, as a device writes it.
    let payload = $('will-payload').value;
    try {
      payload = JSON.stringify(JSON.parse(payload));
    } catch { /* it goes out as it is */ }
    started.add($('thing').value);
    try {
      await ask('devices', { thing: $('thing').value, keepAlive: Number($('keep-alive').value), willPayload: payload });
    } catch (err) {
      $('start-error').textContent = err.message;
    }
    list();
  });

  new Stream((batch) => lanes.receive(batch), { whole: true });
  await list();
  setInterval(() => list().catch(() => {}), 1000);
} else { // until a deployment makes a thing
  new Stream((batch) => {
    if (batch.missed || batch.events.some((e) => e.kind === 'stack' && e.detail.endsWith('_COMPLETE'))) location.reload();
  }, { after: document.body.dataset.at });
}
