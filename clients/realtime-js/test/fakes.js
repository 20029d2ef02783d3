/** A WebSocket and a clock that the test controls. */

export class FakeSocket extends EventTarget {
  static all = [];
  sent = [];
  isClosed = false;

  constructor(url) {
    super();
    this.url = url;
    FakeSocket.all.push(this);
  }

  static last() {
    return FakeSocket.all.at(-1);
  }

  send(text) {
    this.sent.push(JSON.parse(text));
  }

  close() {
    this.isClosed = true;
  }

  /** The server accepts the connection. */
  open() {
    this.dispatchEvent(new Event('open'));
  }

  /** The server sends a message. */
  receive(message) {
    const event = new Event('message');
    event.data = JSON.stringify(message);
    this.dispatchEvent(event);
  }

  /** The connection ends. */
  drop() {
    this.dispatchEvent(new Event('close'));
  }
}

export class FakeTimers {
  #timers = new Map();
  #next = 1;

  setTimeout = (callback, delay) => {
    this.#timers.set(this.#next, { callback, delay });
    return this.#next++;
  };

  clearTimeout = (timer) => {
    this.#timers.delete(timer);
  };

  delays() {
    return [...this.#timers.values()].map(({ delay }) => delay);
  }

  /** Runs the timer with this delay. */
  run(delay) {
    const [id, { callback }] = [...this.#timers].find(([, timer]) => timer.delay === delay);
    this.#timers.delete(id);
    callback();
  }
}

/** Lets promises that are settled run their reactions. */
export const settled = () => new Promise((resolve) => setImmediate(resolve));

/** An update as status-push sends it, with the changes from `first` to `last`. */
export function update(orderId, first, last, isFinal = false) {
  const changes = [];
  for (let sequence = first; sequence <= last; sequence += 1) {
    changes.push({ sequence, at: '2026-11-29T00:00:00Z', status: 'processing' });
  }
  return {
    type: 'ORDER_STATUS_UPDATE', order_id: orderId, sequence: last, status: 'processing', is_final: isFinal,
    action_required: false, changes,
  };
}
