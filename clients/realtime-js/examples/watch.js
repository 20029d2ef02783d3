#!/usr/bin/env node
/**
 * Prints each change of an order until it has ended:
 *
 *   HTTP_API_URL=… ACCESS_TOKEN=… node --experimental-websocket examples/watch.js [--json] ORDER
 */

import process from 'node:process';
import { RealtimeClient, SignedOutError } from '../src/index.js';

const { HTTP_API_URL, ACCESS_TOKEN } = process.env;
const args = process.argv.slice(2);
const isJson = args[0] === '--json';
const orderId = args.at(-1);

if (!HTTP_API_URL || !ACCESS_TOKEN || args.length !== (isJson ? 2 : 1)) {
  console.error('usage: HTTP_API_URL=… ACCESS_TOKEN=… watch.js [--json] ORDER');
  process.exit(2);
}

async function getTicket() {
  const response = await fetch(`${HTTP_API_URL}/v1/realtime/ticket`, {
    method: 'POST',
    headers: { authorization: `Bearer ${ACCESS_TOKEN}` },
  });
  if (response.status === 401) {
    throw new SignedOutError('the access token is not valid');
  }
  if (!response.ok) {
    throw new Error(`the request for a ticket failed with ${response.status}`);
  }
  return response.json();
}

function describe(update, change) {
  const what = change.status ?? `payment ${change.payment.replaceAll('_', ' ')}`;
  const reason = change.status === 'failed' && update.reason ? ` (${update.reason})` : '';
  return `${change.at}  ${change.sequence}  ${what}${reason}`;
}

let failure = null;
const client = new RealtimeClient({
  getTicket,
  onError: (error) => {
    console.error(error.message);
    failure = error;
    if (error.message.endsWith('does not exist')) {
      client.stop();
    }
  },
});
client.follow(orderId);
client.start();
for await (const update of client.updates()) {
  if (update.order_id !== orderId) {
    continue;
  }
  failure = null;
  for (const change of update.changes) {
    console.log(isJson ? JSON.stringify({ ...change, order_id: orderId }) : describe(update, change));
  }
  if (update.is_final) {
    client.stop();
  }
}
process.exit(failure === null ? 0 : 1);
