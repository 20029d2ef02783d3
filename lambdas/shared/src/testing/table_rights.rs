//! Enforces the rights of the deployed template in front of the local DynamoDB, which enforces none: a
//! function reaches only the keys of a table that its role permits (`dynamodb:LeadingKeys`).

use axum::{
    http::{StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::start_proxy;

const TEMPLATE: &str = include_str!("../../../../infrastructure/sam/template.yaml");

/// A table whose items have keys of several kinds.
#[derive(Clone, Copy, Debug)]
pub struct KeyedTable<'a> {
    /// The table's name in the template, for example `SessionsTable`.
    pub logical_id: &'a str,
    /// The name of the table that the test uses.
    pub name: &'a str,
    /// The partition key.
    pub key: &'a str,
}

/// The rights of a function to a table.
#[derive(Debug)]
pub struct TableRights(Vec<TableRight>);

/// The right to one operation.
#[derive(Debug)]
struct TableRight {
    /// For example `GetItem`.
    operation: String,
    scope: Scope,
}

#[derive(Clone, Debug)]
enum Scope {
    /// The keys that match a pattern.
    Keys(Vec<String>),
    /// The keys that match no pattern.
    OtherKeys(Vec<String>),
    AllKeys,
    Index(String),
}

impl TableRights {
    /// The rights that the template's policies give to the role of a function.
    ///
    /// # Panics
    ///
    /// When the template does not write policies as this module expects.
    #[must_use]
    pub fn of_function(function: &str, table_logical_id: &str) -> Self {
        let role = format!("!Ref {}", role_of(function));
        let of_role = policies().filter(|policy| {
            let roles = between(policy, "Roles: [", "]");
            roles.split(", ").any(|name| name == role)
        });
        let statements = of_role.flat_map(statements);
        Self(
            statements
                .flat_map(|statement| rights(statement, table_logical_id))
                .collect(),
        )
    }

    /// Each right as text, sorted: `GetItem refresh#*`, `PutItem not ticket#*`, `Query user_id-index`.
    #[must_use]
    pub fn describe(&self) -> Vec<String> {
        let mut described: Vec<String> = self.0.iter().map(TableRight::describe).collect();
        described.sort();
        described
    }

    fn permit(&self, operation: &str, request: &Value, key: &str) -> bool {
        let mut of_operation = self.0.iter().filter(|right| right.operation == operation);
        of_operation.any(|right| right.scope.contains(request, key))
    }
}

impl TableRight {
    fn describe(&self) -> String {
        let scope = match &self.scope {
            Scope::Keys(patterns) => patterns.join(", "),
            Scope::OtherKeys(patterns) => format!("not {}", patterns.join(", ")),
            Scope::AllKeys => "all keys".to_owned(),
            Scope::Index(name) => name.clone(),
        };
        format!("{} {scope}", self.operation)
    }
}

impl Scope {
    /// Whether a request reads or writes within this scope.
    fn contains(&self, request: &Value, key: &str) -> bool {
        let matches_one = |patterns: &[String]| {
            let item = request.get("Key").or(request.get("Item"));
            let key = item.and_then(|item| item[key]["S"].as_str());
            let key = key.expect("a request without an index names the key");
            patterns.iter().any(|pattern| matches(key, pattern))
        };
        match (self, request["IndexName"].as_str()) {
            (Self::Index(name), requested) => requested == Some(name.as_str()),
            (_, Some(_)) => false,
            (Self::Keys(patterns), None) => matches_one(patterns),
            (Self::OtherKeys(patterns), None) => !matches_one(patterns),
            (Self::AllKeys, None) => true,
        }
    }
}

/// Starts a proxy to the local AWS for a function and returns its URL. The proxy refuses requests to the
/// table that the function's role does not permit.
///
/// # Panics
///
/// When the template does not write the function's policies as this module expects.
pub async fn start_table_rights_proxy(
    function: &str,
    table: KeyedTable<'_>,
    aws_endpoint_url: &str,
) -> String {
    let rights = TableRights::of_function(function, table.logical_id);
    let (name, key) = (table.name.to_owned(), table.key.to_owned());
    let answer = move |request: &Parts, body: &[u8]| {
        let target = request.headers.get("x-amz-target")?.to_str().ok()?;
        let operation = target.strip_prefix("DynamoDB_20120810.")?;
        let body: Value = serde_json::from_slice(body).ok()?;
        let is_refused = body["TableName"] == name && !rights.permit(operation, &body, &key);
        is_refused.then(|| access_denied(operation))
    };
    start_proxy(aws_endpoint_url, answer).await
}

/// The statements that permit the whole table, because they have no condition.
///
/// # Panics
///
/// When the template does not write policies as this module expects.
#[must_use]
pub fn unconditional_statements(table_logical_id: &str) -> Vec<&'static str> {
    policies()
        .flat_map(statements)
        .filter(|statement| {
            let rights = rights(statement, table_logical_id);
            rights.iter().any(|right| matches!(right.scope, Scope::AllKeys))
        })
        .collect()
}

