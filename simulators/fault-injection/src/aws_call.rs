//! The calls to AWS as IAM authorises them: who calls, which action, on which resource.

use hyper::{body::Bytes, header::AUTHORIZATION, http::request::Parts};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The account of the local AWS.
const ACCOUNT: &str = "000000000000";

/// A call to AWS. A request that IAM authorises item by item, such as `TransactWriteItems`, is several calls.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AwsCall {
    /// The access key id of the request, which is the function's name if the function wrapper runs the
    /// caller.
    pub caller: String,
    /// The IAM action, for example `dynamodb:PutItem`. An operation that this module does not know keeps its
    /// name as in [`OperationCounts`](crate::OperationCounts).
    pub action: String,
    /// The ARN. That of a secret ends with the secret's name, without the random suffix. `*` if the operation
    /// is unknown.
    pub resource: String,
}

/// The calls that a signed request makes. `operation` is the name as in
/// [`OperationCounts`](crate::OperationCounts).
pub(crate) fn aws_calls(operation: &str, head: &Parts, body: &Bytes) -> Vec<AwsCall> {
    let Some((caller, region)) = signer(head) else {
        return Vec::new();
    };
    let text = body;
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let rights = object_right(operation, head)
        .or_else(|| sms_right(operation, text))
        .or_else(|| required_rights(operation, &body))
        .unwrap_or_else(|| vec![(operation.to_owned(), None)]);
    rights
        .into_iter()
        .map(|(action, resource)| {
            let resource = match resource {
                None => "*".to_owned(),
                Some(arn) if arn.starts_with("arn:") => arn,
                Some(resource) => {
                    let service = action.split(':').next().unwrap_or_default();
                    format!("arn:aws:{service}:{region}:{ACCOUNT}:{resource}")
                }
            };
            AwsCall {
                caller: caller.to_owned(),
                action,
                resource,
            }
        })
        .collect()
}

/// The access key id and the region in the signature:
/// `AWS4-HMAC-SHA256 Credential=<id>/<date>/<region>/<service>/aws4_request, …`.
fn signer(head: &Parts) -> Option<(&str, &str)> {
    let signature = head.headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (_, scope) = signature.split_once("Credential=")?;
    let mut parts = scope.split('/');
    Some((parts.next()?, parts.nth(1)?))
}

/// The right to an object of S3, which the path names: `/bucket/key`.
fn object_right(operation: &str, head: &Parts) -> Option<Vec<(String, Option<String>)>> {
    let action = match operation {
        "S3.PutObject" => "s3:PutObject",
        "S3.GetObject" | "S3.HeadObject" => "s3:GetObject",
        _ => return None,
    };
    let object = head.uri.path().trim_start_matches('/');
    Some(vec![(action.to_owned(), Some(format!("arn:aws:s3:::{object}")))])
}

/// The right to send an SMS. A telephone number has no ARN.
fn sms_right(operation: &str, form: &[u8]) -> Option<Vec<(String, Option<String>)>> {
    let mut parameters = form_urlencoded::parse(form);
    let is_sms = operation == "sns.Publish" && parameters.any(|(name, _)| name == "PhoneNumber");
    is_sms.then(|| vec![("sns:Publish".to_owned(), None)])
}

