//! Orders accepted per second: core-api against the data store's own limit for the same transaction.

use std::{collections::HashMap, process::Stdio, thread, time::Duration};

use anyhow::{Context as _, ensure};
use aws_sdk_dynamodb::{
    Client,
    types::{AttributeValue, BillingMode, Put, TransactWriteItem},
};
use domain::{Clock, Currency, Money, ProductId, Quantity, UserId, ids::uuid_v7};
use events::{TraceParent, order::OrderLine};
use futures::future::try_join_all;
use orders::{NewOrder, Orders, Tables};
use tokio::{
    net::{TcpListener, TcpStream},
    process::{Child, Command},
    time::{Instant, sleep},
};

use crate::{
    api_client::{ApiClient, write_order_request},
    aws_stub,
    context::Context,
    load_generator,
    process::{ServiceProcess, service_environment},
    report::{Section, Target, format_ratio},
    spread::Summary,
};

/// Customers at once.
const CONCURRENCY_LEVELS: [usize; 3] = [8, 32, 128];

/// How long the store may take to be there.
const READY_TIMEOUT: Duration = Duration::from_secs(30);

/// Where the reference leaves its events: core-api's relay would publish those that it found in the outbox itself.
const BASELINE_OUTBOX: &str = "other-outbox";

/// The tables that are made, each after one of the template's.
const TABLE_COPIES: [(&str, &str); 4] = [
    ("ecommerce-orders", "ecommerce-orders"),
    ("ecommerce-idempotency", "ecommerce-idempotency"),
    ("ecommerce-outbox", "ecommerce-outbox"),
    ("ecommerce-outbox", BASELINE_OUTBOX),
];

type Item = HashMap<String, AttributeValue>;

/// Measures it.
pub async fn run(context: &Context) -> anyhow::Result<Section> {
    let shop = ApiClient::new(context)?;
    let product = shop.create_product(1).await?;
    let store = Dynoxide::start(context).await?;
    let transaction = OrderTransaction::capture(context, &store).await?;
    let bus = aws_stub::start(HashMap::new())?;
    let mut environment = service_environment(context, &bus, &context.addresses.database);
    environment.push(("AWS_ENDPOINT_URL_DYNAMODB", store.url.clone()));
    let core_api = ServiceProcess::start(&context.executable("core-api"), &[], &environment).await?;
    let customer = shop.create_customer().await?;

    let round = Duration::from_secs(context.full_or_quick(5, 2));
    let (mut rows, mut best) = (Vec::new(), (0.0, 0.0));
    for customers in CONCURRENCY_LEVELS {
        let (mut ours, mut limit) = (Vec::new(), Vec::new());
        for _ in 0..context.full_or_quick(5, 2) {
            limit.push(transaction.measure_rate(customers, round).await?);
            let answers = load_generator::run(&core_api.address, customers, round, |buffer| {
                write_order_request(buffer, context, &customer, &product);
                true
            })
            .await?;
            let refused: u64 = answers.statuses.values().sum::<u64>() - answers.count(202);
            ensure!(refused == 0, "orders were not accepted: {:?}", answers.statuses);
            ours.push(answers.per_second(202));
        }
        let [ours, limit] = [ours, limit].map(Summary::from_samples);
        if ours.median > best.0 {
            best = (ours.median, ours.median / limit.median);
        }
        rows.push(vec![
            customers.to_string(),
            ours.to_string(),
            limit.to_string(),
            format_ratio(ours.median / limit.median),
        ]);
    }
    Ok(Section {
        title: "Orders accepted".to_owned(),
        text: "`POST /v1/orders` answered with 202, a second, against the same transaction (order, outbox entry, idempotency \
               key, with the same conditions) straight from the SDK at the same concurrency. The store is dynoxide, \
               because MiniStack would be all that is measured; the tables are made as MiniStack describes its own. The \
               store, the client and core-api share the machine's cores. On top of the transaction core-api verifies the \
               token, asks PostgreSQL for the prices, publishes the event (to a bus that answers at once) and takes the \
               outbox entry out again, in the same store. Median, least and most of the rounds."
            .to_owned(),
        columns: ["Customers at once", "core-api, orders/s", "the store's limit, transactions/s", "ratio"]
            .map(str::to_owned)
            .into(),
        rows,
        targets: vec![Target {
            what: "orders accepted per second, against the store's limit".to_owned(),
            goal: "measured".to_owned(),
            reached: format!("{:.0}/s, {}", best.0, format_ratio(best.1)),
            met: true,
        }],
    })
}

/// A data store that is faster than what is measured on it. Dropping it ends it.
struct Dynoxide {
    _child: Child,
    url: String,
    client: Client,
}

