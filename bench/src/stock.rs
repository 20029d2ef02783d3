//! stock-service with a database of its own, and buyers.

use std::time::Duration;

use anyhow::ensure;
use domain::ids::uuid_v7;
use sqlx::{Connection as _, Executor as _, PgConnection};

use crate::{
    aws,
    context::Context,
    databases,
    load::{self, Answers},
    process::{Service, variables},
};

/// What is there of each product: nobody is refused.
const PLENTY: i64 = 1_000_000_000;

/// The product of which there is too little.
const SCARCE: u32 = 1001;

/// How much there is of it.
pub const SCARCE_PIECES: u64 = 2_000;

/// Products as stock-service needs them to be there.
const PRODUCTS: &str = "
    INSERT INTO products (id, name, description, translations, price, currency, category, created_at, updated_at)
    SELECT ('00000000-0000-7000-8000-' || lpad(id::text, 12, '0'))::uuid, 'Tea bowl', '', '{}', 100, 'JPY', 'tea',
           now(), now()
    FROM generate_series(1, 1001) AS id;";

/// stock-service, with a database of its own.
pub struct Stock<'a> {
    context: &'a Context,
    /// The running program.
    pub service: Service,
    database: String,
    token: String,
    reserved: u64,
}

impl<'a> Stock<'a> {
    /// Starts it with 1,000 products that nobody can buy up, and one that is scarce.
    ///
    /// # Errors
    /// When the database or the program refuses.
    pub async fn start(context: &'a Context) -> anyhow::Result<Self> {
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
        let surroundings = variables(context, &aws, &database);
        Ok(Self {
            context,
            service: Service::start(&context.executable("stock-service"), &[], &surroundings).await?,
            token: context.service_token()?,
            database,
            reserved: 0,
        })
    }

    /// Reservations per second, of a piece of one of the first `products`, chosen at random.
    ///
    /// # Errors
    /// When anybody is answered with anything but 201.
    pub async fn rate(&mut self, products: u32, buyers: usize, round: Duration) -> anyhow::Result<f64> {
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
    ///
    /// # Errors
    /// When the others are not refused.
    pub async fn sell_out(&mut self) -> anyhow::Result<u64> {
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
    ///
    /// # Errors
    /// When they differ, or a product is oversold.
    pub async fn check(&self) -> anyhow::Result<()> {
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
