/**
 * Follows orders and stock levels over the WebSocket API of Matsuri: connects with one-time tickets,
 * reconnects, resumes, and hands each change of an order to the application once and in order. docs/asyncapi.yaml describes the
 * messages, index.d.ts the types.
 */

import { OrderBook } from './order-book.js';
import { StockBook } from './stock-book.js';
import { UpdateBuffer } from './update-buffer.js';

/** The largest number of orders, and of products, in a message. */
const MAX_ENTRIES_PER_MESSAGE = 20;

const DEFAULTS = {
  heartbeatMs: 30_000,
  responseTimeoutMs: 10_000,
  minReconnectMs: 500,
  maxReconnectMs: 30_000,
  maxBufferedOrders: 100,
};

/** Throw it in `getTicket` when the user is signed out: the client stops instead of asking again. */
export class SignedOutError extends Error {
  name = 'SignedOutError';
}

/** Splits ids into as many lists as messages are needed. */
function chunks(ids) {
  const count = Math.ceil(ids.length / MAX_ENTRIES_PER_MESSAGE);
  return Array.from({ length: count }, (_, index) =>
    ids.slice(index * MAX_ENTRIES_PER_MESSAGE, (index + 1) * MAX_ENTRIES_PER_MESSAGE),
  );
}

export class RealtimeClient {
  #options;
  #orders = new OrderBook();
  #stock = new StockBook();
  #buffer;
  #state = 'stopped';
  #socket = null;
  #failedAttempts = 0;
  #reconnectTimer = null;
  #heartbeatTimer = null;
  #responseTimer = null;

