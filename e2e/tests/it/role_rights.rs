//! The role of each function has the rights that the function uses, and no others.
//!
//! The fault proxy remembers what each function asked of AWS while the other tests ran. `cargo xtask test`
//! therefore runs these tests after all others; without `--ignored` they do not run. They cannot see what a
//! function would ask in a case that no test creates: [`UNTESTED_CASES`] lists the rights for those.

use std::collections::{BTreeMap, BTreeSet};

use e2e::system::{TestSystem, aws::run_shell, send};
use serde_json::{Value, json};

const REGION_AND_ACCOUNT: &str = "ap-northeast-1:000000000000";

/// Function, action and reason of each right that the deployed functions may leave unused during the tests.
const UNTESTED_CASES: [(&str, &str, &str); 5] = [
    (
        "dead-letter-archiver",
        "sqs:ChangeMessageVisibility",
        "returns messages to a queue; in the tests, one of its queues holds messages when it runs",
    ),
    (
        "notification-sender",
        "dynamodb:DeleteItem",
        "releases the claim of a mail that SES refused; the SDK's retries hide the refusals of the tests",
    ),
    (
        "order-reconciler",
        "dynamodb:UpdateItem",
        "marks an order as parked when it looks for open orders of some age; lambdas/processors tests it",
    ),
    (
        "order-reconciler",
        "sqs:SendMessage",
        "parks an order whose saga ends three times without parking it; lambdas/processors tests it",
    ),
    (
        "payment-webhook",
        "dynamodb:DeleteItem",
        "releases the claim of an event that failed; lambdas/saga tests it",
    ),
];

/// An IAM action on a resource, as a function uses it or as a role allows it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Right {
    action: String,
    /// An ARN; in a role also a pattern of ARNs.
    resource: String,
}

struct Function {
    name: String,
    role_arn: String,
    used: BTreeSet<Right>,
    /// The statements of the role's policies.
    statements: Vec<Value>,
}

/// Runs an `awslocal` command and parses its output.
async fn awslocal(arguments: &str) -> Value {
    let line = format!("awslocal {arguments} --output json");
    let output = run_shell(&std::env::temp_dir(), &line).await;
    serde_json::from_str(&output).unwrap()
}

/// Every deployed function, with the rights that it has used and those that its role has.
async fn functions(system: &TestSystem) -> Vec<Function> {
    let secrets = awslocal("secretsmanager list-secrets").await;
    let secret_arns: BTreeMap<&str, &str> = values(&secrets["SecretList"])
        .iter()
        .map(|secret| (text(&secret["Name"]), text(&secret["ARN"])))
        .collect();
    let roles = awslocal("iam get-account-authorization-details --filter Role").await;
    let sources = awslocal("lambda list-event-source-mappings").await;
    let listed = awslocal("lambda list-functions").await;
    let calls = system.faults.aws_calls().await.unwrap();
    let function = |configuration: &Value| {
        let name = text(&configuration["FunctionName"]);
        let role_arn = text(&configuration["Role"]);
        let called = calls.iter().filter(|call| call.caller == name).map(|call| {
            let resource = match call.resource.split_once(":secret:") {
                Some((_, secret)) => (*secret_arns.get(secret).unwrap_or(&secret)).to_owned(),
                None => call.resource.clone(),
            };
            right(&call.action, &resource)
        });
        let queues = values(&sources["EventSourceMappings"])
            .iter()
            .filter(|source| text(&source["FunctionArn"]).ends_with(&format!(":function:{name}")))
            .map(|source| text(&source["EventSourceArn"]));
        let role = values(&roles["RoleDetailList"])
            .iter()
            .find(|role| role["Arn"] == role_arn)
            .unwrap_or_else(|| panic!("{name}: the role {role_arn} does not exist"));
        assert_eq!(
            role["AttachedManagedPolicies"],
            json!([]),
            "{name}: this test reads inline policies only"
        );
        Function {
            used: called
                .chain(lambda_rights(name))
                .chain(queues.flat_map(event_source_rights))
                .collect(),
            statements: values(&role["RolePolicyList"])
                .iter()
                .flat_map(|policy| values(&policy["PolicyDocument"]["Statement"]).clone())
                .collect(),
            name: name.to_owned(),
            role_arn: role_arn.to_owned(),
        }
    };
    values(&listed["Functions"]).iter().map(function).collect()
}

/// The rights that Lambda uses on behalf of a function, to write its log and its traces.
fn lambda_rights(function: &str) -> Vec<Right> {
    let log = format!("arn:aws:logs:{REGION_AND_ACCOUNT}:log-group:/aws/lambda/{function}:log-stream:1");
    vec![
        right("logs:CreateLogStream", &log),
        right("logs:PutLogEvents", &log),
        right("xray:PutTraceSegments", "*"),
        right("xray:PutTelemetryRecords", "*"),
    ]
}

/// The rights that Lambda uses on behalf of a function, to poll its queue.
fn event_source_rights(queue_arn: &str) -> [Right; 3] {
    [
        "sqs:ReceiveMessage",
        "sqs:DeleteMessage",
        "sqs:GetQueueAttributes",
    ]
    .map(|action| right(action, queue_arn))
}

