//! Orders accepted per second: core-api against the data store's limit for the same transaction.

use std::{collections::HashMap, process::Stdio, thread, time::Duration};

use anyhow::{Context as _, ensure};
use aws_sdk_dynamodb::{
    Client,
    types::{AttributeValue, BillingMode, Put, TransactWriteItem},
};
use domain::{Clock, Currency, Language, Money, ProductId, Quantity, TaxRate, UserId, ids::uuid_v7};
use event_publishing::DynamoOutbox;
use events::TraceParent;
use futures::future::try_join_all;
use orders::{NewOrder, OrderItem, OrderPlacement, Orders, OrdersWithOutbox};
use tokio::{
    net::{TcpListener, TcpStream},
    process::{Child, Command},
    time::{Instant, sleep},
};

use crate::{
    api_client::{ApiClient, write_order_request},
    aws_stub,
    context::Context,
    databases, load_generator,
    process::{ServiceProcess, core_api_environment},
    report::{Section, Target, format_ratio},
    stats::Summary,
};

/// Numbers of concurrent clients.
const CONCURRENCY_LEVELS: [usize; 3] = [8, 32, 128];

/// How long dynoxide may take to start.
const READY_TIMEOUT: Duration = Duration::from_secs(30);

/// The baseline's outbox table. core-api's relay would publish entries in its own outbox.
const BASELINE_OUTBOX: &str = "other-outbox";

/// The created tables: (table in the local AWS, name of its copy).
const TABLE_COPIES: [(&str, &str); 4] = [
    ("ecommerce-orders", "ecommerce-orders"),
    ("ecommerce-idempotency", "ecommerce-idempotency"),
    ("ecommerce-outbox", "ecommerce-outbox"),
    ("ecommerce-outbox", BASELINE_OUTBOX),
];

type Item = HashMap<String, AttributeValue>;

pub async fn run(context: &Context) -> anyhow::Result<Section> {
    let api = ApiClient::new(context)?;
    let product = api.create_product(1).await?;
    let store = Dynoxide::start(context).await?;
    let transaction = OrderTransaction::capture(context, &store).await?;
    let bus = aws_stub::start(HashMap::new())?;
    let database = databases::url_of_role(&context.addresses.database, "core_api")?;
    let mut environment = core_api_environment(context, &bus, &database);
    environment.push(("AWS_ENDPOINT_URL_DYNAMODB", store.url.clone()));
    let core_api = ServiceProcess::start(&context.executable("core-api"), &[], &environment).await?;
    let customer = api.create_customer().await?;

    let round = Duration::from_secs(context.full_or_quick(5, 2));
    let (mut rows, mut best) = (Vec::new(), (0.0, 0.0));
    for clients in CONCURRENCY_LEVELS {
        let (mut ours, mut limit) = (Vec::new(), Vec::new());
        for _ in 0..context.full_or_quick(5, 2) {
            limit.push(transaction.measure_rate(clients, round).await?);
            let result = load_generator::run(&core_api.address, clients, round, |buffer| {
                write_order_request(buffer, context, &customer, &product);
                true
            })
            .await?;
            let rejected: u64 = result.statuses.values().sum::<u64>() - result.count(202);
            ensure!(rejected == 0, "orders were not accepted: {:?}", result.statuses);
            ours.push(result.per_second(202));
        }
        let [ours, limit] = [ours, limit].map(Summary::from_samples);
        if ours.median > best.0 {
            best = (ours.median, ours.median / limit.median);
        }
        rows.push(vec![
            clients.to_string(),
            ours.to_string(),
            limit.to_string(),
            format_ratio(ours.median / limit.median),
        ]);
    }
    Ok(Section {
        title: "Order throughput".to_owned(),
        text:
            "`POST /v1/orders` requests per second that are accepted with 202, against the same transaction \
             (order, outbox entry, idempotency record, with the same conditions) sent directly with the AWS \
             SDK at the same concurrency. The data store is dynoxide, because MiniStack would be the \
             bottleneck; its tables are copies of those in MiniStack. The data store, the client and \
             core-api share the machine's CPU cores. In addition to the transaction, core-api verifies the \
             token, reads the prices from PostgreSQL, publishes the event (to an AWS stub that responds \
             immediately) and deletes the outbox entry in the same data store. Values are median (min–max) \
             of the rounds."
                .to_owned(),
        columns: [
            "clients",
            "core-api, orders/s",
            "data store limit, transactions/s",
            "ratio",
        ]
        .map(str::to_owned)
        .into(),
        rows,
        targets: vec![Target {
            what: "orders accepted per second, against the data store's limit".to_owned(),
            goal: "no goal".to_owned(),
            reached: format!("{:.0}/s, {}", best.0, format_ratio(best.1)),
            met: true,
        }],
    })
}

/// A dynoxide process, a DynamoDB emulator that is faster than core-api. Dropping it kills the process.
struct Dynoxide {
    _child: Child,
    url: String,
    client: Client,
}