  constructor(options) {
    this.#options = {
      WebSocket: globalThis.WebSocket,
      random: Math.random,
      setTimeout: (callback, delay) => globalThis.setTimeout(callback, delay),
      clearTimeout: (timer) => globalThis.clearTimeout(timer),
      onStateChange: () => {},
      onError: () => {},
      ...DEFAULTS,
      ...options,
    };
    this.#buffer = new UpdateBuffer(this.#options.maxBufferedOrders, () => this.#readDropped());
  }

  /** `stopped`, `connecting`, `open` or `waiting` (for the next attempt). */
  get state() {
    return this.#state;
  }

  /** Connects, and stays connected until `stop`. */
  start() {
    if (this.#state === 'stopped') {
      void this.#connect();
    }
  }

  /** Closes the connection and ends `updates`. */
  stop() {
    this.#clearTimers();
    const socket = this.#socket;
    this.#socket = null;
    this.#setState('stopped');
    socket?.close();
    this.#buffer.end();
  }

  /** Follows an order. The server first sends what happened after `lastSequence`. */
  follow(orderId, lastSequence = 0) {
    this.#orders.follow(orderId, lastSequence);
    if (this.#state === 'open') {
      this.#subscribe([orderId]);
    }
  }

  /** Ends the updates of an order on this connection. */
  unfollow(orderId) {
    this.#orders.mute(orderId);
    this.#buffer.remove(orderId);
    if (this.#state === 'open') {
      this.#send({ action: 'unsubscribe', orders: [orderId] });
    }
  }

  /**
   * Watches the stock of a product. `onLevel` gets the present level, if it has changed in the last day, and
   * each newer one; a level that changes often is sent a few times per second.
   */
  watchStock(productId, onLevel) {
    this.#stock.watch(productId, onLevel);
    if (this.#state === 'open') {
      this.#subscribeToStock([productId]);
    }
  }

  /** Ends the watching of a product. */
  unwatchStock(productId) {
    this.#stock.unwatch(productId);
    if (this.#state === 'open') {
      this.#send({ action: 'unsubscribe', products: [productId] });
    }
  }

  /**
   * The updates of orders, as an async iterator. While the application is busy, updates of the same order become one
   * with all its changes, so that the buffer has at most one update for each order.
   */
  updates() {
    return this.#buffer.iterate();
  }

  async #connect() {
    this.#setState('connecting');
    let ticket;
    try {
      // Each attempt needs a new ticket: it is valid once, for 30 seconds.
      ticket = await this.#options.getTicket();
    } catch (error) {
      this.#options.onError(error);
      if (error instanceof SignedOutError) {
        this.stop();
      } else if (this.#state === 'connecting') {
        this.#reconnectLater();
      }
      return;
    }
    if (this.#state !== 'connecting') {
      return;
    }
    const url = new URL(ticket.url);
    url.searchParams.set('ticket', ticket.ticket);
    const socket = new this.#options.WebSocket(url.href);
    this.#socket = socket;
    this.#awaitResponse(socket);
    const ifPresent = (handler) => (event) => {
      // Events of an earlier connection arrive late.
      if (this.#socket === socket) {
        handler(event);
      }
    };
    socket.addEventListener('open', ifPresent(() => this.#opened()));
    socket.addEventListener('message', ifPresent((event) => this.#received(event.data)));
    socket.addEventListener('close', ifPresent(() => this.#lost()));
    socket.addEventListener('error', () => {}); // `close` follows
  }

  #opened() {
    this.#setState('open');
    this.#heartbeat();
  }

  /** Asks for the present state of all orders that are not finished. The responses show that the server lives. */
  #heartbeat() {
    this.#options.clearTimeout(this.#heartbeatTimer);
    for (const orders of chunks(this.#orders.muted())) {
      this.#send({ action: 'unsubscribe', orders });
    }
    const unfinished = this.#orders.unfinished();
    const products = this.#stock.watched();
    this.#subscribe(unfinished);
    this.#subscribeToStock(products);
    if (unfinished.length + products.length === 0) {
      this.#send({ action: 'ping' });
    }
    this.#awaitResponse(this.#socket);
    this.#heartbeatTimer = this.#options.setTimeout(() => this.#heartbeat(), this.#options.heartbeatMs);
  }

  #awaitResponse(socket) {
    this.#options.clearTimeout(this.#responseTimer);
    this.#responseTimer = this.#options.setTimeout(() => {
      if (this.#socket === socket) {
        this.#lost();
        socket.close();
      }
    }, this.#options.responseTimeoutMs);
  }

  #subscribe(orderIds) {
    for (const ids of chunks(orderIds)) {
      const orders = ids.map((orderId) => ({
        order_id: orderId,
        last_sequence: this.#buffer.dropped(orderId) ?? this.#orders.lastSequence(orderId),
      }));
      this.#send({ action: 'subscribe', orders });
    }
  }

  #subscribeToStock(productIds) {
    for (const ids of chunks(productIds)) {
      const products = ids.map((productId) => ({
        product_id: productId,
        last_version: this.#stock.lastVersion(productId),
      }));
      this.#send({ action: 'subscribe', products });
    }
  }

  #send(message) {
    this.#socket.send(JSON.stringify(message));
  }

  #received(data) {
    this.#options.clearTimeout(this.#responseTimer);
    let message;
    try {
      message = JSON.parse(data);
    } catch (error) {
      this.#options.onError(error);
      return;
    }
    if (message.type === undefined) {
      this.#gatewayFailed(message);
      return;
    }
    this.#failedAttempts = 0;
    switch (message.type) {
      case 'ORDER_STATUS_UPDATE':
        this.#updated(message);
        break;
      case 'STOCK_UPDATE':
        this.#stock.apply(message);
        break;
      case 'SUBSCRIBED':
        for (const orderId of message.not_found) {
          this.#orders.forget(orderId);
          this.#options.onError(new Error(`the order ${orderId} does not exist`));
        }
        break;
      case 'ERROR':
        this.#options.onError(new Error(`${message.code}: ${message.detail}`));
        break;
      default: // PONG, UNSUBSCRIBED, and the types of later versions
    }
  }

  /** API Gateway could not pass on a message, and does not say which one: the heartbeat sends all of them again. */
  #gatewayFailed({ message }) {
    this.#options.onError(new Error(`API Gateway could not process a message: ${message}`));
    this.#options.clearTimeout(this.#heartbeatTimer);
    this.#heartbeatTimer = this.#options.setTimeout(() => this.#heartbeat(), this.#nextPause());
  }

  #updated(message) {
    const update = this.#orders.apply(message);
    if (update === 'gap') {
      this.#subscribe([message.order_id]);
    } else if (update !== null) {
      this.#buffer.add(update);
    }
  }

  /** The buffer was full and has room again: the server sends again what was dropped. */
  #readDropped() {
    const orderIds = this.#buffer.takeDropped();
    for (const [orderId, lastSequence] of orderIds) {
      this.#orders.follow(orderId, lastSequence);
    }
    if (this.#state === 'open') {
      this.#subscribe(orderIds.map(([orderId]) => orderId));
    }
  }

  #lost() {
    this.#clearTimers();
    this.#socket = null;
    this.#reconnectLater();
  }

  #reconnectLater() {
    this.#setState('waiting');
    this.#reconnectTimer = this.#options.setTimeout(() => void this.#connect(), this.#nextPause());
  }

  /** A random part of a time that doubles with each failure (full jitter). */
  #nextPause() {
    const { minReconnectMs, maxReconnectMs, random } = this.#options;
    const limit = Math.min(maxReconnectMs, minReconnectMs * 2 ** this.#failedAttempts);
    this.#failedAttempts += 1;
    return random() * limit;
  }

  #clearTimers() {
    for (const timer of [this.#reconnectTimer, this.#heartbeatTimer, this.#responseTimer]) {
      this.#options.clearTimeout(timer);
    }
  }

  #setState(state) {
    if (this.#state !== state) {
      this.#state = state;
      this.#options.onStateChange(state);
    }
  }
}