impl Dynoxide {
    async fn start(context: &Context) -> anyhow::Result<Self> {
        let program = context.addresses.dynoxide.as_ref();
        let program = program.context("DYNOXIDE does not say where dynoxide is")?;
        let port = {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            listener.local_addr()?.port()
        };
        let child = Command::new(program)
            .args(["--port", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot run {}", program.display()))?;
        let until = Instant::now() + READY_TIMEOUT;
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            ensure!(Instant::now() < until, "dynoxide does not listen");
            sleep(Duration::from_millis(20)).await;
        }
        let url = format!("http://127.0.0.1:{port}");
        let theirs = aws_client::sdk_config().await;
        let client = dynamodb_client(&theirs, &url);
        let store = Self {
            _child: child,
            url,
            client,
        };
        store.copy_tables(&Client::new(&theirs)).await?;
        Ok(store)
    }

    /// Makes the tables that the template has made in the local AWS.
    async fn copy_tables(&self, from: &Client) -> anyhow::Result<()> {
        for (original, name) in TABLE_COPIES {
            let described = from.describe_table().table_name(original).send().await?;
            let table = described.table.context("a table has no description")?;
            let indexes = table.global_secondary_indexes.map(|indexes| {
                let index = |index: aws_sdk_dynamodb::types::GlobalSecondaryIndexDescription| {
                    aws_sdk_dynamodb::types::GlobalSecondaryIndex::builder()
                        .set_index_name(index.index_name)
                        .set_key_schema(index.key_schema)
                        .set_projection(index.projection)
                        .build()
                };
                indexes.into_iter().map(index).collect::<Result<Vec<_>, _>>()
            });
            self.client
                .create_table()
                .table_name(name)
                .billing_mode(BillingMode::PayPerRequest)
                .set_attribute_definitions(table.attribute_definitions)
                .set_key_schema(table.key_schema)
                .set_global_secondary_indexes(indexes.transpose()?)
                .send()
                .await?;
        }
        Ok(())
    }
}

/// The transaction in which an order is placed, to be repeated under other ids.
#[derive(Clone)]
struct OrderTransaction {
    url: String,
    clock: Clock,
    order: Item,
    outbox_entry: Item,
    idempotency_record: Item,
}

impl OrderTransaction {
    /// Has our own code write one, and takes what it wrote.
    async fn capture(context: &Context, store: &Dynoxide) -> anyhow::Result<Self> {
        let now = context.clock.now();
        let tables = Tables {
            orders: "ecommerce-orders".to_owned(),
            outbox: BASELINE_OUTBOX.to_owned(),
            idempotency: "ecommerce-idempotency".to_owned(),
        };
        let new = NewOrder {
            user_id: UserId(uuid_v7(now)),
            contact_email: "bench@example.com".to_owned(),
            items: vec![OrderLine {
                product_id: ProductId(uuid_v7(now)),
                product_name: "Bench lantern".to_owned(),
                quantity: Quantity::new(1)?,
                price: 1000,
            }],
            total: Money::new(1000, Currency::JPY)?,
            payment_method: "pm_card_visa".to_owned(),
            idempotency_key: uuid_v7(now).to_string(),
            traceparent: TraceParent::root(now),
        };
        Orders::new(store.client.clone(), tables, context.clock.clone())
            .place(&new)
            .await?;
        let only = async |table: &str| -> anyhow::Result<Item> {
            let found = store.client.scan().table_name(table).send().await?;
            let first = found.items.and_then(|items| items.into_iter().next());
            first.with_context(|| format!("nothing was written to {table}"))
        };
        Ok(Self {
            url: store.url.clone(),
            clock: context.clock.clone(),
            order: only("ecommerce-orders").await?,
            idempotency_record: only("ecommerce-idempotency").await?,
            outbox_entry: only(BASELINE_OUTBOX).await?,
        })
    }

    /// How many a second go through with so many at once. On threads of their own: it is a limit that is looked for.
    async fn measure_rate(&self, at_once: usize, during: Duration) -> anyhow::Result<f64> {
        let transaction = self.clone();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new()?;
            runtime.block_on(async {
                let client = dynamodb_client(&aws_client::sdk_config().await, &transaction.url);
                let started = Instant::now();
                let runs = (0..at_once).map(|_| {
                    let (client, transaction) = (client.clone(), transaction.clone());
                    tokio::spawn(async move {
                        let mut done = 0_u32;
                        while started.elapsed() < during {
                            transaction.send(&client).await?;
                            done += 1;
                        }
                        anyhow::Ok(done)
                    })
                });
                let mut sum = 0;
                for done in try_join_all(runs).await? {
                    sum += done?;
                }
                anyhow::Ok(f64::from(sum) / started.elapsed().as_secs_f64())
            })
        });
        while !thread.is_finished() {
            sleep(Duration::from_millis(5)).await;
        }
        thread
            .join()
            .map_err(|_| anyhow::anyhow!("the client panicked"))?
    }

    async fn send(&self, client: &Client) -> anyhow::Result<()> {
        let now = self.clock.now();
        let fresh = || AttributeValue::S(uuid_v7(now).to_string());
        let (mut order, mut event, mut key) = (
            self.order.clone(),
            self.outbox_entry.clone(),
            self.idempotency_record.clone(),
        );
        order.insert("order_id".to_owned(), fresh());
        event.insert("event_id".to_owned(), fresh());
        key.insert("id".to_owned(), fresh());
        let key = Put::builder()
            .table_name("ecommerce-idempotency")
            .set_item(Some(key))
            .condition_expression("attribute_not_exists(id) OR #ttl <= :now")
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":now", AttributeValue::N(now.timestamp().to_string()));
        let order = Put::builder()
            .table_name("ecommerce-orders")
            .set_item(Some(order))
            .condition_expression("attribute_not_exists(order_id)");
        let event = Put::builder().table_name(BASELINE_OUTBOX).set_item(Some(event));
        let mut transaction = client.transact_write_items();
        for put in [key, order, event] {
            transaction = transaction.transact_items(TransactWriteItem::builder().put(put.build()?).build());
        }
        transaction.send().await?;
        Ok(())
    }
}

fn dynamodb_client(config: &aws_config::SdkConfig, url: &str) -> Client {
    Client::from_conf(
        aws_sdk_dynamodb::config::Builder::from(config)
            .endpoint_url(url)
            .build(),
    )
}
