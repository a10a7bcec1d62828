import { $, Stream, fetchPage } from './page.js';

// The stack is rendered by the server; it is fetched anew while a deployment goes on.
let due = 0;
async function refresh() {
  due = 0;
  try {
    const open = [...document.querySelectorAll('details')].map((d) => d.open);
    const main = (await fetchPage(location.href)).getElementById('main');
    document.getElementById('main').replaceChildren(...document.adoptNode(main).childNodes);
    document.querySelectorAll('details').forEach((d, i) => { d.open = open[i] ?? false; });
  } catch {
    due = setTimeout(refresh, 2000);
  }
}
// Of what changes without a deployment, such as a confirmed address, nobody tells.
document.addEventListener('visibilitychange', () => { if (!document.hidden) due ||= setTimeout(refresh, 0); });
new Stream((batch) => {
  if (batch.fresh || batch.missed || batch.events.some((e) => e.kind === 'stack')) due ||= setTimeout(refresh, 250);
}, { after: document.body.dataset.at });
