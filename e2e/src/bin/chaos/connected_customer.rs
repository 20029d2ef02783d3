//! A customer whose client follows its orders over the WebSocket API by the rules of `clients/realtime-js`: a
//! new ticket for each connection, `subscribe` after the handshake and with each heartbeat, and a new
//! connection after a random pause. While faults are injected, the connection also ends at random.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::Result;
use chrono::TimeDelta;
use domain::{OrderId, Timestamp, UserId};
use e2e::{
    consistency,
    realtime::{OrderUpdate, OrderView},
    system::{
        TestSystem, WebSocketClient,
        asyncapi::{Direction, check_documented},
        is_gateway_error,
    },
};
use orders::{HistoryEntry, OrderChange};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use reqwest::{Method, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

// The options of the client library.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(30);
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);
const MIN_RECONNECT_PAUSE: Duration = Duration::from_millis(500);
const MAX_RECONNECT_PAUSE: Duration = Duration::from_secs(30);
const MAX_ORDERS_PER_MESSAGE: usize = 20;

/// The range from which the lifetime of a connection is drawn while faults are injected, in milliseconds.
/// Each order takes a second or more, so many orders change while their customer is not connected.
const CONNECTION_LIFETIME: std::ops::Range<u64> = 2_000..40_000;

/// How long clients may take to see the end of all orders of a quiescent system: several attempts to connect
/// and a heartbeat.
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(120);

const CATCH_UP_POLL_INTERVAL: Duration = Duration::from_millis(200);

/// All connected customers of a run, by the index in the schedule.
pub struct ConnectedCustomers {
    system: Arc<TestSystem>,
    seed: u64,
    customers: Mutex<BTreeMap<usize, ConnectedCustomer>>,
    /// Cancelled when connections are no longer ended at random.
    faults_ended: CancellationToken,
    stop: CancellationToken,
}

struct ConnectedCustomer {
    user_id: UserId,
    state: Arc<Mutex<ClientState>>,
    /// Orders to subscribe to.
    followed: mpsc::UnboundedSender<OrderId>,
    client: JoinHandle<()>,
}

/// What a client has seen, and what happened to its connections.
#[derive(Debug, Default)]
struct ClientState {
    orders: BTreeMap<OrderId, OrderView>,
    invalid_messages: Vec<(OrderId, String)>,
    /// Messages that the server must never send.
    unexpected_messages: Vec<String>,
    connections: u64,
    closed_by_gateway: u64,
    lost: u64,
    updates: u64,
    repeated_updates: u64,
    /// The longest time from an order's final status to the client.
    longest_delay: TimeDelta,
}

/// The sums over all connected customers.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ConnectionReport {
    pub customers: usize,
    /// Connections after the first one of each customer.
    pub reconnections: u64,
    /// Connections that API Gateway closed at random.
    pub closed_by_gateway: u64,
    /// Connections that the client lost at random.
    pub lost: u64,
    /// Updates, both pushes and responses to `subscribe`.
    pub updates: u64,
    /// Updates without a new change, which the clients dropped.
    pub repeated_updates: u64,
    /// The longest time from an order's final status to its customer's client.
    pub longest_delay_seconds: f64,
}

/// What the connected customers observed.
#[derive(Debug, Default)]
pub struct ConnectionResults {
    pub report: ConnectionReport,
    pub observations: Vec<consistency::ConnectedCustomer>,
    pub unexpected_messages: Vec<String>,
}

/// One client with its connections, one after another.
struct Client {
    system: Arc<TestSystem>,
    user_id: UserId,
    state: Arc<Mutex<ClientState>>,
    followed: mpsc::UnboundedReceiver<OrderId>,
    rng: StdRng,
    faults_ended: CancellationToken,
    stop: CancellationToken,
}

impl ConnectedCustomers {
    pub fn new(system: Arc<TestSystem>, seed: u64) -> Self {
        Self {
            system,
            seed,
            customers: Mutex::default(),
            faults_ended: CancellationToken::new(),
            stop: CancellationToken::new(),
        }
    }

