//! The program as a test has it: everything real but the bus, which nothing is handed to, so that the events
//! stay in their outboxes.

use std::{cell::RefCell, fmt::Display};

use access_tokens::Role;
use aws_sdk_dynamodb::{
    Client,
    types::{AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType},
};
use bus::{ParkingQueue, PostgresOutbox, Publisher, Relay};
use core_api::{
    carts::Carts,
    catalogue::Catalogue,
    dynamo,
    http::{self, App},
    limits::Limits,
    ordering::Checkout,
    people::Standings,
};
use domain::{Clock, UserId, ids::uuid_v7};
use events::Outgoing;
use orders::{Orders, Tables};
use reqwest::{Method, RequestBuilder, header::HeaderName};
use serde::Serialize;
use serde_json::{Map, Value, json};
use sqlx::PgPool;
use tokio::{
    net::TcpListener,
    sync::{Semaphore, SemaphorePermit},
};
use tokio_util::sync::CancellationToken;
use users::Users;
use uuid::Uuid;
use web::Proxies;

use crate::tokens::{self, Person};

pub struct TestApp {
    pub pool: PgPool,
    pub orders: Orders,
    pub admin: String,
    pub users: Users,
    pub carts: Carts,
    pub sessions: String,
    pub dynamo: Client,
    outbox: String,
    origin: String,
    http: reqwest::Client,
}

/// What a test may have otherwise.
pub struct Setting {
    pub clock: Clock,
    pub limits: Limits,
    pub proxies: Proxies,
    /// Where DynamoDB is as the program sees it, if not where it is.
    pub dynamodb: Option<String>,
}

/// What the program is to trust.
pub fn behind(proxies: &[&str]) -> Proxies {
    let proxies = proxies.iter().map(|proxy| proxy.parse().unwrap()).collect();
    Proxies::new(proxies, HeaderName::from_static("x-forwarded-for"))
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            clock: Clock::system(),
            // A test is one address.
            limits: Limits::new(100_000, None, Clock::system()).unwrap(),
            proxies: behind(&["127.0.0.1"]),
            dynamodb: None,
        }
    }
}

/// For so many tests at once sqlx has connections: twenty for a whole program, and five for a test. More of them would wait
/// for each other's until one gives up; those that wait here hold one at most.
static ROOM: Semaphore = Semaphore::const_new(3);

thread_local! {
    /// A test is a thread, and keeps its place until its end, also when it starts the program twice.
    static PLACE: RefCell<Option<SemaphorePermit<'static>>> = const { RefCell::new(None) };
}

async fn wait_for_room() {
    if PLACE.with_borrow(Option::is_none) {
        let place = ROOM.acquire().await.unwrap();
        PLACE.set(Some(place));
    }
}

impl TestApp {
    pub async fn start(pool: PgPool) -> Self {
        Self::start_with(pool, Clock::system()).await
    }

    /// The program with a clock of the test's own.
    pub async fn start_with(pool: PgPool, clock: Clock) -> Self {
        let setting = Setting {
            clock,
            ..Setting::default()
        };
        Self::start_in(pool, setting).await
    }

