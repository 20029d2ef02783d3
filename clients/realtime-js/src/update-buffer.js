/** The updates that the application has not taken yet: at most one for each order, and a bounded number. */

export class UpdateBuffer {
  #capacity;
  #onRoom;
  /** Order id → update, in the order in which the orders changed first. */
  #pending = new Map();
  /** Order id → the sequence before the first change that was dropped. */
  #dropped = new Map();
  #wake = null;
  #ended = false;

  /** `onRoom` is called when updates were dropped and the buffer is empty again. */
  constructor(capacity, onRoom) {
    this.#capacity = capacity;
    this.#onRoom = onRoom;
  }

  add(update) {
    const orderId = update.order_id;
    const earlier = this.#pending.get(orderId);
    if (this.#dropped.has(orderId)) {
      return;
    }
    if (earlier === undefined && this.#pending.size >= this.#capacity) {
      this.#dropped.set(orderId, update.changes[0].sequence - 1);
      return;
    }
    const changes = earlier === undefined ? update.changes : [...earlier.changes, ...update.changes];
    this.#pending.set(orderId, { ...update, changes });
    this.#wake?.();
  }

  remove(orderId) {
    this.#pending.delete(orderId);
    this.#dropped.delete(orderId);
  }

  /** The sequence from which the order has to be read again, if its updates were dropped. */
  dropped(orderId) {
    return this.#dropped.get(orderId);
  }

  takeDropped() {
    const dropped = [...this.#dropped];
    this.#dropped.clear();
    return dropped;
  }

  end() {
    this.#ended = true;
    this.#wake?.();
  }

  async *iterate() {
    for (;;) {
      const next = this.#pending.entries().next();
      if (!next.done) {
        const [orderId, update] = next.value;
        this.#pending.delete(orderId);
        yield update;
        continue;
      }
      if (this.#ended) {
        return;
      }
      const wake = new Promise((resolve) => {
        this.#wake = resolve;
      });
      if (this.#dropped.size > 0) {
        this.#onRoom();
      }
      await wake;
    }
  }
}