fn access_denied(operation: &str) -> Response {
    let error = json!({"__type": "com.amazon.coral.service#AccessDeniedException", "message": operation});
    (StatusCode::BAD_REQUEST, axum::Json(error)).into_response()
}

/// `password-reset` → `PasswordResetRole`.
fn role_of(function: &str) -> String {
    let words = function.split('-').map(|word| {
        let (first, rest) = word.split_at(1);
        first.to_uppercase() + rest
    });
    words.collect::<String>() + "Role"
}

fn policies() -> impl Iterator<Item = &'static str> {
    let policies = TEMPLATE.split("Type: AWS::IAM::Policy").skip(1);
    policies.filter_map(|policy| policy.split("\n\n").next())
}

fn statements(policy: &'static str) -> impl Iterator<Item = &'static str> {
    policy.split("- Effect: Allow").skip(1)
}

fn rights(statement: &str, table_logical_id: &str) -> Vec<TableRight> {
    let mut scopes: Vec<_> = statement
        .split(&format!("${{{table_logical_id}.Arn}}/index/"))
        .skip(1)
        .filter_map(|rest| rest.lines().next())
        .map(|name| Scope::Index(name.trim().to_owned()))
        .collect();
    if statement.contains(&format!("!GetAtt {table_logical_id}.Arn")) {
        scopes.push(keys(statement));
    }
    let action = between(statement, "Action: ", "\n");
    let (action, _comment) = action.split_once(" #").unwrap_or((action, ""));
    let operations = action.trim_matches(['[', ']']).split(", ");
    let operations: Vec<_> = operations
        .filter_map(|action| action.strip_prefix("dynamodb:"))
        .collect();
    let rights = scopes.into_iter().flat_map(|scope| {
        let right = |operation: &&str| TableRight {
            operation: (*operation).to_owned(),
            scope: scope.clone(),
        };
        operations.iter().map(right).collect::<Vec<_>>()
    });
    rights.collect()
}

fn keys(statement: &str) -> Scope {
    if !statement.contains("dynamodb:LeadingKeys") {
        return Scope::AllKeys;
    }
    let patterns = between(statement, "\"dynamodb:LeadingKeys\": [", "]").split(", ");
    let patterns = patterns
        .map(|pattern| pattern.trim_matches('"').to_owned())
        .collect();
    match between(statement, "Condition: {\"", "\"") {
        "ForAllValues:StringLike" => Scope::Keys(patterns),
        "ForAllValues:StringNotLike" => Scope::OtherKeys(patterns),
        operator => unreachable!("a policy with the unknown operator {operator}"),
    }
}

fn matches(key: &str, pattern: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => key.starts_with(prefix),
        None => key == pattern,
    }
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let rest = text.split_once(start).and_then(|(_, rest)| rest.split_once(end));
    rest.expect("the template writes policies in one way").0
}