    /// The program in a setting of the test's own.
    pub async fn start_in(pool: PgPool, setting: Setting) -> Self {
        wait_for_room().await;
        let Setting {
            clock,
            limits,
            proxies,
            dynamodb,
        } = setting;
        let aws = cloud::sdk_config().await;
        let dynamo = Client::new(&aws);
        let seen = match dynamodb {
            Some(url) => Client::from_conf(dynamo::config(&aws).endpoint_url(url).build()),
            None => dynamo::client(&aws),
        };
        let tables = create_tables(&dynamo, &clock).await;
        let outbox = tables.outbox.clone();
        let sessions = create_sessions(&dynamo, &clock).await;
        let carts = Carts::new(seen.clone(), &sessions, clock.clone());
        let users = Users::new(pool.clone(), clock.clone());
        let orders = Orders::new(seen, tables, clock.clone());

        // The relays are dropped, not run: what is handed to them stays where it is.
        let publisher = Publisher::new(aws_sdk_eventbridge::Client::new(&aws), "unused");
        let parking = ParkingQueue::new(aws_sdk_sqs::Client::new(&aws), "unused");
        let (_, product_events) = Relay::new(
            PostgresOutbox::new(pool.clone()),
            publisher.clone(),
            parking.clone(),
            clock.clone(),
        );
        let (_, order_events) = Relay::new(orders.outbox().clone(), publisher, parking, clock.clone());
        let catalogue = Catalogue::new(pool.clone(), product_events, clock.clone());
        let checkout = Checkout::new(catalogue.clone(), orders.clone(), order_events);
        let verifier = tokens::verifier(clock.clone());
        let app = App {
            carts: carts.clone(),
            catalogue,
            checkout,
            limits,
            orders: orders.clone(),
            proxies,
            standings: Standings::new(users.clone()),
            users: users.clone(),
            verifier,
        };

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let router = web::with_defaults(http::routes(app), clock);
        tokio::spawn(web::accept(listener, router, CancellationToken::new()));
        let admin = Person::admin().register(&pool).await.token();
        Self {
            pool,
            orders,
            admin,
            users,
            carts,
            sessions,
            dynamo,
            outbox,
            origin,
            http: reqwest::Client::new(),
        }
    }

    pub fn request(&self, method: Method, path: impl Display) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.origin))
    }

    pub fn get(&self, path: impl Display) -> RequestBuilder {
        self.request(Method::GET, path)
    }

    pub fn post(&self, path: impl Display) -> RequestBuilder {
        self.request(Method::POST, path)
    }

    pub fn put(&self, path: impl Display) -> RequestBuilder {
        self.request(Method::PUT, path)
    }

    pub fn patch(&self, path: impl Display) -> RequestBuilder {
        self.request(Method::PATCH, path)
    }

    pub fn delete(&self, path: impl Display) -> RequestBuilder {
        self.request(Method::DELETE, path)
    }

    /// A customer with an account.
    pub async fn customer(&self) -> Person {
        customer().register(&self.pool).await
    }

    /// Somebody with an account and this role.
    pub async fn person(&self, role: Role) -> Person {
        Person::with_role(role).register(&self.pool).await
    }

    /// Has so many pieces of a product in stock.
    pub async fn stock(&self, product: &str, pieces: i64) {
        sqlx::query(
            "INSERT INTO stock (product_id, quantity, reserved, updated_at) VALUES ($1, $2, 0, now())
             ON CONFLICT (product_id) DO UPDATE SET quantity = $2",
        )
        .bind(product.parse::<Uuid>().unwrap())
        .bind(pieces)
        .execute(&self.pool)
        .await
        .unwrap();
    }

    /// Adds a product and gives its id.
    pub async fn add_product(&self, name: &str, price: i64) -> String {
        self.add(json!({"name": name, "description": "", "price": price, "category": "tea-ware"}))
            .await
    }

    pub async fn add(&self, details: Value) -> String {
        let answer = self
            .post("/v1/products")
            .bearer_auth(&self.admin)
            .json(&details)
            .answer()
            .await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.text("id")
    }

    /// A request for an order that is right in all but what the test changes of it.
    pub fn order(&self, token: &str, key: &str, body: &Value) -> RequestBuilder {
        self.post("/v1/orders")
            .bearer_auth(token)
            .header("Idempotency-Key", key)
            .json(body)
    }

    /// The events that wait in the catalogue's outbox, oldest first.
    pub async fn product_events(&self) -> Vec<(String, Value)> {
        products_events(&self.pool).await
    }

    /// The events that wait in the orders' outbox, oldest first.
    pub async fn order_events(&self) -> Vec<(String, Value)> {
        orders_events(&self.dynamo, &self.outbox).await
    }
}

/// The types and details of the events that wait in a database, oldest first.
pub async fn products_events(pool: &PgPool) -> Vec<(String, Value)> {
    let rows: Vec<(String, String)> =
        sqlx::query_as("SELECT detail_type, detail FROM event_outbox ORDER BY event_id")
            .fetch_all(pool)
            .await
            .unwrap();
    rows.into_iter()
        .map(|(kind, detail)| (kind, serde_json::from_str(&detail).unwrap()))
        .collect()
}

