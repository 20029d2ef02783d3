//! Reservations per second: stock-service over HTTP against straightforward SQL with pgbench, on the same
//! PostgreSQL.

use std::{fmt::Write as _, process::Command, time::Duration};

use anyhow::Context as _;
use sqlx::{Connection as _, Executor as _, PgConnection};
use tempfile::NamedTempFile;

use crate::{
    context::Context,
    databases,
    report::{Section, Target, format_ratio},
    stats::Summary,
    stock_service::{SCARCE_QUANTITY, StockService},
};

/// Numbers of concurrent clients.
const CONCURRENCY_LEVELS: [usize; 3] = [16, 64, 256];

/// One hot product, and many products.
const PRODUCT_COUNTS: [(&str, u32); 2] = [("1 hot product", 1), ("1,000 products", 1000)];

/// The baseline's tables, with no more than the two statements need.
const BASELINE_SCHEMA: &str = "
    CREATE TABLE stock (product_id bigint PRIMARY KEY, quantity bigint NOT NULL, reserved bigint NOT NULL)
        WITH (fillfactor = 50);
    CREATE TABLE reservations (reservation_id uuid PRIMARY KEY, product_id bigint NOT NULL,
                               quantity bigint NOT NULL, created_at timestamptz NOT NULL);
    INSERT INTO stock SELECT id, 1000000000, 0 FROM generate_series(1, 1000) AS id;";

/// The baseline: straightforward SQL.
const PGBENCH_SCRIPT: &str = r"\set product random(1, :products)
BEGIN;
UPDATE stock SET reserved = reserved + 1 WHERE product_id = :product AND quantity - reserved >= 1;
INSERT INTO reservations VALUES (gen_random_uuid(), :product, 1, now());
COMMIT;
";

pub async fn run(context: &Context) -> anyhow::Result<Section> {
    let baseline = PgbenchBaseline::prepare(context).await?;
    let mut stock_service = StockService::start(context).await?;
    let round = Duration::from_secs(context.full_or_quick(4, 2));
    let rounds = context.full_or_quick(5, 3);

    let (mut rows, mut targets) = (Vec::new(), Vec::new());
    for (case, products) in PRODUCT_COUNTS {
        for clients in CONCURRENCY_LEVELS {
            eprintln!("    {case}, {clients} clients");
            let (mut service_rates, mut baseline_rates) = (Vec::new(), Vec::new());
            for _ in 0..rounds {
                baseline_rates.push(baseline.measure_rate(products, clients, round).await?);
                service_rates.push(stock_service.measure_rate(products, clients, round).await?);
            }
            stock_service.check_consistency().await?;
            let (measured, baseline_summary) = (
                Summary::from_samples(service_rates),
                Summary::from_samples(baseline_rates),
            );
            let ratio = measured.median / baseline_summary.median;
            rows.push(vec![
                case.to_owned(),
                clients.to_string(),
                measured.to_string(),
                baseline_summary.to_string(),
                format_ratio(ratio),
            ]);
            let goal = if (products, clients) == (1, 64) { 10.0 } else { 1.0 };
            targets.push(Target::at_least(
                format!("{case}, {clients} clients"),
                goal,
                ratio,
            ));
        }
    }
    let sold = stock_service.sell_out().await?;
    stock_service.check_consistency().await?;
    targets.push(Target {
        what: format!("units sold of {SCARCE_QUANTITY}, with 64 clients and twice as many requests"),
        goal: SCARCE_QUANTITY.to_string(),
        reached: sold.to_string(),
        met: sold == SCARCE_QUANTITY,
    });
    Ok(Section {
        title: "Reservations".to_owned(),
        text: format!(
            "Reservations per second of one unit each, with concurrent clients. stock-service is called \
             over HTTP with a token in each request; only responses with 201 count. The baseline is pgbench \
             with prepared statements, directly in SQL:\n\n```sql\n{}```\n\nBoth use separate databases on \
             the same PostgreSQL server, which flushes each commit to disk. Alternating rounds of {} s, \
             {rounds} for each. stock-service publishes its events to a stub of EventBridge that accepts \
             them immediately; the stub and the load generator share the CPU cores with the measured \
             processes. After each case, the benchmark checks that no unit was reserved twice and that \
             there is one reservation for every 201.",
            PGBENCH_SCRIPT
                .lines()
                .skip(1)
                .fold(String::new(), |mut sql, line| {
                    let _ = writeln!(sql, "{line}");
                    sql
                }),
            round.as_secs(),
        ),
        columns: ["", "Clients", "stock-service/s", "plain SQL/s", "Ratio"]
            .map(str::to_owned)
            .into(),
        rows,
        targets,
    })
}

/// The baseline: pgbench with its own database.
struct PgbenchBaseline<'a> {
    context: &'a Context,
    database: String,
    script: NamedTempFile,
}

impl<'a> PgbenchBaseline<'a> {
    async fn prepare(context: &'a Context) -> anyhow::Result<Self> {
        let database = databases::create(context, "bench_baseline").await?;
        PgConnection::connect(&database)
            .await?
            .execute(BASELINE_SCHEMA)
            .await?;
        let script = NamedTempFile::new()?;
        std::fs::write(script.path(), PGBENCH_SCRIPT)?;
        Ok(Self {
            context,
            database,
            script,
        })
    }

    async fn measure_rate(&self, products: u32, clients: usize, round: Duration) -> anyhow::Result<f64> {
        databases::checkpoint(&self.database).await?;
        let output = Command::new(&self.context.addresses.pgbench)
            .args(["--no-vacuum", "--protocol=prepared"])
            .arg(format!("--define=products={products}"))
            .arg(format!("--client={clients}"))
            .arg(format!("--time={}", round.as_secs()))
            .arg("--file")
            .arg(self.script.path())
            .arg(&self.database)
            .output()
            .context("cannot run pgbench")?;
        let stdout = String::from_utf8_lossy(&output.stdout);
        stdout
            .lines()
            .find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok())
            .with_context(|| {
                format!(
                    "pgbench failed:\n{stdout}{}",
                    String::from_utf8_lossy(&output.stderr)
                )
            })
    }
}
