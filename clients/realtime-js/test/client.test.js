import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';

import { RealtimeClient, SignedOutError } from '../src/index.js';
import { FakeSocket, FakeTimers, settled, update } from './fakes.js';

let timers;
let tickets;
let errors;

function newClient(options = {}) {
  return new RealtimeClient({
    getTicket: async () => ({ ticket: `ticket-${++tickets}`, url: 'wss://realtime.test/live' }),
    WebSocket: FakeSocket,
    random: () => 0.5,
    onError: (error) => errors.push(error.message),
    setTimeout: timers.setTimeout,
    clearTimeout: timers.clearTimeout,
    ...options,
  });
}

async function openClient(options) {
  const client = newClient(options);
  client.start();
  await settled();
  FakeSocket.last().open();
  return client;
}

const sequences = (found) => found.changes.map(({ sequence }) => sequence);

beforeEach(() => {
  timers = new FakeTimers();
  tickets = 0;
  errors = [];
  FakeSocket.all = [];
});

test('each connection uses a new ticket, in the query only', async () => {
  const client = newClient();
  client.start();
  await settled();
  assert.equal(FakeSocket.last().url, 'wss://realtime.test/live?ticket=ticket-1');
  FakeSocket.last().open();
  FakeSocket.last().drop();
  assert.equal(client.state, 'waiting');
  timers.run(250);
  await settled();
  assert.equal(FakeSocket.last().url, 'wss://realtime.test/live?ticket=ticket-2');
  client.stop();
  assert.deepEqual(timers.delays(), []);
});

test('late, duplicate and reordered updates are handed over once and in order', async () => {
  const client = await openClient();
  const socket = FakeSocket.last();
  const updates = client.updates();
  socket.receive(update('a', 1, 2));
  assert.deepEqual(sequences((await updates.next()).value), [1, 2]);
  for (const late of [update('a', 1, 1), update('a', 1, 2)]) {
    socket.receive(late);
  }
  socket.receive(update('a', 1, 4, true));
  socket.receive(update('a', 1, 3));
  assert.deepEqual(sequences((await updates.next()).value), [3, 4]);
  socket.receive(update('a', 1, 4, true));
  client.stop();
  assert.equal((await updates.next()).done, true);
});

test('a gap is read again', async () => {
  const client = await openClient();
  const socket = FakeSocket.last();
  const updates = client.updates();
  socket.receive(update('a', 1, 1));
  await updates.next();
  socket.receive(update('a', 3, 3));
  assert.deepEqual(socket.sent.at(-1), { action: 'subscribe', orders: [{ order_id: 'a', last_sequence: 1 }] });
  socket.receive(update('a', 2, 3));
  assert.deepEqual(sequences((await updates.next()).value), [2, 3]);
  client.stop();
});

test('after a reconnection the client resumes with the last number that it has seen', async () => {
  const client = await openClient();
  client.follow('b', 7);
  FakeSocket.last().receive(update('a', 1, 2));
  FakeSocket.last().drop();
  timers.run(250);
  await settled();
  FakeSocket.last().open();
  assert.deepEqual(FakeSocket.last().sent, [
    {
      action: 'subscribe',
      orders: [{ order_id: 'b', last_sequence: 7 }, { order_id: 'a', last_sequence: 2 }],
    },
  ]);
  client.stop();
});

test('reconnections wait for a random part of a doubling time', async () => {
  const client = newClient({ getTicket: async () => Promise.reject(new Error('503')) });
  client.start();
  const delays = [];
  for (let attempt = 0; attempt < 9; attempt += 1) {
    await settled();
    const [delay] = timers.delays();
    delays.push(delay);
    timers.run(delay);
  }
  assert.deepEqual(delays, [250, 500, 1000, 2000, 4000, 8000, 15000, 15000, 15000]);
  await settled();
  client.stop();
  assert.deepEqual(new Set(errors), new Set(['503']));
});

test('a client whose user is signed out stops', async () => {
  const client = newClient({ getTicket: async () => Promise.reject(new SignedOutError('signed out')) });
  client.start();
  await settled();
  assert.equal(client.state, 'stopped');
  assert.deepEqual(timers.delays(), []);
  assert.equal((await client.updates().next()).done, true);
});

test('the heartbeat reads unfinished orders, and a missing response leads to a reconnection', async () => {
  const client = await openClient();
  const socket = FakeSocket.last();
  assert.deepEqual(socket.sent, [{ action: 'ping' }]);
  socket.receive({ type: 'PONG', at: '2026-11-29T00:00:00Z' });
  client.follow('a');
  timers.run(30_000);
  assert.deepEqual(socket.sent.at(-1).orders, [{ order_id: 'a', last_sequence: 0 }]);
  timers.run(10_000);
  assert.equal(socket.isClosed, true);
  assert.equal(client.state, 'waiting');
  client.stop();
});

