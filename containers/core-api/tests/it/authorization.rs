//! Every route × every role, from the description that the program gives of itself.

use std::{collections::BTreeMap, fmt::Write};

use insta::assert_snapshot;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::PgPool;
use tokens::{Permission, Role};

use crate::{
    authentication::TestUser,
    support::{RequestBuilderExt, TestApp, TestResponse},
};

/// An operation of the description, and what it says of who may use it.
struct Operation {
    method: Method,
    path: String,
    /// None: anyone may.
    permission: Option<Permission>,
    /// Whether it is there also for those who are not signed in.
    allows_anonymous: bool,
}

impl Operation {
    fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// Sends it to things that are not there, with nothing in it.
    async fn send(&self, app: &TestApp, token: Option<&str>) -> TestResponse {
        let path = self
            .path
            .split('/')
            .map(|part| {
                if part.starts_with('{') {
                    "00000000-0000-7000-8000-000000000000"
                } else {
                    part
                }
            })
            .collect::<Vec<_>>()
            .join("/");
        let request = app.request(self.method.clone(), path);
        match token {
            Some(token) => request.bearer_auth(token).fetch().await,
            None => request.fetch().await,
        }
    }
}

/// Every operation. One that does not say what it needs ends the test.
fn operations() -> Vec<Operation> {
    let document = serde_json::to_value(core_api::http::openapi_document()).unwrap();
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let name = format!("{method} {path}");
            let permission = match &operation["x-permission"] {
                Value::String(anyone) if anyone == "anyone" => None,
                Value::String(permission) => Some(
                    serde_json::from_value(json!(permission))
                        .unwrap_or_else(|_| panic!("{name} needs what there is not: {permission}")),
                ),
                other => panic!("nobody has decided who may use {name}: x-permission is {other}"),
            };
            let open = match &operation["security"] {
                Value::Null => true,
                Value::Array(ways) => ways.contains(&json!({})),
                other => panic!("{name}: {other}"),
            };
            assert!(
                permission.is_some() || open,
                "{name} is for anyone, and wants a token"
            );
            operations.push(Operation {
                method: method.to_uppercase().parse().unwrap(),
                path: path.clone(),
                permission,
                allows_anonymous: open,
            });
        }
    }
    operations
}

/// Who may use each operation, as the table in `access_tokens` has it. A new route is a line here.
#[test]
fn who_may_what() {
    let mut table = String::new();
    for operation in operations() {
        let mut who: Vec<String> = match operation.permission {
            None => vec!["anyone".to_owned()],
            Some(permission) => Role::ALL
                .into_iter()
                .filter(|role| role.has_permission(permission))
                .map(|role| role.to_string())
                .collect(),
        };
        if operation.allows_anonymous && operation.permission.is_some() {
            who.insert(0, "nobody".to_owned());
        }
        writeln!(table, "{:<44} {}", operation.name(), who.join(" ")).unwrap();
    }
    assert_snapshot!(table, @r"
    GET /v1/audit                                admin
    GET /v1/cart                                 nobody customer support admin
    POST /v1/cart/checkout                       customer support admin
    DELETE /v1/cart/items/{product_id}           nobody customer support admin
    PUT /v1/cart/items/{product_id}              nobody customer support admin
    GET /v1/categories                           anyone
    DELETE /v1/me                                customer support admin
    GET /v1/me                                   customer support admin
    PATCH /v1/me                                 customer support admin
    GET /v1/me/addresses                         customer support admin
    POST /v1/me/addresses                        customer support admin
    DELETE /v1/me/addresses/{id}                 customer support admin
    GET /v1/me/addresses/{id}                    customer support admin
    PUT /v1/me/addresses/{id}                    customer support admin
    GET /v1/me/export                            customer support admin
    GET /v1/orders                               customer support admin
    POST /v1/orders                              customer support admin
    GET /v1/orders/{id}                          customer support admin
    POST /v1/orders/{id}/cancel                  customer support admin
    GET /v1/products                             anyone
    POST /v1/products                            admin
    DELETE /v1/products/{id}                     admin
    GET /v1/products/{id}                        anyone
    PATCH /v1/products/{id}                      admin
    GET /v1/users                                support admin
    GET /v1/users/{id}                           support admin
    PUT /v1/users/{id}/role                      admin
    ");
}

/// What the description says is what the handlers do.
#[sqlx::test(migrator = "database::MIGRATOR")]
async fn every_route_keeps_out_everybody_who_may_not(pool: PgPool) {
    let app = TestApp::start(pool).await;
    for operation in operations() {
        let name = operation.name();
        let anonymous = operation.send(&app, None).await;
        assert_eq!(
            anonymous.status == 401,
            !operation.allows_anonymous,
            "{name}, nobody: {anonymous:?}"
        );
        assert_ne!(anonymous.status, 403, "{name}, nobody");

        for role in Role::ALL {
            // Somebody new each time: one of the operations ends accounts.
            let person = match role {
                Role::Service => TestUser::with_role(role),
                role => app.user_with_role(role).await,
            };
            let answer = operation.send(&app, Some(&person.token())).await;
            let may = operation
                .permission
                .is_none_or(|needed| role.has_permission(needed));
            assert_eq!(answer.status == 403, !may, "{name}, {role}: {answer:?}");
            assert_ne!(answer.status, 401, "{name}, {role}: {answer:?}");
            assert!(answer.status < 500, "{name}, {role}: {answer:?}");
            if !may {
                // So that handler and description cannot mean two permissions that the same roles have.
                assert_eq!(
                    answer.body["permission"],
                    json!(operation.permission),
                    "{name}, {role}"
                );
            }
        }
        // Whoever shows a token is held to it, also where none is needed but one is looked at.
        if operation.permission.is_some() {
            let odd = operation.send(&app, Some("no.such.token")).await;
            assert_eq!(odd.status, 401, "{name}: {odd:?}");
        }
    }
}

/// Every permission is asked for somewhere, or it is none.
#[test]
fn every_permission_opens_something() {
    let mut asked: BTreeMap<String, usize> = BTreeMap::new();
    for operation in operations() {
        *asked.entry(json!(operation.permission).to_string()).or_default() += 1;
    }
    for permission in Permission::ALL {
        assert!(
            asked.contains_key(&json!(permission).to_string()),
            "{permission:?}"
        );
    }
}
