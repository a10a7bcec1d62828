// What is known of each device: its events in their order, and its state.

const maxGone = 10_000; // as the server keeps

export class Devices {
  constructor() {
    this.clear();
  }

  clear() {
    Object.assign(this, { all: new Map(), known: new Set(), first: 0 });
  }

  device(name) {
    let device = this.all.get(name);
    if (!device) this.all.set(name, device = { name, events: [], state: null, own: false, touched: 0 });
    return device;
  }

  // take adds what a batch says and returns the events that are new.
  take({ fresh, first, clients = [], events }) {
    if (fresh) this.clear();
    for (const c of clients) {
      const device = this.device(c.client);
      device.state = c;
      device.own = !!c.own;
      device.touched = Math.max(device.touched, c.since);
    }
    // That a client came or went is known without its lifecycle event, too.
    const fits = (e) => e.kind !== 'stack' && !(e.kind === 'message' && e.topic.startsWith('$aws/events/')) && !this.known.has(e.n);
    const added = events.filter(fits);
    for (const e of added) {
      this.known.add(e.n);
      const device = this.device(e.client ?? ''), { events } = device;
      let at = events.length;
      while (at > 0 && events[at - 1].n > e.n) at--;
      events.splice(at, 0, e);
      device.own = !!e.own;
      device.touched = Math.max(device.touched, e.t);
    }
    if (first > this.first + 1000) this.forget(first);
    return added;
  }

  // forget drops what the server cannot be asked for any more.
  forget(first) {
    this.first = first;
    for (const n of this.known) if (n < first) this.known.delete(n);
    const bare = [];
    for (const device of this.all.values()) {
      const kept = device.events.findIndex((e) => e.n >= first);
      device.events.splice(0, kept < 0 ? device.events.length : kept);
      if (!device.events.length && device.state?.state !== 'connected') bare.push(device);
    }
    bare.filter((d) => !d.state).forEach((d) => this.all.delete(d.name));
    bare.filter((d) => d.state).slice(0, -maxGone).forEach((d) => this.all.delete(d.name));
  }
}
