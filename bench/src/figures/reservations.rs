//! Reservations per second: stock-service over HTTP against the obvious SQL by pgbench, on the same PostgreSQL.

use std::{fmt::Write as _, time::Duration};

use anyhow::{Context as _, ensure};
use domain::ids::uuid_v7;
use sqlx::{Connection as _, Executor as _, PgConnection};
use tempfile::NamedTempFile;
use tokio::process::Command;

use crate::{
    aws,
    context::Context,
    databases,
    load::{self, Answers},
    process::{Service, variables},
    report::{Section, Target, times},
    spread::Spread,
};

/// Buyers at once.
const BUYERS: [usize; 3] = [16, 64, 256];

/// The hot product alone, and many products.
const SHAPES: [(&str, u32); 2] = [("1 hot product", 1), ("1,000 products", 1000)];

/// What is there of each product: nobody is refused.
const PLENTY: i64 = 1_000_000_000;

/// The product of which there is too little, and how much there is.
const SCARCE: u32 = 1001;
const SCARCE_PIECES: u64 = 2_000;

/// The reference's tables: no more than the two statements need.
const OBVIOUS_SCHEMA: &str = "
    CREATE TABLE stock (product_id bigint PRIMARY KEY, quantity bigint NOT NULL, reserved bigint NOT NULL)
        WITH (fillfactor = 50);
    CREATE TABLE reservations (reservation_id uuid PRIMARY KEY, product_id bigint NOT NULL, quantity bigint NOT NULL,
                               created_at timestamptz NOT NULL);
    INSERT INTO stock SELECT id, 1000000000, 0 FROM generate_series(1, 1000) AS id;";

/// The reference: what anybody would write.
const OBVIOUS_SCRIPT: &str = r"\set product random(1, :products)
BEGIN;
UPDATE stock SET reserved = reserved + 1 WHERE product_id = :product AND quantity - reserved >= 1;
INSERT INTO reservations VALUES (gen_random_uuid(), :product, 1, now());
COMMIT;
";

/// Products as stock-service needs them to be there.
const PRODUCTS: &str = "
    INSERT INTO products (id, name, description, translations, price, currency, category, created_at, updated_at)
    SELECT ('00000000-0000-7000-8000-' || lpad(id::text, 12, '0'))::uuid, 'Tea bowl', '', '{}', 100, 'JPY', 'tea',
           now(), now()
    FROM generate_series(1, 1001) AS id;";

/// Measures it.
pub async fn run(context: &Context) -> anyhow::Result<Section> {
    let obvious = Obvious::prepare(context).await?;
    let mut ours = Ours::start(context).await?;
    let round = Duration::from_secs(context.pick(4, 2));
    let rounds = context.pick(5, 3);

    let (mut rows, mut targets) = (Vec::new(), Vec::new());
    for (shape, products) in SHAPES {
        for buyers in BUYERS {
            eprintln!("    {shape}, {buyers} buyers");
            let (mut ours_rates, mut obvious_rates) = (Vec::new(), Vec::new());
            for _ in 0..rounds {
                obvious_rates.push(obvious.rate(products, buyers, round).await?);
                ours_rates.push(ours.rate(products, buyers, round).await?);
            }
            ours.check().await?;
            let (reached, reference) = (Spread::of(ours_rates), Spread::of(obvious_rates));
            let ratio = reached.median / reference.median;
            rows.push(vec![
                shape.to_owned(),
                buyers.to_string(),
                reached.to_string(),
                reference.to_string(),
                times(ratio),
            ]);
            let goal = if (products, buyers) == (1, 64) { 10.0 } else { 1.0 };
            targets.push(Target::at_least(format!("{shape}, {buyers} buyers"), goal, ratio));
        }
    }
    let sold = ours.sell_out().await?;
    ours.check().await?;
    targets.push(Target {
        what: format!("of {SCARCE_PIECES} pieces, with 64 buyers after them, are sold"),
        goal: SCARCE_PIECES.to_string(),
        reached: sold.to_string(),
        met: sold == SCARCE_PIECES,
    });
    ours.service.stop().await?;
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
            OBVIOUS_SCRIPT
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
struct Obvious<'a> {
    context: &'a Context,
    database: String,
    script: NamedTempFile,
}

impl<'a> Obvious<'a> {
    async fn prepare(context: &'a Context) -> anyhow::Result<Self> {
        let database = databases::create(context, "bench_obvious").await?;
        PgConnection::connect(&database)
            .await?
            .execute(OBVIOUS_SCHEMA)
            .await?;
        let script = NamedTempFile::new()?;
        std::fs::write(script.path(), OBVIOUS_SCRIPT)?;
        Ok(Self {
            context,
            database,
            script,
        })
    }

