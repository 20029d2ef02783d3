//! Merging the cart of a guest into the cart of a user.

use serde_json::json;
use sqlx::PgPool;

use crate::{
    carts::{CartCredentials, get_cart, put_item, quantities, remove_item},
    support::{RequestBuilderExt, TestApp},
};

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn merges_the_anonymous_cart_once_after_sign_in(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let (bowl, whisk) = (
        app.create_product("Tea bowl", 7_500).await,
        app.create_product("Whisk", 2_200).await,
    );
    let token = app.customer().await.token();
    put_item(&app, CartCredentials::User(&token), &bowl, 9_994).await;
    let cart = put_item(&app, CartCredentials::Anonymous, &bowl, 5)
        .await
        .body_str("cart_token");
    put_item(&app, CartCredentials::CartToken(&cart), &whisk, 2).await;

    // Ten concurrent requests carry the token of the anonymous cart.
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..10 {
        tasks.spawn(
            CartCredentials::UserAndCart(&token, &cart)
                .apply_to(app.get("/v1/cart"))
                .fetch(),
        );
    }
    let merged = [(bowl.clone(), 9_999), (whisk.clone(), 2)];
    for response in tasks.join_all().await {
        assert_eq!(quantities(&response), merged);
    }
    assert_eq!(
        quantities(&get_cart(&app, CartCredentials::User(&token)).await),
        merged
    );
    assert_eq!(
        quantities(&get_cart(&app, CartCredentials::CartToken(&cart)).await),
        [],
        "the merged cart no longer exists"
    );

    // A request that adds or removes an item merges as well.
    let second = put_item(&app, CartCredentials::Anonymous, &whisk, 1)
        .await
        .body_str("cart_token");
    let response = put_item(&app, CartCredentials::UserAndCart(&token, &second), &bowl, 1).await;
    assert_eq!(quantities(&response), [(bowl.clone(), 1), (whisk.clone(), 3)]);
    let third = put_item(&app, CartCredentials::Anonymous, &bowl, 1)
        .await
        .body_str("cart_token");
    assert_eq!(
        remove_item(&app, CartCredentials::UserAndCart(&token, &third), &whisk)
            .await
            .status,
        204
    );
    assert_eq!(
        quantities(&get_cart(&app, CartCredentials::User(&token)).await),
        [(bowl, 2)]
    );
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn merging_carts_that_do_not_fit_together_changes_neither(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let token = app.customer().await.token();
    let user = CartCredentials::User(&token);
    let mut products = Vec::new();
    for number in 0..51 {
        products.push(app.create_product(&format!("Bowl {number}"), 100).await);
    }
    for product in &products[..50] {
        put_item(&app, user, product, 2).await;
    }
    let cart = put_item(&app, CartCredentials::Anonymous, &products[1], 4)
        .await
        .body_str("cart_token");
    let guest = CartCredentials::CartToken(&cart);
    let both = CartCredentials::UserAndCart(&token, &cart);
    put_item(&app, guest, &products[50], 1).await;
    let before = (
        quantities(&get_cart(&app, user).await),
        quantities(&get_cart(&app, guest).await),
    );
    let body = json!({"payment_method": "pm_card_visa"});
    let checkout = app.post("/v1/cart/checkout").header("Idempotency-Key", "key");
    for refused in [
        get_cart(&app, both).await,
        put_item(&app, both, &products[0], 1).await,
        remove_item(&app, both, &products[0]).await,
        both.apply_to(checkout).json(&body).fetch().await,
    ] {
        assert_eq!(refused.problem(), "409 cart-full");
    }
    let after = (
        quantities(&get_cart(&app, user).await),
        quantities(&get_cart(&app, guest).await),
    );
    assert_eq!(after, before);

    // There is room for the product, but not for so many units of another one.
    assert_eq!(remove_item(&app, user, &products[0]).await.status, 204);
    put_item(&app, user, &products[1], 9_996).await;
    assert_eq!(get_cart(&app, both).await.problem(), "409 cart-full");
    put_item(&app, user, &products[1], 9_995).await;
    let merged = quantities(&get_cart(&app, both).await);
    assert_eq!((merged.len(), merged[0].1), (50, 9_999));
    assert_eq!(quantities(&get_cart(&app, guest).await), []);
}
