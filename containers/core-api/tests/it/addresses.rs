//! The user's own addresses.

use std::fmt::Write;

use insta::{assert_json_snapshot, assert_snapshot};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::{
    support::{RequestBuilderExt, TestApp, TestResponse},
    test_user::TestUser,
};

const ADDRESSES_PATH: &str = "/v1/me/addresses";

fn valid_address() -> Value {
    json!({
        "recipient": "山田花子", "country": "JP", "postal_code": "150-0001", "region": "東京都", "city": "渋谷区",
        "line1": "神宮前1-2-3", "line2": "まつり荘 301", "phone": "+81 3-1234-5678",
    })
}

async fn create_address(app: &TestApp, user: &TestUser, address: &Value) -> TestResponse {
    app.post(ADDRESSES_PATH)
        .bearer_auth(user.token())
        .json(address)
        .fetch()
        .await
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn addresses_are_added_read_replaced_and_removed(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let user = app.customer().await;
    let token = user.token();
    let added = create_address(&app, &user, &valid_address()).await;
    assert_json_snapshot!(added, {
        ".headers.location" => "[location]", ".body.id" => "[id]",
        ".body.created_at" => "[time]", ".body.updated_at" => "[time]",
    }, @r#"
    {
      "status": 201,
      "headers": {
        "content-type": "application/json",
        "location": "[location]"
      },
      "body": {
        "city": "渋谷区",
        "country": "JP",
        "created_at": "[time]",
        "id": "[id]",
        "line1": "神宮前1-2-3",
        "line2": "まつり荘 301",
        "phone": "+81 3-1234-5678",
        "postal_code": "150-0001",
        "recipient": "山田花子",
        "region": "東京都",
        "updated_at": "[time]"
      }
    }
    "#);
    let path = added.header("location").to_owned();
    assert_eq!(path, format!("{ADDRESSES_PATH}/{}", added.body_str("id")));
    let read = app.get(&path).bearer_auth(&token).fetch().await;
    assert_eq!((read.status, &read.body), (200, &added.body));

    let mut moved = valid_address();
    moved["line1"] = json!("道玄坂4-5-6");
    moved.as_object_mut().unwrap().remove("line2");
    let replaced = app.put(&path).bearer_auth(&token).json(&moved).fetch().await;
    assert_eq!(
        (replaced.status, &replaced.body["line1"], &replaced.body["line2"]),
        (200, &json!("道玄坂4-5-6"), &Value::Null)
    );
    assert_eq!(replaced.body["created_at"], added.body["created_at"]);

    create_address(&app, &user, &valid_address()).await;
    let list = app.get(ADDRESSES_PATH).bearer_auth(&token).fetch().await;
    assert_eq!(list.body["items"].as_array().unwrap().len(), 2);
    assert_eq!(list.body["items"][0], replaced.body);
    for expected in [204, 404] {
        let removal = app.delete(&path).bearer_auth(&token).fetch().await;
        assert_eq!(removal.status, expected);
    }
    let list = app.get(ADDRESSES_PATH).bearer_auth(&token).fetch().await;
    assert_eq!(list.body["items"].as_array().unwrap().len(), 1);
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn another_users_address_is_not_found(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let (owner, other) = (app.customer().await, app.customer().await);
    let added = create_address(&app, &owner, &valid_address()).await;
    let path = added.header("location");
    for token in [other.token(), app.admin_token.clone()] {
        let mut responses = Vec::new();
        for path in [
            path,
            &format!("{ADDRESSES_PATH}/00000000-0000-7000-8000-000000000000"),
        ] {
            responses.push((
                app.get(path).bearer_auth(&token).fetch().await,
                app.put(path)
                    .bearer_auth(&token)
                    .json(&valid_address())
                    .fetch()
                    .await,
                app.delete(path).bearer_auth(&token).fetch().await,
            ));
        }
        assert_eq!(format!("{:?}", responses[0]), format!("{:?}", responses[1]));
        assert_eq!(responses[0].0.problem(), "404 not-found");
    }
    let read = app.get(path).bearer_auth(owner.token()).fetch().await;
    assert_eq!(read.body, added.body, "the address is unchanged");
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn limits_addresses_to_twenty_under_concurrency(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let user = app.customer().await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..25 {
        let request = app
            .post(ADDRESSES_PATH)
            .bearer_auth(user.token())
            .json(&valid_address());
        tasks.spawn(request.fetch());
    }
    let mut responses: Vec<u16> = tasks
        .join_all()
        .await
        .into_iter()
        .map(|response| response.status)
        .collect();
    responses.sort_unstable();
    assert_eq!(responses, [vec![201; 20], vec![409; 5]].concat());
    assert_eq!(
        create_address(&app, &user, &valid_address()).await.problem(),
        "409 too-many-addresses"
    );
    assert_eq!(
        create_address(&app, &app.customer().await, &valid_address())
            .await
            .status,
        201,
        "the limit applies per user"
    );
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn rejects_invalid_addresses(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let user = app.customer().await;
    let with = |member: &str, value: Value| {
        let mut address = valid_address();
        address[member] = value;
        address
    };
    let mut table = String::new();
    for (case, address) in [
        ("no recipient", with("recipient", json!(""))),
        ("two lines", with("recipient", json!("Hanako\nX-Evil: 1"))),
        ("NUL", with("city", json!("nul\u{0}"))),
        ("long line", with("line1", json!("あ".repeat(101)))),
        ("country name", with("country", json!("Japan"))),
        ("lower-case country", with("country", json!("jp"))),
        ("postal code symbol", with("postal_code", json!("〒150"))),
        ("phone in words", with("phone", json!("call me"))),
        ("city null", with("city", Value::Null)),
        (
            "user id",
            with("user_id", json!("00000000-0000-7000-8000-000000000000")),
        ),
        ("id", with("id", json!("00000000-0000-7000-8000-000000000000"))),
    ] {
        let response = create_address(&app, &user, &address).await;
        writeln!(table, "{case:<18} {}", response.problem()).unwrap();
    }
    assert_snapshot!(table, @r"
    no recipient       422 invalid-body /recipient: expected 1 to 100 characters on one line
    two lines          422 invalid-body /recipient: expected 1 to 100 characters on one line
    NUL                422 invalid-body /city: expected 1 to 100 characters on one line
    long line          422 invalid-body /line1: expected 1 to 100 characters on one line
    country name       422 invalid-body /country: expected a country of ISO 3166-1 in two capital letters
    lower-case country 422 invalid-body /country: expected a country of ISO 3166-1 in two capital letters
    postal code symbol 422 invalid-body /postal_code: expected 1 to 16 letters, digits, blanks and hyphens
    phone in words     422 invalid-body /phone: expected a telephone number of 3 to 30 digits, blanks, hyphens and brackets, after a plus or not
    city null          422 invalid-body /city: invalid type: null, expected a string
    user id            422 invalid-body /user_id: unknown field `user_id`, expected one of `recipient`, `country`, `postal_code`, `region`, `city`, `line1`, `line2`, `phone`
    id                 422 invalid-body /id: unknown field `id`, expected one of `recipient`, `country`, `postal_code`, `region`, `city`, `line1`, `line2`, `phone`
    ");
    let list = app.get(ADDRESSES_PATH).bearer_auth(user.token()).fetch().await;
    assert_eq!(list.body["items"], json!([]));
}
