/** A ticket as `POST /v1/realtime/ticket` returns it. */
export interface Ticket {
  ticket: string;
  url: string;
}

export type OrderStatus = 'pending' | 'processing' | 'completed' | 'failed' | 'cancelled';

export type PaymentStep =
  | 'action_required'
  | 'action_completed'
  | 'cancellation_requested'
  | 'captured'
  | 'refunded';

export type FailureReason =
  | 'insufficient_stock'
  | 'payment_declined'
  | 'authentication_timeout'
  | 'internal_error';

/** A change of an order: of its status, or of its payment within a status. */
export type OrderChange =
  | { sequence: number; at: string; status: OrderStatus }
  | { sequence: number; at: string; payment: PaymentStep };

/** The state of an order after its newest change, and the changes that the application has not seen yet. */
export interface OrderUpdate {
  type: 'ORDER_STATUS_UPDATE';
  order_id: string;
  sequence: number;
  status: OrderStatus;
  is_final: boolean;
  /** Whether the customer must act before the payment is charged. `GET /v1/orders/{id}` says how. */
  action_required: boolean;
  reason?: FailureReason;
  /** Oldest first, each exactly once. */
  changes: OrderChange[];
}

/** The level of a product. */
export interface StockLevel {
  product_id: string;
  /** Units that can be ordered. */
  available: number;
  /** Rises with each change of the level. */
  version: number;
}

export type ClientState = 'stopped' | 'connecting' | 'open' | 'waiting';

export interface RealtimeOptions {
  /** Asks for a ticket with the user's access token. The client calls it for each connection. */
  getTicket: () => Promise<Ticket>;
  onStateChange?: (state: ClientState) => void;
  /** A failed ticket, a refused or failed message, an order that does not exist. The client goes on. */
  onError?: (error: unknown) => void;
  /** The time between two heartbeats; default 30,000. The server closes a client that is silent for 120 s. */
  heartbeatMs?: number;
  /** How long the client waits for a response before it reconnects; default 10,000. */
  responseTimeoutMs?: number;
  minReconnectMs?: number;
  maxReconnectMs?: number;
  /** The number of orders with updates that the application has not taken; default 100. */
  maxBufferedOrders?: number;
  /** For runtimes without a global `WebSocket`, and for tests. */
  WebSocket?: unknown;
  random?: () => number;
  setTimeout?: (callback: () => void, delay: number) => unknown;
  clearTimeout?: (timer: unknown) => void;
}

/** Throw it in `getTicket` when the user is signed out: the client stops instead of asking again. */
export class SignedOutError extends Error {}

export class RealtimeClient {
  constructor(options: RealtimeOptions);
  readonly state: ClientState;
  /** Connects, and stays connected until `stop`. */
  start(): void;
  /** Closes the connection and ends `updates`. */
  stop(): void;
  /** Follows an order. The server first sends what happened after `lastSequence`. */
  follow(orderId: string, lastSequence?: number): void;
  /** Ends the updates of an order on this connection. */
  unfollow(orderId: string): void;
  /**
   * Watches the stock of a product. `onLevel` gets the present level, if it has changed in the last day, and
   * each newer one; a level that changes often is sent a few times per second. A connection can watch 50
   * products.
   */
  watchStock(productId: string, onLevel: (level: StockLevel) => void): void;
  /** Ends the watching of a product. */
  unwatchStock(productId: string): void;
  /** The updates of all orders of the user, except those that `unfollow` has ended. */
  updates(): AsyncGenerator<OrderUpdate, void, void>;
}
