import { $, h, Stream } from './page.js';

// New mail is offered, not pushed in under what somebody reads; an empty or
// unread list shows it at once.
let arrived = 0;
new Stream((batch) => {
  arrived += batch.events.filter((e) => e.kind === 'mail').length;
  if (!arrived && !batch.fresh) return;
  if (!document.querySelector('.reading')) return location.reload();
  if (!arrived) return;
  $('new-mail').hidden = false;
  $('new-mail').replaceChildren(arrived === 1 ? 'One new mail. ' : `${arrived} new mails. `, h('a', { href: '/_lwt/mailbox' }, 'Show'));
}, { after: document.body.dataset.at });