    async fn rate(&self, products: u32, buyers: usize, round: Duration) -> anyhow::Result<f64> {
        databases::settle(&self.database).await?;
        let output = Command::new(&self.context.addresses.pgbench)
            .args(["--no-vacuum", "--protocol=prepared"])
            .arg(format!("--define=products={products}"))
            .arg(format!("--client={buyers}"))
            .arg(format!("--time={}", round.as_secs()))
            .arg("--file")
            .arg(self.script.path())
            .arg(&self.database)
            .output()
            .await
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

/// stock-service, with a database of its own.
struct Ours<'a> {
    context: &'a Context,
    service: Service,
    database: String,
    token: String,
    reserved: u64,
}

impl<'a> Ours<'a> {
    async fn start(context: &'a Context) -> anyhow::Result<Self> {
        let database = databases::create_migrated(context, "bench_stock").await?;
        let mut connection = PgConnection::connect(&database).await?;
        connection.execute(PRODUCTS).await?;
        sqlx::query(
            "INSERT INTO stock (product_id, quantity, reserved, updated_at)
             SELECT id, CASE WHEN id = $1 THEN $2 ELSE $3 END, 0, now() FROM products",
        )
        .bind(product(SCARCE).parse::<uuid::Uuid>()?)
        .bind(SCARCE_PIECES.cast_signed())
        .bind(PLENTY)
        .execute(&mut connection)
        .await?;
        let aws = aws::start(aws::Secrets::new())?;
        let surroundings = variables(context, "services", &aws, &database);
        Ok(Self {
            context,
            service: Service::start(&context.executable("stock-service"), &surroundings).await?,
            token: context.service_token()?,
            database,
            reserved: 0,
        })
    }

    async fn rate(&mut self, products: u32, buyers: usize, round: Duration) -> anyhow::Result<f64> {
        databases::settle(&self.database).await?;
        let answers = self
            .load(buyers, round, u64::MAX, |number| 1 + number % products)
            .await?;
        ensure!(
            answers.statuses.len() == 1,
            "not every buyer was served: {:?}",
            answers.statuses
        );
        Ok(answers.per_second(201))
    }

    /// Sends more buyers than there are pieces; returns how many got one.
    async fn sell_out(&mut self) -> anyhow::Result<u64> {
        let long_enough = Duration::from_secs(60);
        let answers = self.load(64, long_enough, 2 * SCARCE_PIECES, |_| SCARCE).await?;
        let (sold, refused) = (answers.count(201), answers.count(409));
        ensure!(
            sold + refused == 2 * SCARCE_PIECES,
            "neither sold nor refused: {:?}",
            answers.statuses
        );
        Ok(sold)
    }

    async fn load(
        &mut self,
        buyers: usize,
        during: Duration,
        requests: u64,
        choose: impl Fn(u32) -> u32,
    ) -> anyhow::Result<Answers> {
        let (token, clock) = (&self.token, &self.context.clock);
        let mut left = requests;
        let answers = load::run(&self.service.address, buyers, during, |request| {
            if left == 0 {
                return false;
            }
            left -= 1;
            let body = format!(
                r#"{{"reservation_id":"{}","items":[{{"product_id":"{}","quantity":1}}]}}"#,
                uuid_v7(clock.now()),
                product(choose(rand::random())),
            );
            request.extend_from_slice(
                format!(
                    "POST /v1/reservations HTTP/1.1\r\nhost: stock\r\nauthorization: Bearer {token}\r\n\
                     content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                    body.len()
                )
                .as_bytes(),
            );
            true
        })
        .await?;
        self.reserved += answers.count(201);
        Ok(answers)
    }

    /// Compares what stock says is reserved with what the reservations hold, and these with what was answered.
    async fn check(&self) -> anyhow::Result<()> {
        let (wrong, oversold, held): (i64, i64, i64) = sqlx::query_as(
            "SELECT count(*) FILTER (WHERE reserved <> coalesce(held, 0)), count(*) FILTER (WHERE reserved > quantity),
                    coalesce(sum(held), 0)::bigint
             FROM stock LEFT JOIN (
                 SELECT product_id, sum(quantity)::bigint AS held
                 FROM reservation_items JOIN reservations USING (reservation_id)
                 WHERE status = 'reserved' GROUP BY product_id
             ) AS reservations USING (product_id)",
        )
        .fetch_one(&mut PgConnection::connect(&self.database).await?)
        .await?;
        ensure!(
            wrong == 0 && oversold == 0,
            "{wrong} products do not add up, {oversold} are oversold"
        );
        ensure!(
            held.cast_unsigned() == self.reserved,
            "{held} pieces are reserved, {} reservations were answered with 201",
            self.reserved
        );
        Ok(())
    }
}

fn product(number: u32) -> String {
    format!("00000000-0000-7000-8000-{number:012}")
}
