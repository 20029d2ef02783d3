/** What the client has seen of each order. */

/** The finished orders that are remembered, so that late messages about them are recognised. */
const MAX_FINISHED_ORDERS = 1000;

export class OrderBook {
  /** Order id → `{ lastSequence, isMuted }`. */
  #open = new Map();
  /** Order id → last sequence, oldest first. */
  #finished = new Map();

  follow(orderId, lastSequence) {
    this.#finished.delete(orderId);
    this.#open.set(orderId, { lastSequence, isMuted: false });
  }

  mute(orderId) {
    this.#open.set(orderId, { lastSequence: this.lastSequence(orderId), isMuted: true });
  }

  forget(orderId) {
    this.#open.delete(orderId);
  }

  lastSequence(orderId) {
    return this.#open.get(orderId)?.lastSequence ?? this.#finished.get(orderId) ?? 0;
  }

  muted() {
    return [...this.#open].filter(([, order]) => order.isMuted).map(([orderId]) => orderId);
  }

  unfinished() {
    return [...this.#open].filter(([, order]) => !order.isMuted).map(([orderId]) => orderId);
  }

  /**
   * Returns the update with the changes that are new, `null` if none is, or `'gap'` if changes are missing
   * before them.
   */
  apply(message) {
    const orderId = message.order_id;
    const lastSequence = this.lastSequence(orderId);
    if (this.#open.get(orderId)?.isMuted || message.sequence <= lastSequence) {
      return null;
    }
    const changes = message.changes.filter((change) => change.sequence > lastSequence);
    if (changes[0]?.sequence !== lastSequence + 1) {
      return 'gap';
    }
    if (message.is_final) {
      this.#finish(orderId, message.sequence);
    } else {
      this.#open.set(orderId, { lastSequence: message.sequence, isMuted: false });
    }
    return { ...message, changes };
  }

  #finish(orderId, sequence) {
    this.#open.delete(orderId);
    this.#finished.delete(orderId);
    this.#finished.set(orderId, sequence);
    if (this.#finished.size > MAX_FINISHED_ORDERS) {
      this.#finished.delete(this.#finished.keys().next().value);
    }
  }
}
