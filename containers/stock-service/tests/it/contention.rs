//! Many at once: the sale, the same request many times over, and two instances on one database.

use std::collections::HashMap;

use domain::ProductId;
use futures::future::join_all;
use reqwest::StatusCode;
use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;

use crate::support::{TestApp, new_id, problem_slug};

/// Two hundred buyers: every second one wants a piece, every other one two, on two lines.
fn buyers(product: ProductId) -> Vec<(Uuid, Vec<(ProductId, u32)>)> {
    let lines = |buyer: usize| {
        if buyer.is_multiple_of(2) {
            vec![(product, 1)]
        } else {
            vec![(product, 1), (product, 1)]
        }
    };
    (0..200).map(|buyer| (new_id(), lines(buyer))).collect()
}

fn total_reserved(answers: &[(StatusCode, Value)]) -> i64 {
    let mut sold = 0;
    for (code, body) in answers {
        match code.as_u16() {
            201 => sold += body["items"][0]["quantity"].as_i64().unwrap(),
            409 => assert_eq!(problem_slug(body), "insufficient-stock"),
            other => panic!("{other}: {body}"),
        }
    }
    sold
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn two_hundred_buyers_for_fifty_units(pool: PgPool) {
    let shop = TestApp::start(&pool).await;
    let product = shop.create_product_with_stock(50).await;
    let buyers = buyers(product);
    let answers = join_all(buyers.iter().map(|(id, lines)| shop.reserve(*id, lines))).await;
    assert_eq!(total_reserved(&answers), 50);
    assert_eq!(shop.stock_level(product).await, (50, 50));

    let commits = join_all(buyers.iter().map(|(id, _)| shop.commit(*id))).await;
    for (reserved, committed) in answers.iter().zip(&commits) {
        assert_eq!(reserved.0 == 201, committed.0 == 200, "{}", committed.1);
    }
    assert_eq!(shop.stock_level(product).await, (0, 0));
    shop.assert_consistent().await;
}

/// Each order reaches both instances, as a retry after a lost answer does.
#[sqlx::test(migrator = "database::MIGRATOR")]
async fn two_instances_race_for_the_same_orders(pool: PgPool) {
    let here = TestApp::start(&pool).await;
    let there = here.start_another().await;
    let products = [
        here.create_product_with_stock(50).await,
        here.create_product_with_stock(1_000).await,
    ];
    let mut orders = buyers(products[0]);
    for (buyer, (_, lines)) in orders.iter_mut().enumerate() {
        // In another order of the lines each, which must not become another order of the locks.
        lines.insert(buyer % 2, (products[1], 1));
    }
    let ask = |shop: &TestApp| {
        let shop = shop.clone();
        let orders = orders.clone();
        async move { join_all(orders.iter().map(|(id, lines)| shop.reserve(*id, lines))).await }
    };
    let (answers_here, answers_there) = tokio::join!(ask(&here), ask(&there));
    assert_eq!(answers_here, answers_there);

    let by_product = |answers: &[(StatusCode, Value)], product: ProductId| -> i64 {
        let items = answers
            .iter()
            .filter(|(code, _)| *code == 201)
            .flat_map(|(_, body)| body["items"].as_array().unwrap());
        items
            .filter(|item| item["product_id"] == product.to_string())
            .map(|item| item["quantity"].as_i64().unwrap())
            .sum()
    };
    assert_eq!(by_product(&answers_here, products[0]), 50);

    // Whether each ends as sold or as released, both instances say the same of it, and the sums are exact.
    let end = |shop: &TestApp, sell_first: bool| {
        let shop = shop.clone();
        let ids: Vec<Uuid> = orders.iter().map(|(id, _)| *id).collect();
        async move {
            join_all(ids.iter().map(async |id| {
                if sell_first {
                    shop.commit(*id).await
                } else {
                    shop.release(*id).await
                }
            }))
            .await
        }
    };
    tokio::join!(end(&here, true), end(&there, false));
    for (id, _) in &orders {
        let path = format!("/v1/reservations/{id}");
        let (one, other) = (here.get(&path).await, there.get(&path).await);
        assert_eq!(one, other);
        assert!(
            ["released", "refused"].contains(&one.1["status"].as_str().unwrap()),
            "{}",
            one.1
        );
    }
    assert_eq!(here.stock_level(products[0]).await, (50, 0));
    here.assert_consistent().await;
    assert_eq!(
        here.events("StockReserved").await.len(),
        answers_here.iter().filter(|a| a.0 == 201).count()
    );
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn the_same_request_many_times_at_once_counts_once(pool: PgPool) {
    let here = TestApp::start(&pool).await;
    let there = here.start_another().await;
    let product = here.create_product_with_stock(100).await;
    let (id, adjustment) = (new_id(), new_id());

    let both = [&here, &there];
    let lines = [(product, 3)];
    let reserved = join_all((0..40).map(|n| both[n % 2].reserve(id, &lines))).await;
    assert!(
        reserved
            .iter()
            .all(|answer| *answer == reserved[0] && answer.0 == 201)
    );
    assert_eq!(here.stock_level(product).await, (100, 3));

    let adjusted = join_all((0..40).map(|n| both[n % 2].adjust(product, adjustment, -7))).await;
    assert!(
        adjusted
            .iter()
            .all(|answer| *answer == adjusted[0] && answer.0 == 201)
    );
    assert_eq!(here.stock_level(product).await, (93, 3));

    let committed = join_all((0..40).map(|n| both[n % 2].commit(id))).await;
    assert!(
        committed
            .iter()
            .all(|answer| *answer == committed[0] && answer.0 == 200)
    );
    assert_eq!(here.stock_level(product).await, (90, 0));

    let released = join_all((0..40).map(|n| both[n % 2].release(id))).await;
    assert!(
        released
            .iter()
            .all(|answer| *answer == released[0] && answer.0 == 200)
    );
    assert_eq!(here.stock_level(product).await, (93, 0));
    here.assert_consistent().await;

    let mut told = HashMap::new();
    for kind in ["StockReserved", "StockReleased", "StockUpdated"] {
        told.insert(kind, here.events(kind).await.len());
    }
    // The delivery, the adjustment, the sale and the return.
    assert_eq!(
        told,
        HashMap::from([("StockReserved", 1), ("StockReleased", 1), ("StockUpdated", 4)])
    );
}

/// Both instances sweep, and somebody commits, at the very moment at which time has run out.
#[sqlx::test(migrator = "database::MIGRATOR")]
async fn what_expires_comes_back_once(pool: PgPool) {
    let here = TestApp::start(&pool).await;
    let there = here.start_another().await;
    let product = here.create_product_with_stock(300).await;
    let ids: Vec<Uuid> = (0..250).map(|_| new_id()).collect();
    let lines = [(product, 1)];
    join_all(ids.iter().map(|id| here.reserve_for(*id, &lines, 30))).await;
    let kept = new_id();
    here.reserve_for(kept, &lines, 31).await;
    assert_eq!(here.stock_level(product).await, (300, 251));

    here.clock.advance(30);
    let (_, _, commits) = tokio::join!(
        here.expire_due_reservations(),
        there.expire_due_reservations(),
        join_all(ids.iter().map(|id| there.commit(*id)))
    );
    assert!(
        commits
            .iter()
            .all(|(code, body)| *code == 409 && problem_slug(body) == "reservation-expired")
    );
    assert_eq!(
        here.stock_level(product).await,
        (300, 1),
        "the one whose time has not come is kept"
    );
    assert_eq!(here.events("StockReleased").await.len(), 250);
    here.assert_consistent().await;
}
