//! Contention: a flash sale, concurrent repetitions of the same request, and two instances on one database.

use std::collections::HashMap;

use domain::ProductId;
use futures::future::join_all;
use reqwest::StatusCode;
use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;

use crate::support::{TestApp, new_id, problem_slug};

/// 200 reservations: alternately one unit, and two units on two lines.
fn reservations(product: ProductId) -> Vec<(Uuid, Vec<(ProductId, u32)>)> {
    let lines = |number: usize| {
        if number.is_multiple_of(2) {
            vec![(product, 1)]
        } else {
            vec![(product, 1), (product, 1)]
        }
    };
    (0..200).map(|number| (new_id(), lines(number))).collect()
}

fn total_reserved(responses: &[(StatusCode, Value)]) -> i64 {
    let mut reserved = 0;
    for (code, body) in responses {
        match code.as_u16() {
            201 => reserved += body["items"][0]["quantity"].as_i64().unwrap(),
            409 => assert_eq!(problem_slug(body), "stock-held"),
            other => panic!("{other}: {body}"),
        }
    }
    reserved
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn sells_exactly_fifty_units_to_200_concurrent_requests(pool: PgPool) {
    let app = TestApp::start(&pool).await;
    let product = app.create_product_with_stock(50).await;
    let reservations = reservations(product);
    let responses = join_all(reservations.iter().map(|(id, lines)| app.reserve(*id, lines))).await;
    assert_eq!(total_reserved(&responses), 50);
    assert_eq!(app.stock_level(product).await, (50, 50));

    let commits = join_all(reservations.iter().map(|(id, _)| app.commit(*id))).await;
    for (reserved, committed) in responses.iter().zip(&commits) {
        assert_eq!(reserved.0 == 201, committed.0 == 200, "{}", committed.1);
    }
    assert_eq!(app.stock_level(product).await, (0, 0));
    app.assert_consistent().await;
}

/// Each order reaches both instances, like a retry after a lost response.
#[sqlx::test(migrator = "database::MIGRATOR")]
async fn two_instances_return_the_same_result_for_each_order(pool: PgPool) {
    let first_app = TestApp::start(&pool).await;
    let second_app = first_app.start_another().await;
    let products = [
        first_app.create_product_with_stock(50).await,
        first_app.create_product_with_stock(1_000).await,
    ];
    let mut orders = reservations(products[0]);
    for (number, (_, lines)) in orders.iter_mut().enumerate() {
        // The line order varies, which must not change the lock order.
        lines.insert(number % 2, (products[1], 1));
    }
    let reserve_all = |app: &TestApp| {
        let app = app.clone();
        let orders = orders.clone();
        async move { join_all(orders.iter().map(|(id, lines)| app.reserve(*id, lines))).await }
    };
    let (first_responses, second_responses) = tokio::join!(reserve_all(&first_app), reserve_all(&second_app));
    for (first, second) in first_responses.iter().zip(&second_responses) {
        if first.0 == 201 {
            assert_eq!(first, second);
        } else {
            // The number of units that are still available may have decreased in between.
            assert_eq!(
                (first.0, problem_slug(&first.1)),
                (second.0, problem_slug(&second.1))
            );
            assert_eq!(problem_slug(&first.1), "stock-held");
        }
    }

    let by_product = |responses: &[(StatusCode, Value)], product: ProductId| -> i64 {
        let items = responses
            .iter()
            .filter(|(code, _)| *code == 201)
            .flat_map(|(_, body)| body["items"].as_array().unwrap());
        items
            .filter(|item| item["product_id"] == product.to_string())
            .map(|item| item["quantity"].as_i64().unwrap())
            .sum()
    };
    assert_eq!(by_product(&first_responses, products[0]), 50);

    // Whether a reservation was committed first or not, both instances report the same final state.
    let commit_or_release_all = |app: &TestApp, commit: bool| {
        let app = app.clone();
        let ids: Vec<Uuid> = orders.iter().map(|(id, _)| *id).collect();
        async move {
            join_all(ids.iter().map(async |id| {
                if commit {
                    app.commit(*id).await
                } else {
                    app.release(*id).await
                }
            }))
            .await
        }
    };
    tokio::join!(
        commit_or_release_all(&first_app, true),
        commit_or_release_all(&second_app, false)
    );
    for (id, _) in &orders {
        let path = format!("/v1/reservations/{id}");
        let (one, other) = (first_app.get(&path).await, second_app.get(&path).await);
        assert_eq!(one, other);
        assert_eq!(one.1["status"], "released");
    }
    assert_eq!(first_app.stock_level(products[0]).await, (50, 0));
    first_app.assert_consistent().await;
    assert_eq!(
        first_app.events("StockReserved").await.len(),
        first_responses.iter().filter(|a| a.0 == 201).count()
    );
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn concurrent_repetitions_are_applied_once(pool: PgPool) {
    let first_app = TestApp::start(&pool).await;
    let second_app = first_app.start_another().await;
    let product = first_app.create_product_with_stock(100).await;
    let (id, adjustment) = (new_id(), new_id());

    let both = [&first_app, &second_app];
    let lines = [(product, 3)];
    let reserved = join_all((0..40).map(|n| both[n % 2].reserve(id, &lines))).await;
    assert!(
        reserved
            .iter()
            .all(|response| *response == reserved[0] && response.0 == 201)
    );
    assert_eq!(first_app.stock_level(product).await, (100, 3));

    let adjusted = join_all((0..40).map(|n| both[n % 2].adjust(product, adjustment, -7))).await;
    assert!(
        adjusted
            .iter()
            .all(|response| *response == adjusted[0] && response.0 == 201)
    );
    assert_eq!(first_app.stock_level(product).await, (93, 3));

    let committed = join_all((0..40).map(|n| both[n % 2].commit(id))).await;
    assert!(
        committed
            .iter()
            .all(|response| *response == committed[0] && response.0 == 200)
    );
    assert_eq!(first_app.stock_level(product).await, (90, 0));

    let released = join_all((0..40).map(|n| both[n % 2].release(id))).await;
    assert!(
        released
            .iter()
            .all(|response| *response == released[0] && response.0 == 200)
    );
    assert_eq!(first_app.stock_level(product).await, (93, 0));
    first_app.assert_consistent().await;

    let mut event_counts = HashMap::new();
    for event_type in ["StockReserved", "StockReleased", "StockUpdated"] {
        event_counts.insert(event_type, first_app.events(event_type).await.len());
    }
    // Initial delivery, adjustment, sale and return.
    assert_eq!(
        event_counts,
        HashMap::from([("StockReserved", 1), ("StockReleased", 1), ("StockUpdated", 4)])
    );
}

/// Both instances sweep, while clients commit, at the moment of the expiry.
#[sqlx::test(migrator = "database::MIGRATOR")]
async fn expired_units_are_returned_once(pool: PgPool) {
    let first_app = TestApp::start(&pool).await;
    let second_app = first_app.start_another().await;
    let product = first_app.create_product_with_stock(300).await;
    let ids: Vec<Uuid> = (0..250).map(|_| new_id()).collect();
    let lines = [(product, 1)];
    join_all(ids.iter().map(|id| first_app.reserve_for(*id, &lines, 30))).await;
    let unexpired = new_id();
    first_app.reserve_for(unexpired, &lines, 31).await;
    assert_eq!(first_app.stock_level(product).await, (300, 251));

    first_app.clock.advance(30);
    let (_, _, commits) = tokio::join!(
        first_app.expire_due_reservations(),
        second_app.expire_due_reservations(),
        join_all(ids.iter().map(|id| second_app.commit(*id)))
    );
    assert!(
        commits
            .iter()
            .all(|(code, body)| *code == 409 && problem_slug(body) == "reservation-expired")
    );
    assert_eq!(
        first_app.stock_level(product).await,
        (300, 1),
        "the reservation that has not expired is kept"
    );
    assert_eq!(first_app.events("StockReleased").await.len(), 250);
    first_app.assert_consistent().await;
}