/// The types and details of the events that wait in a table, oldest first.
pub async fn orders_events(dynamo: &Client, table: &str) -> Vec<(String, Value)> {
    let scan = dynamo
        .scan()
        .table_name(table)
        .consistent_read(true)
        .send()
        .await
        .unwrap();
    let mut events: Vec<Outgoing> = serde_dynamo::from_items(scan.items.unwrap()).unwrap();
    events.sort_by_key(|event| event.event_id);
    events
        .into_iter()
        .map(|event| (event.detail_type, serde_json::from_str(&event.detail).unwrap()))
        .collect()
}

/// What came back, as a snapshot shows it.
#[derive(Debug, Serialize)]
pub struct Answer {
    pub status: u16,
    pub headers: Map<String, Value>,
    pub body: Value,
}

impl Answer {
    /// A text of the body.
    pub fn text(&self, member: &str) -> String {
        self.body[member]
            .as_str()
            .unwrap_or_else(|| panic!("no {member} in {self:?}"))
            .to_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers[name].as_str().unwrap()
    }

    /// A problem on one line: status, type, and what is wrong where.
    pub fn problem(&self) -> String {
        let slug = self.body["type"].as_str().unwrap_or_default();
        let slug = slug
            .strip_prefix("https://matsuri.dev/problems/")
            .unwrap_or("NOT A PROBLEM");
        assert_eq!(
            self.header("content-type"),
            "application/problem+json",
            "{self:?}"
        );
        let mut line = format!("{} {slug}", self.status);
        for error in self.body["errors"].as_array().into_iter().flatten() {
            line += &format!(
                " {}: {}",
                error["pointer"].as_str().unwrap(),
                error["detail"].as_str().unwrap()
            );
        }
        line
    }
}

pub trait Ask {
    /// Sends it and reads the whole answer.
    async fn answer(self) -> Answer;
}

impl Ask for RequestBuilder {
    async fn answer(self) -> Answer {
        let response = self.send().await.unwrap();
        let told = [
            "allow",
            "cart-token",
            "content-type",
            "etag",
            "location",
            "retry-after",
            "www-authenticate",
        ];
        let headers = told
            .iter()
            .filter_map(|name| {
                Some((
                    (*name).to_owned(),
                    response.headers().get(*name)?.to_str().unwrap().into(),
                ))
            })
            .collect();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        let body = if text.is_empty() {
            Value::Null
        } else {
            serde_json::from_str(&text).unwrap()
        };
        Answer {
            status,
            headers,
            body,
        }
    }
}

/// Tables of a test's own.
pub async fn create_tables(client: &Client, clock: &Clock) -> Tables {
    let name = |table: &str| format!("{table}-{}", uuid_v7(clock.now()));
    let tables = Tables {
        orders: name("orders"),
        outbox: name("outbox"),
        idempotency: name("idempotency"),
    };
    create(client, &tables.orders, &["user_id", "order_id"]).await;
    create(client, &tables.outbox, &["event_id"]).await;
    create(client, &tables.idempotency, &["id"]).await;
    tables
}

/// A table of sessions of a test's own.
pub async fn create_sessions(client: &Client, clock: &Clock) -> String {
    let name = format!("sessions-{}", uuid_v7(clock.now()));
    create(client, &name, &["session_id"]).await;
    name
}

async fn create(client: &Client, table: &str, keys: &[&str]) {
    let mut request = client
        .create_table()
        .table_name(table)
        .billing_mode(BillingMode::PayPerRequest);
    for (key, kind) in keys.iter().zip([KeyType::Hash, KeyType::Range]) {
        let text = AttributeDefinition::builder()
            .attribute_name(*key)
            .attribute_type(ScalarAttributeType::S);
        let schema = KeySchemaElement::builder().attribute_name(*key).key_type(kind);
        request = request
            .attribute_definitions(text.build().unwrap())
            .key_schema(schema.build().unwrap());
    }
    request.send().await.unwrap();
}

/// A customer that nobody else is, and who has no account yet.
pub fn customer() -> Person {
    Person::customer(UserId::new(Clock::system().now()))
}