/// The IAM actions of a request with their resources: an ARN, or the part of it that follows the account.
/// `None` when the operation is unknown or the request names no resource.
fn required_rights(operation: &str, body: &Value) -> Option<Vec<(String, Option<String>)>> {
    let text = |member: &str| body[member].as_str().map(str::to_owned);
    let one = |action: &str, resource: String| vec![(action.to_owned(), Some(resource))];
    if operation == "POST /v2/email/outbound-emails" {
        let sender = text("FromEmailAddress")?;
        let set = text("ConfigurationSetName").map(|set| format!("configuration-set/{set}"));
        let resources = [Some(format!("identity/{sender}")), set].into_iter().flatten();
        let right = |resource| ("ses:SendEmail".to_owned(), Some(resource));
        return Some(resources.map(right).collect());
    }
    if let Some((method, path)) = operation.split_once(" /_aws/execute-api/") {
        let (stage, _) = path.split_once("/@connections/")?;
        let resource = format!("{stage}/{method}/@connections/id");
        return Some(one("execute-api:ManageConnections", resource));
    }
    let (service, name) = operation.split_once('.')?;
    Some(match (service, name) {
        ("DynamoDB", "TransactWriteItems") => {
            let items = body["TransactItems"].as_array()?;
            items.iter().map(transaction_item_right).collect::<Option<_>>()?
        }
        ("DynamoDB", name) => {
            let table = format!("table/{}", text("TableName")?);
            let resource = match text("IndexName") {
                Some(index) => format!("{table}/index/{index}"),
                None => table,
            };
            one(&format!("dynamodb:{name}"), resource)
        }
        ("AmazonSQS", name) => {
            let url = text("QueueUrl")?;
            // IAM authorises a batch by the right to the single request.
            let name = name.strip_suffix("Batch").unwrap_or(name);
            one(&format!("sqs:{name}"), url.rsplit('/').next()?.to_owned())
        }
        ("AWSEvents", "PutEvents") => {
            let entries = body["Entries"].as_array()?;
            let bus = |entry: &Value| Some(format!("event-bus/{}", entry["EventBusName"].as_str()?));
            let right = |entry| Some(("events:PutEvents".to_owned(), Some(bus(entry)?)));
            entries.iter().map(right).collect::<Option<_>>()?
        }
        ("AWSStepFunctions", name) => {
            let arn = text("stateMachineArn").or_else(|| text("executionArn"))?;
            one(&format!("states:{name}"), arn)
        }
        ("secretsmanager", name) => {
            let secret = text("SecretId")?;
            one(&format!("secretsmanager:{name}"), format!("secret:{secret}"))
        }
        _ => return None,
    })
}

/// IAM knows no `TransactWriteItems`: each item needs the right to the single write.
fn transaction_item_right(item: &Value) -> Option<(String, Option<String>)> {
    let (kind, write) = item.as_object()?.iter().next()?;
    let action = match kind.as_str() {
        "ConditionCheck" => "ConditionCheckItem".to_owned(),
        kind => format!("{kind}Item"),
    };
    let table = write["TableName"].as_str()?;
    Some((format!("dynamodb:{action}"), Some(format!("table/{table}"))))
}

#[cfg(test)]
mod tests {
    use hyper::Request;
    use serde_json::json;

    use super::*;

    fn calls(operation: &str, body: &Value) -> Vec<(String, String)> {
        let signature = "AWS4-HMAC-SHA256 Credential=reserve-stock/20261121/ap-northeast-1/x/aws4_request, \
                         SignedHeaders=host, Signature=0";
        let request = Request::post("/").header("authorization", signature);
        let (head, ()) = request.body(()).unwrap().into_parts();
        let calls = aws_calls(operation, &head, &Bytes::from(body.to_string()));
        assert!(calls.iter().all(|call| call.caller == "reserve-stock"));
        calls
            .into_iter()
            .map(|call| (call.action, call.resource))
            .collect()
    }

    #[test]
    fn calls_name_the_iam_action_and_the_resource() {
        let machine = "arn:aws:states:ap-northeast-1:000000000000:stateMachine:order-saga";
        for (operation, body, action, resource) in [
            (
                "DynamoDB.GetItem",
                json!({"TableName": "ecommerce-orders"}),
                "dynamodb:GetItem",
                "arn:aws:dynamodb:ap-northeast-1:000000000000:table/ecommerce-orders",
            ),
            (
                "DynamoDB.Query",
                json!({"TableName": "ecommerce-orders", "IndexName": "open-orders-index"}),
                "dynamodb:Query",
                "arn:aws:dynamodb:ap-northeast-1:000000000000:table/ecommerce-orders/index/open-orders-index",
            ),
            (
                "AmazonSQS.SendMessage",
                json!({"QueueUrl": "http://localhost:4566/000000000000/notification-queue"}),
                "sqs:SendMessage",
                "arn:aws:sqs:ap-northeast-1:000000000000:notification-queue",
            ),
            (
                "AmazonSQS.ChangeMessageVisibilityBatch",
                json!({"QueueUrl": "http://localhost:4566/000000000000/notification-dlq"}),
                "sqs:ChangeMessageVisibility",
                "arn:aws:sqs:ap-northeast-1:000000000000:notification-dlq",
            ),
            (
                "AWSEvents.PutEvents",
                json!({"Entries": [{"EventBusName": "ecommerce-event-bus"}]}),
                "events:PutEvents",
                "arn:aws:events:ap-northeast-1:000000000000:event-bus/ecommerce-event-bus",
            ),
            (
                "AWSStepFunctions.StartExecution",
                json!({"stateMachineArn": machine}),
                "states:StartExecution",
                machine,
            ),
            (
                "secretsmanager.GetSecretValue",
                json!({"SecretId": "ecommerce/payment-api-key"}),
                "secretsmanager:GetSecretValue",
                "arn:aws:secretsmanager:ap-northeast-1:000000000000:secret:ecommerce/payment-api-key",
            ),
            (
                "POST /v2/email/outbound-emails",
                json!({"FromEmailAddress": "orders@matsuri.example"}),
                "ses:SendEmail",
                "arn:aws:ses:ap-northeast-1:000000000000:identity/orders@matsuri.example",
            ),
            (
                "POST /_aws/execute-api/matsuri-realtime/live/@connections/{id}",
                json!({"type": "PONG"}),
                "execute-api:ManageConnections",
                "arn:aws:execute-api:ap-northeast-1:000000000000:matsuri-realtime/live/POST/@connections/id",
            ),
            ("kms.Decrypt", json!({}), "kms.Decrypt", "*"),
        ] {
            let expected = [(action.to_owned(), resource.to_owned())];
            assert_eq!(calls(operation, &body), expected, "{operation}");
        }
    }

