//! The real engine on a real database, against the model: whatever is asked in whatever order, both say the
//! same and come to the same levels.

use std::collections::BTreeMap;

use domain::ProductId;
use futures::future::join_all;
use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::TestRunner,
};
use sqlx::{PgPool, Row};
use stock_service::model::StockLevel;
use uuid::Uuid;

use crate::{
    reference_model::{Op, ReferenceModel, any_batches},
    support::TestApp,
};

/// Every case is some ten batches of some five commands.
const CASES: usize = 25;

/// Two instances on one database, with the products of the model.
async fn start_instances(pool: &PgPool) -> [TestApp; 2] {
    let here = TestApp::start(pool).await;
    for product in ReferenceModel::new().levels.into_keys() {
        here.insert_product(product).await;
    }
    let there = here.start_another().await;
    [here, there]
}

/// A world in which nothing has happened yet, in the store and in the model.
async fn reset(shop: &TestApp) -> ReferenceModel {
    sqlx::raw_sql(
        "DELETE FROM stock; DELETE FROM reservations; DELETE FROM reservation_items;
         DELETE FROM stock_adjustments; DELETE FROM event_outbox",
    )
    .execute(&shop.pool)
    .await
    .unwrap();
    let mut world = ReferenceModel::new();
    world.now = shop.clock.now();
    world
        .levels
        .values_mut()
        .for_each(|level| level.updated_at = world.now);
    sqlx::query("INSERT INTO stock (product_id, quantity, reserved, updated_at) SELECT UNNEST($1), 0, 0, $2")
        .bind(world.levels.keys().map(|id| id.0).collect::<Vec<Uuid>>())
        .bind(world.now)
        .execute(&shop.pool)
        .await
        .unwrap();
    world
}

async fn read_stock_levels(pool: &PgPool) -> BTreeMap<ProductId, StockLevel> {
    let rows = sqlx::query("SELECT * FROM stock").fetch_all(pool).await.unwrap();
    let level = |row: &sqlx::postgres::PgRow| StockLevel {
        quantity: row.get("quantity"),
        reserved: row.get("reserved"),
        updated_at: row.get("updated_at"),
    };
    rows.iter()
        .map(|row| (ProductId(row.get("product_id")), level(row)))
        .collect()
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn the_store_comes_to_what_the_model_comes_to(pool: PgPool) {
    let instances = start_instances(&pool).await;
    let mut runner = TestRunner::default();
    for _ in 0..CASES {
        let batches = any_batches().new_tree(&mut runner).unwrap().current();
        let mut world = reset(&instances[0]).await;
        for (number, (seconds, ops)) in batches.iter().enumerate() {
            let shop = &instances[number % 2];
            shop.clock.advance(*seconds);
            world.now = shop.clock.now();
            let answers = join_all(ops.iter().map(|op| op.submit_to(&shop.engine))).await;
            assert_eq!(answers, world.apply_batch(ops), "batch {number} of {batches:#?}");
            assert_eq!(
                read_stock_levels(&pool).await,
                world.levels,
                "batch {number} of {batches:#?}"
            );
            shop.assert_consistent().await;
        }
    }
}

/// Nobody can say which instance is faster; but the sums are exact, and both remember the same.
#[sqlx::test(migrator = "database::MIGRATOR")]
async fn two_instances_at_once_keep_the_sums(pool: PgPool) {
    let instances = start_instances(&pool).await;
    let [here, there] = &instances;
    let mut runner = TestRunner::default();
    for _ in 0..CASES {
        let batches = any_batches().new_tree(&mut runner).unwrap().current();
        reset(here).await;
        for (seconds, ops) in &batches {
            here.clock.advance(*seconds);
            // Every second command to each, and the last one to both.
            let asked = |shop: &TestApp, first: usize| {
                let engine = shop.engine.clone();
                let ops = ops.iter().skip(first).step_by(2).chain(ops.last());
                async move { join_all(ops.map(|op| op.submit_to(&engine))).await }
            };
            tokio::join!(asked(here, 0), asked(there, 1));
            here.assert_consistent().await;
        }
        // What was asked once more changes nothing, whoever is asked.
        let (_, ops) = batches.last().unwrap();
        let asked_again: Vec<&Op> = ops
            .iter()
            .filter(|op| matches!(op, Op::Reserve { .. } | Op::Adjust { .. }))
            .collect();
        let before = read_stock_levels(&pool).await;
        let first = join_all(asked_again.iter().map(|op| op.submit_to(&here.engine))).await;
        let second = join_all(asked_again.iter().map(|op| op.submit_to(&there.engine))).await;
        assert_eq!(first, second, "{batches:#?}");
        assert_eq!(read_stock_levels(&pool).await, before, "{batches:#?}");
    }
}
