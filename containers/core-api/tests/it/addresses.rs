//! One's own addresses.

use std::fmt::Write;

use insta::{assert_json_snapshot, assert_snapshot};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::{
    authentication::TestUser,
    support::{RequestBuilderExt, TestApp, TestResponse},
};

const ADDRESSES_PATH: &str = "/v1/me/addresses";

fn valid_address() -> Value {
    json!({
        "recipient": "山田花子", "country": "JP", "postal_code": "150-0001", "region": "東京都", "city": "渋谷区",
        "line1": "神宮前1-2-3", "line2": "まつり荘 301", "phone": "+81 3-1234-5678",
    })
}

async fn create_address(app: &TestApp, person: &TestUser, address: &Value) -> TestResponse {
    app.post(ADDRESSES_PATH)
        .bearer_auth(person.token())
        .json(address)
        .fetch()
        .await
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn addresses_are_added_read_replaced_and_removed(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let someone = app.customer().await;
    let token = someone.token();
    let added = create_address(&app, &someone, &valid_address()).await;
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
    let place = added.header("location").to_owned();
    assert_eq!(place, format!("{ADDRESSES_PATH}/{}", added.body_str("id")));
    let read = app.get(&place).bearer_auth(&token).fetch().await;
    assert_eq!((read.status, &read.body), (200, &added.body));

    let mut moved = valid_address();
    moved["line1"] = json!("道玄坂4-5-6");
    moved.as_object_mut().unwrap().remove("line2");
    let replaced = app.put(&place).bearer_auth(&token).json(&moved).fetch().await;
    assert_eq!(
        (replaced.status, &replaced.body["line1"], &replaced.body["line2"]),
        (200, &json!("道玄坂4-5-6"), &Value::Null)
    );
    assert_eq!(replaced.body["created_at"], added.body["created_at"]);

    create_address(&app, &someone, &valid_address()).await;
    let list = app.get(ADDRESSES_PATH).bearer_auth(&token).fetch().await;
    assert_eq!(list.body["items"].as_array().unwrap().len(), 2);
    assert_eq!(list.body["items"][0], replaced.body);
    for expected in [204, 404] {
        let removal = app.delete(&place).bearer_auth(&token).fetch().await;
        assert_eq!(removal.status, expected);
    }
    let list = app.get(ADDRESSES_PATH).bearer_auth(&token).fetch().await;
    assert_eq!(list.body["items"].as_array().unwrap().len(), 1);
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn anothers_address_is_as_good_as_none(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let (owner, stranger) = (app.customer().await, app.customer().await);
    let added = create_address(&app, &owner, &valid_address()).await;
    let place = added.header("location");
    for token in [stranger.token(), app.admin_token.clone()] {
        let mut answers = Vec::new();
        for place in [
            place,
            &format!("{ADDRESSES_PATH}/00000000-0000-7000-8000-000000000000"),
        ] {
            answers.push((
                app.get(place).bearer_auth(&token).fetch().await,
                app.put(place)
                    .bearer_auth(&token)
                    .json(&valid_address())
                    .fetch()
                    .await,
                app.delete(place).bearer_auth(&token).fetch().await,
            ));
        }
        assert_eq!(format!("{:?}", answers[0]), format!("{:?}", answers[1]));
        assert_eq!(answers[0].0.problem(), "404 not-found");
    }
    let read = app.get(place).bearer_auth(owner.token()).fetch().await;
    assert_eq!(read.body, added.body, "it is untouched");
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn there_are_twenty_at_most_also_when_they_are_added_at_once(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let someone = app.customer().await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..25 {
        let request = app
            .post(ADDRESSES_PATH)
            .bearer_auth(someone.token())
            .json(&valid_address());
        tasks.spawn(request.fetch());
    }
    let mut answers: Vec<u16> = tasks
        .join_all()
        .await
        .into_iter()
        .map(|answer| answer.status)
        .collect();
    answers.sort_unstable();
    assert_eq!(answers, [vec![201; 20], vec![409; 5]].concat());
    assert_eq!(
        create_address(&app, &someone, &valid_address()).await.problem(),
        "409 too-many-addresses"
    );
    assert_eq!(
        create_address(&app, &app.customer().await, &valid_address())
            .await
            .status,
        201,
        "each their own"
    );
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn addresses_that_make_no_sense(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let someone = app.customer().await;
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
        ("country in words", with("country", json!("Japan"))),
        ("small country", with("country", json!("jp"))),
        ("odd postal code", with("postal_code", json!("〒150"))),
        ("odd phone", with("phone", json!("call me"))),
        ("no city", with("city", Value::Null)),
        (
            "an owner",
            with("user_id", json!("00000000-0000-7000-8000-000000000000")),
        ),
        ("an id", with("id", json!("00000000-0000-7000-8000-000000000000"))),
    ] {
        let answer = create_address(&app, &someone, &address).await;
        writeln!(table, "{case:<18} {}", answer.problem()).unwrap();
    }
    assert_snapshot!(table, @r"
    no recipient       422 invalid-body /recipient: expected 1 to 100 characters on one line
    two lines          422 invalid-body /recipient: expected 1 to 100 characters on one line
    NUL                422 invalid-body /city: expected 1 to 100 characters on one line
    long line          422 invalid-body /line1: expected 1 to 100 characters on one line
    country in words   422 invalid-body /country: expected a country of ISO 3166-1 in two capital letters
    small country      422 invalid-body /country: expected a country of ISO 3166-1 in two capital letters
    odd postal code    422 invalid-body /postal_code: expected 1 to 16 letters, digits, blanks and hyphens
    odd phone          422 invalid-body /phone: expected a telephone number of 3 to 30 digits, blanks, hyphens and brackets, after a plus or not
    no city            422 invalid-body /city: invalid type: null, expected a string
    an owner           422 invalid-body /user_id: unknown field `user_id`, expected one of `recipient`, `country`, `postal_code`, `region`, `city`, `line1`, `line2`, `phone`
    an id              422 invalid-body /id: unknown field `id`, expected one of `recipient`, `country`, `postal_code`, `region`, `city`, `line1`, `line2`, `phone`
    ");
    let list = app.get(ADDRESSES_PATH).bearer_auth(someone.token()).fetch().await;
    assert_eq!(list.body["items"], json!([]));
}
