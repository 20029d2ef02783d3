//! A stock-service process with its own database, and load that reserves stock.

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

/// Initial stock of each product: no reservation fails.
const AMPLE_QUANTITY: i64 = 1_000_000_000;

/// The number of the product with too little stock.
const SCARCE_PRODUCT: u32 = 1001;

/// Initial stock of the scarce product.
pub const SCARCE_QUANTITY: u64 = 2_000;

/// Inserts the products that the stock rows reference.
const INSERT_PRODUCTS: &str = "
    INSERT INTO catalog.products (id, name, description, translations, price, currency, category,
                                  created_at, updated_at)
    SELECT ('00000000-0000-7000-8000-' || lpad(id::text, 12, '0'))::uuid, 'Tea bowl', '', '{}', 100, 'JPY',
           'tea', now(), now()
    FROM generate_series(1, 1001) AS id;";

/// A stock-service process with its own database.
pub struct StockService<'a> {
    context: &'a Context,
    pub process: ServiceProcess,
    database: String,
    token: String,
    accepted_reservations: u64,
}

impl<'a> StockService<'a> {
    /// Starts stock-service with 1,000 products with ample stock and one scarce product.
    ///
    /// # Errors
    /// Fails when the database cannot be created or the service does not start.
    pub async fn start(context: &'a Context) -> anyhow::Result<Self> {
        let database = databases::create_migrated(context, "bench_stock").await?;
        let mut connection = PgConnection::connect(&database).await?;
        connection.execute(INSERT_PRODUCTS).await?;
        sqlx::query(
            "INSERT INTO inventory.stock (product_id, quantity, reserved, updated_at)
             SELECT id, CASE WHEN id = $1 THEN $2 ELSE $3 END, 0, now() FROM catalog.products",
        )
        .bind(product_id(SCARCE_PRODUCT).parse::<uuid::Uuid>()?)
        .bind(SCARCE_QUANTITY.cast_signed())
        .bind(AMPLE_QUANTITY)
        .execute(&mut connection)
        .await?;
        let aws = aws_stub::start(aws_stub::Secrets::new())?;
        let role_url = databases::url_of_role(&database, "stock_service")?;
        let environment = service_environment(context, &aws, &role_url);
        Ok(Self {
            context,
            process: ServiceProcess::start(&context.executable("stock-service"), &[], &environment).await?,
            token: context.service_token()?,
            database,
            accepted_reservations: 0,
        })
    }

    /// Returns reservations per second. Each reserves one unit of a random product of the first `products`.
    ///
    /// # Errors
    /// Fails when a response has another status than 201.
    pub async fn measure_rate(
        &mut self,
        products: u32,
        clients: usize,
        round: Duration,
    ) -> anyhow::Result<f64> {
        databases::checkpoint(&self.database).await?;
        let result = self
            .send_reservations(clients, round, u64::MAX, |number| 1 + number % products)
            .await?;
        ensure!(
            result.statuses.keys().eq([&201]),
            "not every reservation was accepted: {:?}",
            result.statuses
        );
        Ok(result.per_second(201))
    }

    /// Sends twice as many reservations as there are units. Returns how many were accepted.
    ///
    /// # Errors
    /// Fails when a response is neither 201 nor 409.
    pub async fn sell_out(&mut self) -> anyhow::Result<u64> {
        let time_limit = Duration::from_secs(60);
        let result = self
            .send_reservations(64, time_limit, 2 * SCARCE_QUANTITY, |_| SCARCE_PRODUCT)
            .await?;
        let (sold, rejected) = (result.count(201), result.count(409));
        ensure!(
            sold + rejected == 2 * SCARCE_QUANTITY,
            "unexpected response statuses: {:?}",
            result.statuses
        );
        Ok(sold)
    }

    async fn send_reservations(
        &mut self,
        clients: usize,
        during: Duration,
        requests: u64,
        choose_product: impl Fn(u32) -> u32,
    ) -> anyhow::Result<LoadResult> {
        let (token, clock) = (&self.token, &self.context.clock);
        let mut remaining = requests;
        let result = load_generator::run(&self.process.address, clients, during, |request| {
            if remaining == 0 {
                return false;
            }
            remaining -= 1;
            let body = format!(
                r#"{{"reservation_id":"{}","items":[{{"product_id":"{}","quantity":1}}]}}"#,
                uuid_v7(clock.now()),
                product_id(choose_product(rand::random())),
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
        self.accepted_reservations += result.count(201);
        Ok(result)
    }

    /// Compares the reserved quantities with the reservations, and these with the accepted requests.
    ///
    /// # Errors
    /// Fails when they differ or a product is oversold.
    pub async fn check_consistency(&self) -> anyhow::Result<()> {
        let (inconsistent, oversold, held): (i64, i64, i64) = sqlx::query_as(
            "SELECT count(*) FILTER (WHERE reserved <> coalesce(held, 0)),
                    count(*) FILTER (WHERE reserved > quantity),
                    coalesce(sum(held), 0)::bigint
             FROM inventory.stock LEFT JOIN (
                 SELECT product_id, sum(quantity)::bigint AS held
                 FROM inventory.reservation_items JOIN inventory.reservations USING (reservation_id)
                 WHERE status = 'reserved' GROUP BY product_id
             ) AS reservations USING (product_id)",
        )
        .fetch_one(&mut PgConnection::connect(&self.database).await?)
        .await?;
        ensure!(
            inconsistent == 0 && oversold == 0,
            "{inconsistent} products are inconsistent, {oversold} are oversold"
        );
        ensure!(
            held.cast_unsigned() == self.accepted_reservations,
            "{held} units are reserved, but {} reservations were accepted with 201",
            self.accepted_reservations
        );
        Ok(())
    }
}

fn product_id(number: u32) -> String {
    format!("00000000-0000-7000-8000-{number:012}")
}