fn right(action: &str, resource: &str) -> Right {
    Right {
        action: action.to_owned(),
        resource: resource.to_owned(),
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is not text"))
}

fn values(value: &Value) -> &Vec<Value> {
    value
        .as_array()
        .unwrap_or_else(|| panic!("{value} is not a list"))
}

/// IAM accepts one value instead of a list.
fn one_or_more(value: &Value) -> Vec<&str> {
    match value {
        Value::Array(values) => values.iter().map(text).collect(),
        value => vec![text(value)],
    }
}

/// Whether the policies that `policies` selects, the parameters of an IAM simulation, allow `right`.
async fn simulate(system: &TestSystem, operation: &str, policies: (&str, &str), right: &Right) -> bool {
    let signature = "AWS4-HMAC-SHA256 Credential=test/20260101/ap-northeast-1/iam/aws4_request, \
                     SignedHeaders=host, Signature=0";
    let parameters = [
        ("Action", operation),
        ("Version", "2010-05-08"),
        policies,
        ("ActionNames.member.1", right.action.as_str()),
        ("ResourceArns.member.1", right.resource.as_str()),
    ];
    let request = system.http.post(&system.aws_endpoint_url);
    let request = request.header("authorization", signature).form(&parameters);
    let body = send(request).await.expect_status(200);
    text(&body).contains("<EvalDecision>allowed</EvalDecision>")
}

async fn policy_allows(system: &TestSystem, statements: &[Value], right: &Right) -> bool {
    let policy = json!({"Version": "2012-10-17", "Statement": statements}).to_string();
    let policies = ("PolicyInputList.member.1", policy.as_str());
    simulate(system, "SimulateCustomPolicy", policies, right).await
}

impl Function {
    /// MiniStack's simulation takes no context keys, so it denies what a condition such as
    /// `dynamodb:LeadingKeys` allows. Statements with conditions are therefore simulated without them: this
    /// test does not check conditions.
    async fn may(&self, system: &TestSystem, right: &Right) -> bool {
        let role = ("PolicySourceArn", self.role_arn.as_str());
        if simulate(system, "SimulatePrincipalPolicy", role, right).await {
            return true;
        }
        let mut statements = self.statements.clone();
        let has_conditions = statements
            .iter()
            .any(|statement| !statement["Condition"].is_null());
        for statement in statements.iter_mut().filter_map(Value::as_object_mut) {
            statement.remove("Condition");
        }
        has_conditions && policy_allows(system, &statements, right).await
    }

    /// Whether the function has used a right of its role.
    async fn has_used(&self, system: &TestSystem, allowed: &Right) -> bool {
        let statement = json!({"Effect": "Allow", "Action": allowed.action, "Resource": allowed.resource});
        for used in self.used.iter().filter(|used| used.action == allowed.action) {
            if policy_allows(system, std::slice::from_ref(&statement), used).await {
                return true;
            }
        }
        false
    }

    fn allowed(&self) -> BTreeSet<Right> {
        let allows = self
            .statements
            .iter()
            .filter(|statement| statement["Effect"] == "Allow");
        allows
            .flat_map(|statement| {
                let (actions, resources) = (&statement["Action"], &statement["Resource"]);
                one_or_more(actions).into_iter().flat_map(|action| {
                    let resources = one_or_more(resources).into_iter();
                    resources.map(move |resource| right(action, resource))
                })
            })
            .collect()
    }
}

#[tokio::test]
#[ignore = "`cargo xtask test` runs it after all other tests"]
async fn functions_have_the_rights_that_they_use() {
    let system = TestSystem::shared();
    let mut missing = Vec::new();
    for function in functions(&system).await {
        for used in &function.used {
            if !function.may(&system, used).await {
                missing.push(format!("{}: {} on {}", function.name, used.action, used.resource));
            }
        }
    }
    assert!(
        missing.is_empty(),
        "the role lacks a right that the function uses:\n{}",
        missing.join("\n")
    );
}

#[tokio::test]
#[ignore = "`cargo xtask test` runs it after all other tests"]
async fn functions_use_all_rights_that_they_have() {
    let system = TestSystem::shared();
    let mut unused = Vec::new();
    for function in functions(&system).await {
        for allowed in function.allowed() {
            let is_untested = UNTESTED_CASES
                .iter()
                .any(|(name, action, _)| *name == function.name && *action == allowed.action);
            // Lambda itself uses the rights to network interfaces; `infrastructure/tests` checks them.
            let is_network_right = allowed.action.starts_with("ec2:");
            if !is_untested && !is_network_right && !function.has_used(&system, &allowed).await {
                unused.push(format!(
                    "{}: {} on {}",
                    function.name, allowed.action, allowed.resource
                ));
            }
        }
    }
    assert!(
        unused.is_empty(),
        "the role has a right that the function did not use in any test:\n{}",
        unused.join("\n")
    );
}