    #[test]
    fn sms_has_no_resource() {
        let signature = "AWS4-HMAC-SHA256 Credential=sms-sender/20261121/ap-northeast-1/sns/aws4_request";
        let request = Request::post("/").header("authorization", signature);
        let (head, ()) = request.body(()).unwrap().into_parts();
        let form = "Action=Publish&PhoneNumber=%2B819012345678&Message=Hello";
        let expected = AwsCall {
            caller: "sms-sender".to_owned(),
            action: "sns:Publish".to_owned(),
            resource: "*".to_owned(),
        };
        assert_eq!(aws_calls("sns.Publish", &head, &Bytes::from(form)), [expected]);
    }

    #[test]
    fn mail_needs_the_right_to_its_configuration_set() {
        let body = json!({
            "FromEmailAddress": "orders@matsuri.example", "ConfigurationSetName": "matsuri-mails",
        });
        let arn = |name: &str| format!("arn:aws:ses:ap-northeast-1:000000000000:{name}");
        let expected = [
            "identity/orders@matsuri.example",
            "configuration-set/matsuri-mails",
        ]
        .map(|resource| ("ses:SendEmail".to_owned(), arn(resource)));
        assert_eq!(calls("POST /v2/email/outbound-emails", &body), expected);
    }

    #[test]
    fn object_of_s3_is_named_by_the_path() {
        let signature = "AWS4-HMAC-SHA256 Credential=receipt-writer/20261121/ap-northeast-1/s3/aws4_request";
        let request = Request::put("/ecommerce-receipts/1.pdf?x-id=PutObject");
        let (head, ()) = request
            .header("authorization", signature)
            .body(())
            .unwrap()
            .into_parts();
        let call = AwsCall {
            caller: "receipt-writer".to_owned(),
            action: "s3:PutObject".to_owned(),
            resource: "arn:aws:s3:::ecommerce-receipts/1.pdf".to_owned(),
        };
        assert_eq!(
            aws_calls("S3.PutObject", &head, &Bytes::from_static(b"%PDF")),
            [call]
        );
    }

    #[test]
    fn transaction_needs_the_right_to_each_write() {
        let table = |name: &str| json!({"TableName": name});
        let body = json!({"TransactItems": [
            {"Update": table("ecommerce-orders")},
            {"Put": table("ecommerce-outbox")},
            {"ConditionCheck": table("ecommerce-orders")},
        ]});
        let arn = |name: &str| format!("arn:aws:dynamodb:ap-northeast-1:000000000000:table/{name}");
        let expected = [
            ("dynamodb:UpdateItem".to_owned(), arn("ecommerce-orders")),
            ("dynamodb:PutItem".to_owned(), arn("ecommerce-outbox")),
            ("dynamodb:ConditionCheckItem".to_owned(), arn("ecommerce-orders")),
        ];
        assert_eq!(calls("DynamoDB.TransactWriteItems", &body), expected);
    }
}
