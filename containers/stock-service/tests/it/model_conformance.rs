//! Model conformance: the real engine on a real database and the reference model return the same outputs and
//! end with the same levels for random command sequences.

use std::collections::{BTreeMap, BTreeSet};

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

/// Each case has about ten batches of about five commands.
const CASES: usize = 25;

/// Starts two instances on one database with the products of the model.
async fn start_instances(pool: &PgPool) -> [TestApp; 2] {
    let first_app = TestApp::start(pool).await;
    for product in ReferenceModel::new().levels.into_keys() {
        first_app.insert_product(product).await;
    }
    let second_app = first_app.start_another().await;
    [first_app, second_app]
}

/// Resets the database and returns a new model in the same state.
async fn reset(app: &TestApp) -> ReferenceModel {
    sqlx::raw_sql(
        "DELETE FROM inventory.stock; DELETE FROM inventory.reservations;
         DELETE FROM inventory.reservation_items; DELETE FROM inventory.stock_adjustments;
         DELETE FROM outbox.inventory_events",
    )
    .execute(&app.pool)
    .await
    .unwrap();
    let mut model = ReferenceModel::new();
    model.now = app.clock.now();
    model
        .levels
        .values_mut()
        .for_each(|level| level.updated_at = model.now);
    sqlx::query(
        "INSERT INTO inventory.stock (product_id, quantity, reserved, updated_at)
         SELECT UNNEST($1), 0, 0, $2",
    )
    .bind(model.levels.keys().map(|id| id.0).collect::<Vec<Uuid>>())
    .bind(model.now)
    .execute(&app.pool)
    .await
    .unwrap();
    model
}

async fn read_stock_levels(pool: &PgPool) -> BTreeMap<ProductId, StockLevel> {
    let rows = sqlx::query("SELECT * FROM inventory.stock")
        .fetch_all(pool)
        .await
        .unwrap();
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
async fn engine_conforms_to_the_reference_model(pool: PgPool) {
    let instances = start_instances(&pool).await;
    let mut runner = TestRunner::default();
    for _ in 0..CASES {
        let batches = any_batches().new_tree(&mut runner).unwrap().current();
        let mut model = reset(&instances[0]).await;
        for (number, (seconds, ops)) in batches.iter().enumerate() {
            let app = &instances[number % 2];
            app.clock.advance(*seconds);
            model.now = app.clock.now();
            let outputs = join_all(ops.iter().map(|op| op.submit_to(&app.engine))).await;
            assert_eq!(outputs, model.apply_batch(ops), "batch {number} of {batches:#?}");
            assert_eq!(
                read_stock_levels(&pool).await,
                model.levels,
                "batch {number} of {batches:#?}"
            );
            app.assert_consistent().await;
        }
    }
}

/// The order of the commands is undefined, but the levels are consistent and both instances return the same
/// results.
#[sqlx::test(migrator = "database::MIGRATOR")]
async fn two_concurrent_instances_stay_consistent(pool: PgPool) {
    let instances = start_instances(&pool).await;
    let [first_app, second_app] = &instances;
    let mut runner = TestRunner::default();
    for _ in 0..CASES {
        let batches = any_batches().new_tree(&mut runner).unwrap().current();
        reset(first_app).await;
        for (seconds, ops) in &batches {
            first_app.clock.advance(*seconds);
            // The commands alternate between the instances; both receive the last one.
            let submit = |app: &TestApp, first: usize| {
                let engine = app.engine.clone();
                let ops = ops.iter().skip(first).step_by(2).chain(ops.last());
                async move { join_all(ops.map(|op| op.submit_to(&engine))).await }
            };
            tokio::join!(submit(first_app, 0), submit(second_app, 1));
            first_app.assert_consistent().await;
        }
        // Repeated commands change nothing on either instance, except those that found their stock held.
        let (_, ops) = batches.last().unwrap();
        let known: BTreeSet<Uuid> = sqlx::query_scalar("SELECT reservation_id FROM inventory.reservations")
            .fetch_all(&pool)
            .await
            .unwrap()
            .into_iter()
            .collect();
        let repeated: Vec<&Op> = ops
            .iter()
            .filter(|op| match op {
                Op::Reserve { id, .. } => known.contains(&Uuid::from_u128(*id)),
                op => matches!(op, Op::Adjust { .. }),
            })
            .collect();
        let before = read_stock_levels(&pool).await;
        let first = join_all(repeated.iter().map(|op| op.submit_to(&first_app.engine))).await;
        let second = join_all(repeated.iter().map(|op| op.submit_to(&second_app.engine))).await;
        assert_eq!(first, second, "{batches:#?}");
        assert_eq!(read_stock_levels(&pool).await, before, "{batches:#?}");
    }
}
