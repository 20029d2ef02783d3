//! stock-service with a database of its own, and buyers.

use std::time::Duration;

use anyhow::ensure;
use domain::ids::uuid_v7;
use sqlx::{Connection as _, Executor as _, PgConnection};

use crate::{
    aws_stub,
    context::Context,
    databases,
    load_generator::{self, LoadResult},
    process::{ServiceProcess, service_environment},
};

/// What is there of each product: nobody is refused.
const AMPLE_QUANTITY: i64 = 1_000_000_000;

/// The product of which there is too little.
const SCARCE_PRODUCT: u32 = 1001;

/// How much there is of it.
pub const SCARCE_QUANTITY: u64 = 2_000;

/// Products as stock-service needs them to be there.
const INSERT_PRODUCTS: &str = "
    INSERT INTO products (id, name, description, translations, price, currency, category, created_at, updated_at)
    SELECT ('00000000-0000-7000-8000-' || lpad(id::text, 12, '0'))::uuid, 'Tea bowl', '', '{}', 100, 'JPY', 'tea',
           now(), now()
    FROM generate_series(1, 1001) AS id;";

/// stock-service, with a database of its own.
pub struct StockService<'a> {
    context: &'a Context,
    /// The running program.
    pub process: ServiceProcess,
    database: String,
    token: String,
    accepted_reservations: u64,
}

impl<'a> StockService<'a> {
    /// Starts it with 1,000 products that nobody can buy up, and one that is scarce.
    ///
    /// # Errors
    /// When the database or the program refuses.
    pub async fn start(context: &'a Context) -> anyhow::Result<Self> {
        let database = databases::create_migrated(context, "bench_stock").await?;
        let mut connection = PgConnection::connect(&database).await?;
        connection.execute(INSERT_PRODUCTS).await?;
        sqlx::query(
            "INSERT INTO stock (product_id, quantity, reserved, updated_at)
             SELECT id, CASE WHEN id = $1 THEN $2 ELSE $3 END, 0, now() FROM products",
        )
        .bind(product_id(SCARCE_PRODUCT).parse::<uuid::Uuid>()?)
        .bind(SCARCE_QUANTITY.cast_signed())
        .bind(AMPLE_QUANTITY)
        .execute(&mut connection)
        .await?;
        let aws = aws_stub::start(aws_stub::Secrets::new())?;
        let surroundings = service_environment(context, &aws, &database);
        Ok(Self {
            context,
            process: ServiceProcess::start(&context.executable("stock-service"), &[], &surroundings).await?,
            token: context.service_token()?,
            database,
            accepted_reservations: 0,
        })
    }

    /// Reservations per second, of a piece of one of the first `products`, chosen at random.
    ///
    /// # Errors
    /// When anybody is answered with anything but 201.
    pub async fn measure_rate(
        &mut self,
        products: u32,
        buyers: usize,
        round: Duration,
    ) -> anyhow::Result<f64> {
        databases::checkpoint(&self.database).await?;
        let answers = self
            .send_reservations(buyers, round, u64::MAX, |number| 1 + number % products)
            .await?;
        ensure!(
            answers.statuses.len() == 1,
            "not every buyer was served: {:?}",
            answers.statuses
        );
        Ok(answers.per_second(201))
    }

    /// Sends more buyers than there are pieces; returns how many got one.
    ///
    /// # Errors
    /// When the others are not refused.
    pub async fn sell_out(&mut self) -> anyhow::Result<u64> {
        let long_enough = Duration::from_secs(60);
        let answers = self
            .send_reservations(64, long_enough, 2 * SCARCE_QUANTITY, |_| SCARCE_PRODUCT)
            .await?;
        let (sold, refused) = (answers.count(201), answers.count(409));
        ensure!(
            sold + refused == 2 * SCARCE_QUANTITY,
            "neither sold nor refused: {:?}",
            answers.statuses
        );
        Ok(sold)
    }

    async fn send_reservations(
        &mut self,
        buyers: usize,
        during: Duration,
        requests: u64,
        choose: impl Fn(u32) -> u32,
    ) -> anyhow::Result<LoadResult> {
        let (token, clock) = (&self.token, &self.context.clock);
        let mut left = requests;
        let answers = load_generator::run(&self.process.address, buyers, during, |request| {
            if left == 0 {
                return false;
            }
            left -= 1;
            let body = format!(
                r#"{{"reservation_id":"{}","items":[{{"product_id":"{}","quantity":1}}]}}"#,
                uuid_v7(clock.now()),
                product_id(choose(rand::random())),
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
        self.accepted_reservations += answers.count(201);
        Ok(answers)
    }

    /// Compares what stock says is reserved with what the reservations hold, and these with what was answered.
    ///
    /// # Errors
    /// When they differ, or a product is oversold.
    pub async fn check_consistency(&self) -> anyhow::Result<()> {
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
            held.cast_unsigned() == self.accepted_reservations,
            "{held} pieces are reserved, {} reservations were answered with 201",
            self.accepted_reservations
        );
        Ok(())
    }
}

fn product_id(number: u32) -> String {
    format!("00000000-0000-7000-8000-{number:012}")
}
