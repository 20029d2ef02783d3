//! The permissions of every route for every role, from the OpenAPI document.

use std::{collections::BTreeSet, fmt::Write};

use insta::assert_snapshot;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::PgPool;
use strum::VariantArray as _;
use tokens::{Permission, Role};

use crate::{
    support::{RequestBuilderExt, TestApp, TestResponse},
    test_user::TestUser,
};

/// An operation of the OpenAPI document, and who may call it according to the document.
struct Operation {
    method: Method,
    path: String,
    /// `None` for a public operation.
    permission: Option<Permission>,
    /// Whether it can be called without an access token.
    allows_anonymous: bool,
}

impl Operation {
    fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// Calls the operation with ids that do not exist and without a body.
    async fn send(&self, app: &TestApp, token: Option<&str>) -> TestResponse {
        let path = self
            .path
            .split('/')
            .map(|segment| {
                if segment.starts_with('{') {
                    "00000000-0000-7000-8000-000000000000"
                } else {
                    segment
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

/// All operations. Panics when an operation does not declare its permission.
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
                        .unwrap_or_else(|_| panic!("{name} declares an unknown permission: {permission}")),
                ),
                other => panic!("{name} declares no permission: x-permission is {other}"),
            };
            let open = match &operation["security"] {
                Value::Null => true,
                Value::Array(alternatives) => alternatives.contains(&json!({})),
                other => panic!("{name}: {other}"),
            };
            assert!(
                permission.is_some() || open,
                "{name} is public, but requires a token"
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

/// The roles that may call each operation, by the table in the crate `tokens`. A new route adds a line here.
#[test]
fn roles_of_every_route() {
    let mut table = String::new();
    for operation in operations() {
        let mut callers: Vec<String> = match operation.permission {
            None => vec!["anyone".to_owned()],
            Some(permission) => Role::VARIANTS
                .iter()
                .copied()
                .filter(|role| role.has_permission(permission))
                .map(|role| role.to_string())
                .collect(),
        };
        if operation.allows_anonymous && operation.permission.is_some() {
            callers.insert(0, "unauthenticated".to_owned());
        }
        writeln!(table, "{:<40} {}", operation.name(), callers.join(" ")).unwrap();
    }
    assert_snapshot!(table, @r"
    GET /v1/audit                            admin
    GET /v1/cart                             unauthenticated customer support admin
    POST /v1/cart/checkout                   customer support admin
    DELETE /v1/cart/items/{product_id}       unauthenticated customer support admin
    PUT /v1/cart/items/{product_id}          unauthenticated customer support admin
    GET /v1/categories                       anyone
    DELETE /v1/me                            customer support admin
    GET /v1/me                               customer support admin
    PATCH /v1/me                             customer support admin
    GET /v1/me/addresses                     customer support admin
    POST /v1/me/addresses                    customer support admin
    DELETE /v1/me/addresses/{id}             customer support admin
    GET /v1/me/addresses/{id}                customer support admin
    PUT /v1/me/addresses/{id}                customer support admin
    GET /v1/me/export                        customer support admin
    DELETE /v1/me/phone                      customer support admin
    PUT /v1/me/phone                         customer support admin
    POST /v1/me/phone/verification           customer support admin
    GET /v1/orders                           customer support admin
    POST /v1/orders                          customer support admin
    GET /v1/orders/{id}                      customer support admin
    POST /v1/orders/{id}/cancel              customer support admin
    POST /v1/orders/{id}/payment-action/return customer support admin
    GET /v1/orders/{id}/receipt              customer support admin
    GET /v1/products                         anyone
    POST /v1/products                        admin
    DELETE /v1/products/{id}                 admin
    GET /v1/products/{id}                    anyone
    PATCH /v1/products/{id}                  admin
    POST /v1/realtime/ticket                 customer support admin
    GET /v1/unsubscribe                      anyone
    POST /v1/unsubscribe                     anyone
    GET /v1/users                            support admin
    GET /v1/users/{id}                       support admin
    DELETE /v1/users/{id}/mail-suppression   support admin
    GET /v1/users/{id}/mail-suppression      support admin
    PUT /v1/users/{id}/role                  admin
    ");
}

/// The handlers require the permissions that the OpenAPI document declares.
#[sqlx::test(migrator = "database::MIGRATOR")]
async fn every_route_enforces_its_declared_permission(pool: PgPool) {
    let app = TestApp::start(pool).await;
    for operation in operations() {
        let name = operation.name();
        let anonymous = operation.send(&app, None).await;
        assert_eq!(
            anonymous.status == 401,
            !operation.allows_anonymous,
            "{name}, unauthenticated: {anonymous:?}"
        );
        assert_ne!(anonymous.status, 403, "{name}, unauthenticated");

        for role in Role::VARIANTS.iter().copied() {
            // A new user each time, because one of the operations deletes the account.
            let user = match role {
                Role::Service => TestUser::with_role(role),
                role => app.user_with_role(role).await,
            };
            let response = operation.send(&app, Some(&user.token())).await;
            let permitted = operation
                .permission
                .is_none_or(|permission| role.has_permission(permission));
            assert_eq!(response.status == 403, !permitted, "{name}, {role}: {response:?}");
            assert_ne!(response.status, 401, "{name}, {role}: {response:?}");
            assert!(response.status < 500, "{name}, {role}: {response:?}");
            if !permitted {
                // Two permissions may have the same roles, so the status alone does not prove that handler
                // and document declare the same one.
                assert_eq!(
                    response.body["permission"],
                    json!(operation.permission),
                    "{name}, {role}"
                );
            }
        }
        // An invalid token is rejected, also where a token is optional.
        if operation.permission.is_some() {
            let invalid_token = operation.send(&app, Some("no.such.token")).await;
            assert_eq!(invalid_token.status, 401, "{name}: {invalid_token:?}");
        }
    }
}

#[test]
fn every_permission_is_required_by_a_route() {
    let mut required: BTreeSet<String> = BTreeSet::new();
    for operation in operations() {
        required.insert(json!(operation.permission).to_string());
    }
    for permission in Permission::VARIANTS {
        assert!(
            required.contains(&json!(permission).to_string()),
            "{permission:?}"
        );
    }
}
