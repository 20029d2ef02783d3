//! The bucket of receipts (ADR 25).

use serde_json::{Value, json};

use crate::template::resources;

/// Seven years, after the rest of the business year and two months.
const LEGAL_RETENTION_DAYS: i64 = 7 * 365 + 2 + 366 + 62;

fn statement<'a>(policy: &'a Value, sid: &str) -> &'a Value {
    let statements = policy["Properties"]["PolicyDocument"]["Statement"].as_array();
    let found = statements
        .unwrap()
        .iter()
        .find(|statement| statement["Sid"] == sid);
    found.unwrap_or_else(|| panic!("the policy has no statement {sid}"))
}

#[test]
fn receipts_are_private_encrypted_and_kept_as_long_as_the_law_requires() {
    let resources = resources();
    let bucket = &resources["ReceiptsBucket"]["Properties"];
    for block in [
        "BlockPublicAcls",
        "BlockPublicPolicy",
        "IgnorePublicAcls",
        "RestrictPublicBuckets",
    ] {
        assert_eq!(bucket["PublicAccessBlockConfiguration"][block], true, "{block}");
    }
    let encryption = &bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"][0];
    assert_eq!(
        encryption["ServerSideEncryptionByDefault"]["SSEAlgorithm"],
        "AES256"
    );
    assert_eq!(bucket["VersioningConfiguration"]["Status"], "Enabled");
    for rule in bucket["LifecycleConfiguration"]["Rules"].as_array().unwrap() {
        let days = rule["ExpirationInDays"].as_i64().unwrap();
        assert!(days >= LEGAL_RETENTION_DAYS, "{rule}");
    }
}

#[test]
fn receipts_are_neither_deleted_nor_replaced_nor_sent_in_clear() {
    let resources = resources();
    let policy = &resources["ReceiptsBucketPolicy"];
    assert_eq!(policy["Properties"]["Bucket"], json!({"Ref": "ReceiptsBucket"}));
    let objects = json!({"Fn::Sub": "${ReceiptsBucket.Arn}/*"});
    for (sid, action, condition) in [
        (
            "NoDeletion",
            json!(["s3:DeleteObject", "s3:DeleteObjectVersion"]),
            Value::Null,
        ),
        (
            "NoOverwriting",
            json!("s3:PutObject"),
            json!({"Null": {"s3:if-none-match": "true"}}),
        ),
    ] {
        let statement = statement(policy, sid);
        assert_eq!(
            (&statement["Effect"], &statement["Principal"]),
            (&json!("Deny"), &json!("*"))
        );
        assert_eq!(
            (&statement["Action"], &statement["Resource"]),
            (&action, &objects)
        );
        assert_eq!(statement["Condition"], condition);
    }
    let tls = statement(policy, "OnlyTls");
    assert_eq!((&tls["Effect"], &tls["Action"]), (&json!("Deny"), &json!("s3:*")));
    assert_eq!(
        tls["Condition"],
        json!({"Bool": {"aws:SecureTransport": "false"}})
    );
}
