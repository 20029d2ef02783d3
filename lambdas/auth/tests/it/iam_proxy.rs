//! Enforces the rights of the deployed template in front of the local DynamoDB, which enforces none: a
//! function reaches only the keys of the sessions table that its role permits (`dynamodb:LeadingKeys`).

use axum::{
    http::{StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use lambda_shared::testing::start_proxy;
use serde_json::{Value, json};

const TEMPLATE: &str = include_str!("../../../../infrastructure/sam/template.yaml");

/// The right to an operation on the keys that match a pattern.
struct KeyRight {
    operation: String,
    key_pattern: String,
}

/// Starts a proxy to the local AWS for the function `name` and returns its URL.
pub async fn start(name: &str, aws_endpoint_url: &str) -> String {
    let rights = key_rights(&role_of(name));
    let answer = move |request: &Parts, body: &[u8]| {
        let target = request.headers.get("x-amz-target")?.to_str().unwrap();
        let operation = target.strip_prefix("DynamoDB_20120810.")?;
        let key = session_key(body);
        let is_permitted = rights.iter().any(|right| right.permits(operation, &key));
        (!is_permitted).then(|| access_denied(operation))
    };
    start_proxy(aws_endpoint_url, answer).await
}

fn access_denied(operation: &str) -> Response {
    let error = json!({"__type": "com.amazon.coral.service#AccessDeniedException", "message": operation});
    (StatusCode::BAD_REQUEST, axum::Json(error)).into_response()
}

impl KeyRight {
    fn permits(&self, operation: &str, key: &str) -> bool {
        let key_matches = match self.key_pattern.strip_suffix('*') {
            Some(prefix) => key.starts_with(prefix),
            None => key == self.key_pattern,
        };
        self.operation == operation && key_matches
    }
}

/// The key of the item that a request reads or writes.
fn session_key(request: &[u8]) -> String {
    let request: Value = serde_json::from_slice(request).unwrap();
    let item = request.get("Key").or(request.get("Item"));
    let key = item.and_then(|item| item["session_id"]["S"].as_str());
    key.expect("auth functions use no other table and no query")
        .to_owned()
}

/// `password-reset` → `PasswordResetRole`.
fn role_of(function: &str) -> String {
    let words = function.split('-').map(|word| {
        let (first, rest) = word.split_at(1);
        first.to_uppercase() + rest
    });
    words.collect::<String>() + "Role"
}

/// The rights that the template's policies with leading keys give to `role`.
fn key_rights(role: &str) -> Vec<KeyRight> {
    let is_of_role = |policy: &&str| {
        let roles = between(policy, "Roles: [", "]");
        roles.split(", ").any(|name| name == format!("!Ref {role}"))
    };
    let policies = TEMPLATE
        .split("Type: AWS::IAM::Policy")
        .map(|policy| policy.split("\n\n").next().unwrap())
        .filter(|policy| policy.contains("dynamodb:LeadingKeys"));
    policies
        .filter(is_of_role)
        .flat_map(|policy| {
            let key_pattern = between(policy, "\"dynamodb:LeadingKeys\": [\"", "\"]");
            let actions = between(policy, "Action: ", "\n").trim_matches(['[', ']']);
            actions.split(", ").map(move |action| KeyRight {
                operation: action.strip_prefix("dynamodb:").unwrap().to_owned(),
                key_pattern: key_pattern.to_owned(),
            })
        })
        .collect()
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let (_, rest) = text.split_once(start).unwrap();
    rest.split_once(end).unwrap().0
}

#[test]
fn functions_reach_only_their_own_keys() {
    let keys = |function: &str| {
        let mut keys: Vec<String> = key_rights(&role_of(function))
            .into_iter()
            .map(|right| format!("{} {}", right.operation, right.key_pattern))
            .collect();
        keys.sort();
        keys
    };
    assert_eq!(keys("oauth-start"), ["GetItem #", "PutItem oauth#*"]);
    assert_eq!(
        keys("logout"),
        ["DeleteItem refresh#*", "GetItem #", "GetItem refresh#*"]
    );
    assert_eq!(keys("jwks"), [""; 0]);
}

/// A policy without the condition would give its roles the whole table.
#[test]
fn every_right_to_the_sessions_table_has_leading_keys() {
    for policy in TEMPLATE.split("Type: AWS::IAM::Policy").skip(1) {
        let policy = policy.split("\n\n").next().unwrap();
        for statement in policy.split("- Effect: Allow").skip(1) {
            assert!(
                !statement.contains("SessionsTable.Arn") || statement.contains("dynamodb:LeadingKeys"),
                "{policy}"
            );
        }
    }
}