    /// Starts the client of a customer, unless it runs.
    pub fn connect(&self, index: usize, user_id: UserId) {
        if let Entry::Vacant(entry) = lock(&self.customers).entry(index) {
            let state = Arc::new(Mutex::new(ClientState::default()));
            let (sender, followed) = mpsc::unbounded_channel();
            let client = Client {
                system: Arc::clone(&self.system),
                user_id,
                state: Arc::clone(&state),
                followed,
                rng: StdRng::seed_from_u64(self.seed.wrapping_add(index as u64)),
                faults_ended: self.faults_ended.clone(),
                stop: self.stop.clone(),
            };
            entry.insert(ConnectedCustomer {
                user_id,
                state,
                followed: sender,
                client: tokio::spawn(client.run()),
            });
        }
    }

    /// Lets the client of the customer, if it has one, follow an order.
    pub fn follow(&self, index: usize, order_id: OrderId) {
        if let Some(customer) = lock(&self.customers).get(&index) {
            lock(&customer.state).orders.entry(order_id).or_default();
            // The receiver lives until `finish`.
            _ = customer.followed.send(order_id);
        }
    }

    /// From now on, connections are no longer ended at random.
    pub fn end_faults(&self) {
        self.faults_ended.cancel();
    }

    /// Waits until every client has seen the end of its orders, or [`CATCH_UP_TIMEOUT`] has passed, and
    /// disconnects all of them. Call it when the system is quiescent.
    pub async fn finish(&self) -> Result<ConnectionResults> {
        let customers = std::mem::take(&mut *lock(&self.customers));
        let deadline = Instant::now() + CATCH_UP_TIMEOUT;
        let has_unfinished =
            |customer: &ConnectedCustomer| !lock(&customer.state).unfinished_orders().is_empty();
        while customers.values().any(has_unfinished) && Instant::now() < deadline {
            sleep(CATCH_UP_POLL_INTERVAL).await;
        }
        self.stop.cancel();
        let mut results = ConnectionResults::default();
        for customer in customers.into_values() {
            customer.client.await?;
            results.add(customer.user_id, std::mem::take(&mut *lock(&customer.state)));
        }
        Ok(results)
    }
}

impl ConnectionResults {
    fn add(&mut self, user_id: UserId, state: ClientState) {
        let report = &mut self.report;
        report.customers += 1;
        report.reconnections += state.connections.saturating_sub(1);
        report.closed_by_gateway += state.closed_by_gateway;
        report.lost += state.lost;
        report.updates += state.updates;
        report.repeated_updates += state.repeated_updates;
        report.longest_delay_seconds = report
            .longest_delay_seconds
            .max(state.longest_delay.as_seconds_f64());
        self.unexpected_messages.extend(state.unexpected_messages);
        self.observations.push(consistency::ConnectedCustomer {
            user_id,
            orders: state.orders,
            invalid_messages: state.invalid_messages,
        });
    }
}

impl ClientState {
    /// The orders that the client asks for after each handshake and with each heartbeat.
    fn unfinished_orders(&self) -> Vec<(OrderId, u32)> {
        let unfinished = self.orders.iter().filter(|(_, view)| !view.is_final);
        unfinished.map(|(id, view)| (*id, view.last_sequence())).collect()
    }

    fn receive(&mut self, text: &str, now: Timestamp) {
        // The local AWS also passes on errors that are not JSON.
        let message = serde_json::from_str(text).ok();
        let Some(message) = message.filter(|message| !is_gateway_error(message)) else {
            return;
        };
        if let Err(problem) = check_documented(Direction::FromServer, &message) {
            return self.unexpected_messages.push(problem);
        }
        match OrderUpdate::parse(&message) {
            Ok(Some(update)) => self.apply(&update, now),
            Ok(None) => {}
            Err(error) => self.unexpected_messages.push(format!("{error}: {message}")),
        }
        for order_id in message["not_found"].as_array().into_iter().flatten() {
            self.unexpected_messages.push(format!(
                "an accepted order was not found by `subscribe`: {order_id}"
            ));
        }
        if message["type"] == "ERROR" {
            self.unexpected_messages
                .push(format!("a client received {message}"));
        }
    }