impl Dynoxide {
    async fn start(context: &Context) -> anyhow::Result<Self> {
        let executable = context.addresses.dynoxide.as_ref();
        let executable = executable.context("DYNOXIDE, the path of dynoxide, is not set")?;
        let port = {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            listener.local_addr()?.port()
        };
        let child = Command::new(executable)
            .args(["--port", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot run {}", executable.display()))?;
        let deadline = Instant::now() + READY_TIMEOUT;
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            ensure!(Instant::now() < deadline, "dynoxide did not start in time");
            sleep(Duration::from_millis(20)).await;
        }
        let url = format!("http://127.0.0.1:{port}");
        let source_config = aws_client::sdk_config().await;
        let client = dynamodb_client(&source_config, &url);
        let store = Self {
            _child: child,
            url,
            client,
        };
        store.copy_tables(&Client::new(&source_config)).await?;
        Ok(store)
    }

    /// Creates copies of the tables in the local AWS.
    async fn copy_tables(&self, from: &Client) -> anyhow::Result<()> {
        for (original, name) in TABLE_COPIES {
            let described = from.describe_table().table_name(original).send().await?;
            let table = described.table.context("DescribeTable returned no table")?;
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

/// The items of an order transaction, to be written again with new ids.
#[derive(Clone)]
struct OrderTransaction {
    url: String,
    clock: Clock,
    order: Item,
    outbox_entry: Item,
    idempotency_record: Item,
}

impl OrderTransaction {
    /// Places one order with the orders crate and reads the items that it wrote.
    async fn capture(context: &Context, store: &Dynoxide) -> anyhow::Result<Self> {
        let now = context.clock.now();
        let orders_with_outbox = OrdersWithOutbox {
            orders: Orders::new(store.client.clone(), "ecommerce-orders", context.clock.clone()),
            outbox: DynamoOutbox::new(store.client.clone(), BASELINE_OUTBOX),
        };
        let new_order = NewOrder {
            user_id: UserId(uuid_v7(now)),
            contact_email: "bench@example.com".to_owned(),
            items: vec![OrderItem {
                product_id: ProductId(uuid_v7(now)),
                product_name: "Bench lantern".to_owned(),
                quantity: Quantity::new(1)?,
                price: 1000,
                tax_rate: TaxRate::Standard,
            }],
            total: Money::new(1000, Currency::JPY)?,
            payment_method: "pm_card_visa".to_owned(),
            idempotency_key: uuid_v7(now).to_string(),
            traceparent: TraceParent::root(now),
            order_mails: true,
            mail_language: Language::En,
            sms_contact: None,
            max_open_orders: None,
        };
        OrderPlacement::new(orders_with_outbox, "ecommerce-idempotency")
            .place(&new_order)
            .await?;
        let first_item = async |table: &str| -> anyhow::Result<Item> {
            let found = store.client.scan().table_name(table).send().await?;
            let first = found.items.and_then(|items| items.into_iter().next());
            first.with_context(|| format!("the table {table} is empty"))
        };
        Ok(Self {
            url: store.url.clone(),
            clock: context.clock.clone(),
            order: first_item("ecommerce-orders").await?,
            idempotency_record: first_item("ecommerce-idempotency").await?,
            outbox_entry: first_item(BASELINE_OUTBOX).await?,
        })
    }

    /// Returns transactions per second with `clients` concurrent clients. A multi-threaded runtime gives the
    /// highest limit.
    async fn measure_rate(&self, clients: usize, duration: Duration) -> anyhow::Result<f64> {
        let transaction = self.clone();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new()?;
            runtime.block_on(async {
                let client = dynamodb_client(&aws_client::sdk_config().await, &transaction.url);
                let started = Instant::now();
                let runs = (0..clients).map(|_| {
                    let (client, transaction) = (client.clone(), transaction.clone());
                    tokio::spawn(async move {
                        let mut committed = 0_u32;
                        while started.elapsed() < duration {
                            transaction.send(&client).await?;
                            committed += 1;
                        }
                        anyhow::Ok(committed)
                    })
                });
                let mut sum = 0;
                for committed in try_join_all(runs).await? {
                    sum += committed?;
                }
                anyhow::Ok(f64::from(sum) / started.elapsed().as_secs_f64())
            })
        });
        while !thread.is_finished() {
            sleep(Duration::from_millis(5)).await;
        }
        thread
            .join()
            .map_err(|_| anyhow::anyhow!("the baseline's client thread panicked"))?
    }

    async fn send(&self, client: &Client) -> anyhow::Result<()> {
        let now = self.clock.now();
        let new_id = || AttributeValue::S(uuid_v7(now).to_string());
        let (mut order, mut outbox_entry, mut idempotency_record) = (
            self.order.clone(),
            self.outbox_entry.clone(),
            self.idempotency_record.clone(),
        );
        order.insert("order_id".to_owned(), new_id());
        outbox_entry.insert("event_id".to_owned(), new_id());
        idempotency_record.insert("id".to_owned(), new_id());
        let put_idempotency_record = Put::builder()
            .table_name("ecommerce-idempotency")
            .set_item(Some(idempotency_record))
            .condition_expression("attribute_not_exists(id) OR #ttl <= :now")
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":now", AttributeValue::N(now.timestamp().to_string()));
        let put_order = Put::builder()
            .table_name("ecommerce-orders")
            .set_item(Some(order))
            .condition_expression("attribute_not_exists(order_id)");
        let put_outbox_entry = Put::builder()
            .table_name(BASELINE_OUTBOX)
            .set_item(Some(outbox_entry));
        let mut transaction = client.transact_write_items();
        for put in [put_idempotency_record, put_order, put_outbox_entry] {
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
