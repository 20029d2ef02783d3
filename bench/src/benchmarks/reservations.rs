//! Reservations per second: stock-service over HTTP against the obvious SQL by pgbench, on the same PostgreSQL.

use std::{fmt::Write as _, process::Command, time::Duration};

use anyhow::Context as _;
use sqlx::{Connection as _, Executor as _, PgConnection};
use tempfile::NamedTempFile;

use crate::{
    context::Context,
    databases,
    report::{Section, Target, format_ratio},
    spread::Summary,
    stock_service::{SCARCE_QUANTITY, StockService},
};

/// Buyers at once.
const CONCURRENCY_LEVELS: [usize; 3] = [16, 64, 256];

/// The hot product alone, and many products.
const PRODUCT_COUNTS: [(&str, u32); 2] = [("1 hot product", 1), ("1,000 products", 1000)];

/// The reference's tables: no more than the two statements need.
const BASELINE_SCHEMA: &str = "
    CREATE TABLE stock (product_id bigint PRIMARY KEY, quantity bigint NOT NULL, reserved bigint NOT NULL)
        WITH (fillfactor = 50);
    CREATE TABLE reservations (reservation_id uuid PRIMARY KEY, product_id bigint NOT NULL, quantity bigint NOT NULL,
                               created_at timestamptz NOT NULL);
    INSERT INTO stock SELECT id, 1000000000, 0 FROM generate_series(1, 1000) AS id;";

/// The reference: what anybody would write.
const PGBENCH_SCRIPT: &str = r"\set product random(1, :products)
BEGIN;
UPDATE stock SET reserved = reserved + 1 WHERE product_id = :product AND quantity - reserved >= 1;
INSERT INTO reservations VALUES (gen_random_uuid(), :product, 1, now());
COMMIT;
";

/// Measures it.
pub async fn run(context: &Context) -> anyhow::Result<Section> {
    let obvious = PgbenchBaseline::prepare(context).await?;
    let mut ours = StockService::start(context).await?;
    let round = Duration::from_secs(context.full_or_quick(4, 2));
    let rounds = context.full_or_quick(5, 3);

    let (mut rows, mut targets) = (Vec::new(), Vec::new());
    for (shape, products) in PRODUCT_COUNTS {
        for buyers in CONCURRENCY_LEVELS {
            eprintln!("    {shape}, {buyers} buyers");
            let (mut ours_rates, mut obvious_rates) = (Vec::new(), Vec::new());
            for _ in 0..rounds {
                obvious_rates.push(obvious.measure_rate(products, buyers, round).await?);
                ours_rates.push(ours.measure_rate(products, buyers, round).await?);
            }
            ours.check_consistency().await?;
            let (reached, reference) = (
                Summary::from_samples(ours_rates),
                Summary::from_samples(obvious_rates),
            );
            let ratio = reached.median / reference.median;
            rows.push(vec![
                shape.to_owned(),
                buyers.to_string(),
                reached.to_string(),
                reference.to_string(),
                format_ratio(ratio),
            ]);
            let goal = if (products, buyers) == (1, 64) { 10.0 } else { 1.0 };
            targets.push(Target::at_least(format!("{shape}, {buyers} buyers"), goal, ratio));
        }
    }
    let sold = ours.sell_out().await?;
    ours.check_consistency().await?;
    targets.push(Target {
        what: format!("of {SCARCE_QUANTITY} pieces, with 64 buyers after them, are sold"),
        goal: SCARCE_QUANTITY.to_string(),
        reached: sold.to_string(),
        met: sold == SCARCE_QUANTITY,
    });
    Ok(Section {
        title: "Reservations".to_owned(),
        text: format!(
            "Reservations per second of one piece each, with as many buyers asking at once. Ours is stock-service over \
             HTTP with a token\nin each request; only answers 201 count. The obvious way is pgbench with prepared \
             statements, directly in SQL:\n\n```sql\n{}```\n\nBoth stand on the same PostgreSQL server, which waits for \
             the disk at each commit, in a database each. Rounds of\n{} s take turns, {rounds} each. stock-service \
             publishes its events to a stand-in for EventBridge that takes\neverything at once; it and the load \
             generator share the cores with what is measured. After each case stock and\nreservations were summed up: \
             no piece was reserved twice, and there was a reservation for every 201.",
            PGBENCH_SCRIPT
                .lines()
                .skip(1)
                .fold(String::new(), |mut sql, line| {
                    let _ = writeln!(sql, "{line}");
                    sql
                }),
            round.as_secs(),
        ),
        columns: ["", "Buyers", "stock-service/s", "obvious SQL/s", "Ratio"]
            .map(str::to_owned)
            .into(),
        rows,
        targets,
    })
}

/// The reference.
struct PgbenchBaseline<'a> {
    context: &'a Context,
    database: String,
    script: NamedTempFile,
}

impl<'a> PgbenchBaseline<'a> {
    async fn prepare(context: &'a Context) -> anyhow::Result<Self> {
        let database = databases::create(context, "bench_obvious").await?;
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

    async fn measure_rate(&self, products: u32, buyers: usize, round: Duration) -> anyhow::Result<f64> {
        databases::checkpoint(&self.database).await?;
        let output = Command::new(&self.context.addresses.pgbench)
            .args(["--no-vacuum", "--protocol=prepared"])
            .arg(format!("--define=products={products}"))
            .arg(format!("--client={buyers}"))
            .arg(format!("--time={}", round.as_secs()))
            .arg("--file")
            .arg(self.script.path())
            .arg(&self.database)
            .output()
            .context("cannot run pgbench")?;
        let said = String::from_utf8_lossy(&output.stdout);
        said.lines()
            .find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok())
            .with_context(|| {
                format!(
                    "pgbench failed:\n{said}{}",
                    String::from_utf8_lossy(&output.stderr)
                )
            })
    }
}