test('what API Gateway could not process is sent again after a random pause', async () => {
  const client = await openClient();
  const socket = FakeSocket.last();
  client.follow('a');
  for (const pause of [250, 500]) {
    socket.receive({ message: 'Internal server error', connectionId: 'c', requestId: 'r' });
    assert.deepEqual(timers.delays(), [pause]);
    timers.run(pause);
    assert.deepEqual(socket.sent.at(-1), { action: 'subscribe', orders: [{ order_id: 'a', last_sequence: 0 }] });
  }
  assert.deepEqual(new Set(errors), new Set(['API Gateway could not process a message: Internal server error']));
  socket.receive(update('a', 1, 1));
  assert.deepEqual(timers.delays(), [30_000]);
  socket.receive({ message: 'Internal server error' });
  assert.deepEqual(timers.delays(), [250]);
  client.stop();
});

test('orders are asked for in messages of at most twenty', async () => {
  const client = newClient();
  for (let order = 0; order < 45; order += 1) {
    client.follow(`order-${order}`);
  }
  client.start();
  await settled();
  FakeSocket.last().open();
  assert.deepEqual(FakeSocket.last().sent.map((message) => message.orders.length), [20, 20, 5]);
  client.stop();
});

test('a slow application gets one update for each order with all its changes', async () => {
  const client = await openClient();
  const socket = FakeSocket.last();
  for (let sequence = 1; sequence <= 5; sequence += 1) {
    socket.receive(update('a', 1, sequence));
  }
  assert.deepEqual(sequences((await client.updates().next()).value), [1, 2, 3, 4, 5]);
  client.stop();
});

test('what a full buffer has dropped is read again when there is room', async () => {
  const client = await openClient({ maxBufferedOrders: 2 });
  const socket = FakeSocket.last();
  for (const orderId of ['a', 'b', 'c']) {
    socket.receive(update(orderId, 1, 1));
  }
  socket.receive(update('c', 1, 3, true));
  const updates = client.updates();
  assert.deepEqual([(await updates.next()).value.order_id, (await updates.next()).value.order_id], ['a', 'b']);
  const next = updates.next();
  await settled();
  assert.deepEqual(socket.sent.at(-1), { action: 'subscribe', orders: [{ order_id: 'c', last_sequence: 0 }] });
  socket.receive(update('c', 1, 3, true));
  assert.deepEqual(sequences((await next).value), [1, 2, 3]);
  client.stop();
});

test('an order that is no longer followed is muted, also after a reconnection', async () => {
  const client = await openClient();
  client.unfollow('a');
  FakeSocket.last().receive(update('a', 1, 2));
  FakeSocket.last().drop();
  timers.run(250);
  await settled();
  FakeSocket.last().open();
  assert.deepEqual(FakeSocket.last().sent, [{ action: 'unsubscribe', orders: ['a'] }, { action: 'ping' }]);
  client.stop();
  assert.equal((await client.updates().next()).done, true);
});

test('errors of the server and orders that do not exist are reported', async () => {
  const client = await openClient();
  client.follow('x');
  FakeSocket.last().receive({ type: 'ERROR', code: 'unknown-action', detail: 'No.' });
  FakeSocket.last().receive({ type: 'SUBSCRIBED', orders: [], not_found: ['x'] });
  assert.deepEqual(errors, ['unknown-action: No.', 'the order x does not exist']);
  client.stop();
});

const level = (id, available, version) => ({ type: 'STOCK_UPDATE', product_id: id, available, version });

test('each newer level of a watched product is passed on once', async () => {
  const client = await openClient();
  const socket = FakeSocket.last();
  const levels = [];
  client.watchStock('p', ({ available, version }) => levels.push([version, available]));
  assert.deepEqual(socket.sent.at(-1), { action: 'subscribe', products: [{ product_id: 'p', last_version: 0 }] });
  for (const message of [level('p', 5, 2), level('p', 6, 1), level('p', 5, 2), level('q', 1, 9), level('p', 4, 3)]) {
    socket.receive(message);
  }
  assert.deepEqual(levels, [[2, 5], [3, 4]]);
  client.unwatchStock('p');
  assert.deepEqual(socket.sent.at(-1), { action: 'unsubscribe', products: ['p'] });
  socket.receive(level('p', 3, 4));
  assert.equal(levels.length, 2);
  client.stop();
});

test('watched products are subscribed again with each heartbeat and after a reconnection', async () => {
  const client = newClient();
  for (let number = 0; number < 25; number += 1) {
    client.watchStock(`p${number}`, () => {});
  }
  client.start();
  await settled();
  FakeSocket.last().open();
  const subscribed = () => FakeSocket.last().sent.flatMap(({ products }) => products ?? []);
  assert.deepEqual(FakeSocket.last().sent.map(({ products }) => products.length), [20, 5]);
  FakeSocket.last().receive(level('p0', 5, 7));
  timers.run(30_000);
  assert.deepEqual(subscribed()[25], { product_id: 'p0', last_version: 7 });
  FakeSocket.last().drop();
  timers.run(250);
  await settled();
  FakeSocket.last().open();
  assert.equal(subscribed().length, 25);
  assert.deepEqual(subscribed()[0], { product_id: 'p0', last_version: 7 });
  client.stop();
});