    fn apply(&mut self, update: &OrderUpdate, now: Timestamp) {
        self.updates += 1;
        let view = self.orders.entry(update.order_id).or_default();
        let was_final = view.is_final;
        match view.apply(update) {
            Ok(true) if !was_final => {
                let is_final = |entry: &&HistoryEntry| matches!(entry.change, OrderChange::Status(status) if status.is_final());
                if let Some(end) = view.changes.iter().find(is_final) {
                    self.longest_delay = self.longest_delay.max(now - end.at);
                }
            }
            Ok(true) => {}
            Ok(false) => self.repeated_updates += 1,
            Err(problem) => self.invalid_messages.push((update.order_id, problem.to_string())),
        }
    }
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ConnectionEnd {
    /// The client had received something. The pauses before new connections are short again.
    AfterMessage,
    BeforeMessage,
}

impl Client {
    async fn run(mut self) {
        let stop = self.stop.clone();
        stop.run_until_cancelled(async {
            let mut failed_attempts = 0;
            loop {
                if let Ok(Some(connection)) = timeout(RESPONSE_TIMEOUT, self.open_connection()).await {
                    lock(&self.state).connections += 1;
                    if self.serve(connection).await == ConnectionEnd::AfterMessage {
                        failed_attempts = 0;
                    }
                }
                let limit = MAX_RECONNECT_PAUSE.min(MIN_RECONNECT_PAUSE * 2_u32.pow(failed_attempts));
                failed_attempts = (failed_attempts + 1).min(16);
                sleep(limit.mul_f64(self.rng.random())).await;
            }
        })
        .await;
    }

    /// Opens a connection with a new ticket, unless core-api or the handshake fails.
    async fn open_connection(&self) -> Option<WebSocketClient> {
        let customer = self.system.customer_with_id(&self.user_id.to_string());
        let request = self.system.core_api_request(Method::POST, "/v1/realtime/ticket");
        let response = request.bearer_auth(customer.token).send().await.ok()?;
        if response.status() != StatusCode::CREATED {
            return None;
        }
        let body: Value = response.json().await.ok()?;
        let query = format!("?ticket={}", body["ticket"].as_str()?);
        self.system.open_websocket(&query).await.ok()
    }

    /// Follows the customer's orders until the connection ends.
    async fn serve(&mut self, mut connection: WebSocketClient) -> ConnectionEnd {
        let mut end = ConnectionEnd::BeforeMessage;
        // The first heartbeat is due at once.
        let mut heartbeat = interval(HEARTBEAT_INTERVAL);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut response_due = None;
        let lifetime = Duration::from_millis(self.rng.random_range(CONNECTION_LIFETIME));
        let mut random_end = Some(Instant::now() + lifetime);
        loop {
            tokio::select! {
                text = connection.receive_text() => {
                    let Some(text) = text else { return end };
                    (end, response_due) = (ConnectionEnd::AfterMessage, None);
                    lock(&self.state).receive(&text, self.system.now());
                }
                _ = heartbeat.tick() => {
                    let orders = lock(&self.state).unfinished_orders();
                    if !send_heartbeat(&mut connection, &orders).await {
                        return end;
                    }
                    response_due = Some(Instant::now() + RESPONSE_TIMEOUT);
                }
                Some(order_id) = self.followed.recv() => {
                    let last_sequence = lock(&self.state).orders.entry(order_id).or_default().last_sequence();
                    if !connection.try_send(&subscribe(&[(order_id, last_sequence)])).await {
                        return end;
                    }
                }
                () = sleep_until(response_due) => return end,
                () = sleep_until(random_end) => {
                    random_end = None;
                    if self.faults_ended.is_cancelled() {
                        continue;
                    }
                    if self.rng.random() {
                        lock(&self.state).lost += 1;
                        return end;
                    }
                    let closed = self.system.try_close_connections(self.user_id).await;
                    // The end of the connection arrives as any other message.
                    lock(&self.state).closed_by_gateway += closed.unwrap_or(0) as u64;
                }
            }
        }
    }
}

/// Asks for the orders that are not finished. Returns `false` if the connection is closed.
async fn send_heartbeat(connection: &mut WebSocketClient, orders: &[(OrderId, u32)]) -> bool {
    if orders.is_empty() {
        return connection.try_send(&json!({"action": "ping"})).await;
    }
    for orders in orders.chunks(MAX_ORDERS_PER_MESSAGE) {
        if !connection.try_send(&subscribe(orders)).await {
            return false;
        }
    }
    true
}

fn subscribe(orders: &[(OrderId, u32)]) -> Value {
    let orders: Vec<Value> = orders
        .iter()
        .map(|(order_id, last_sequence)| json!({"order_id": order_id, "last_sequence": last_sequence}))
        .collect();
    json!({"action": "subscribe", "orders": orders})
}

/// Never returns without a time.
async fn sleep_until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
