//! What a deleted stack, and a first deployment that failed, leave behind.

use serde_json::{Value, json};

use crate::template::{of_type, resources};

/// The types of resources with data.
const STATEFUL: [&str; 3] = [
    "AWS::DynamoDB::Table",
    "AWS::S3::Bucket",
    "AWS::SecretsManager::Secret",
];

/// Exist on an emulator only.
const LOCAL_SECRETS: [&str; 3] = [
    "CoreApiDatabaseCredentials",
    "StockServiceDatabaseCredentials",
    "AuthDatabaseCredentials",
];

#[test]
fn data_outlives_the_stack_in_aws() {
    let resources = resources();
    for resource_type in STATEFUL {
        for (id, resource) in of_type(&resources, resource_type) {
            if LOCAL_SECRETS.contains(&id) {
                assert_eq!(resource["Condition"], "IsLocal");
                continue;
            }
            let policy = |in_aws: &str| json!({"Fn::If": ["IsLocal", "Delete", in_aws]});
            assert_eq!(resource["DeletionPolicy"], policy("RetainExceptOnCreate"), "{id}");
            assert_eq!(resource["UpdateReplacePolicy"], policy("Retain"), "{id}");
        }
    }
}

/// A resource that the rollback of the first deployment retains blocks the next deployment, because the names
/// are fixed.
#[test]
fn failed_first_deployment_retains_no_resource() {
    fn contains_retain(policy: &Value) -> bool {
        match policy {
            Value::Array(values) => values.iter().any(contains_retain),
            Value::Object(members) => members.values().any(contains_retain),
            policy => policy == "Retain",
        }
    }
    for (id, resource) in resources() {
        assert!(!contains_retain(&resource["DeletionPolicy"]), "{id}");
    }
}
