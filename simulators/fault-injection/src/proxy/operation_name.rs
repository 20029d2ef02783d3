//! Names the operation of a request for rules and counts, as AWS documentation and API routes do.

use hyper::{Method, body::Bytes, header::CONTENT_TYPE, http::request::Parts};
use uuid::Uuid;

use crate::Upstream;

/// Returns a name such as `DynamoDB.PutItem` or `POST /v1/reservations/{id}/commit`.
pub(super) fn operation_name(upstream: Upstream, head: &Parts, body: &Bytes) -> String {
    let aws_name = match upstream {
        Upstream::Aws => name_from_target_header(head)
            .or_else(|| name_of_s3_request(head))
            .or_else(|| name_from_query_protocol(head, body)),
        _ => None,
    };
    aws_name.unwrap_or_else(|| name_from_path(head))
}

/// The JSON protocols send the operation in a header: `DynamoDB_20120810.PutItem`, `AWSEvents.PutEvents`.
fn name_from_target_header(head: &Parts) -> Option<String> {
    let target = head.headers.get("x-amz-target")?.to_str().ok()?;
    let (service, operation) = target.split_once('.')?;
    let service = service.split('_').next().unwrap_or(service);
    Some(format!("{service}.{operation}"))
}

/// S3 has a path for each object: `PUT /bucket/key` becomes `S3.PutObject`. Requests for a bucket keep their
/// path.
fn name_of_s3_request(head: &Parts) -> Option<String> {
    let is_object = head.uri.path().trim_matches('/').contains('/');
    let operation = match head.method {
        Method::PUT => "PutObject",
        Method::GET => "GetObject",
        Method::HEAD => "HeadObject",
        _ => return None,
    };
    (is_object && signed_service(head) == Some("s3")).then(|| format!("S3.{operation}"))
}

/// The service in the scope of the signature.
fn signed_service(head: &Parts) -> Option<&str> {
    let signature = head.headers.get("authorization")?.to_str().ok()?;
    signature.split('/').nth(3)
}

/// The query protocol sends the operation in a parameter, and the service only in the signature's scope.
fn name_from_query_protocol(head: &Parts, body: &Bytes) -> Option<String> {
    let is_form = head.headers.get(CONTENT_TYPE).is_some_and(|media_type| {
        media_type
            .as_bytes()
            .starts_with(b"application/x-www-form-urlencoded")
    });
    let form = if is_form { &body[..] } else { b"" };
    let parameters = [head.uri.query().unwrap_or_default().as_bytes(), form];
    let mut pairs = parameters.into_iter().flat_map(form_urlencoded::parse);
    let (_, action) = pairs.find(|(name, _)| name == "Action")?;
    Some(format!("{}.{action}", signed_service(head).unwrap_or("aws")))
}

/// Returns method and path, with ids replaced by `{id}`.
fn name_from_path(head: &Parts) -> String {
    let mut previous = "";
    let segments = head.uri.path().split('/').map(|segment| {
        let is_connection_id = std::mem::replace(&mut previous, segment) == "@connections";
        if is_connection_id || Uuid::try_parse(segment).is_ok() || is_stripe_id(segment) {
            "{id}"
        } else {
            segment
        }
    });
    format!("{} {}", head.method, segments.collect::<Vec<_>>().join("/"))
}

/// Recognises ids of the payment provider, such as `pi_3Mtw`.
fn is_stripe_id(segment: &str) -> bool {
    segment
        .split_once('_')
        .is_some_and(|(prefix, id)| prefix.len() == 2 && id.bytes().any(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    fn name(upstream: Upstream, request: hyper::http::request::Builder, body: &'static str) -> String {
        let (head, ()) = request.body(()).unwrap().into_parts();
        operation_name(upstream, &head, &Bytes::from_static(body.as_bytes()))
    }

    #[test]
    fn operation_names_follow_the_protocol_or_the_route() {
        let target = |target: &str| Request::post("/").header("x-amz-target", target);
        assert_eq!(
            name(Upstream::Aws, target("DynamoDB_20120810.TransactWriteItems"), ""),
            "DynamoDB.TransactWriteItems"
        );
        assert_eq!(
            name(Upstream::Aws, target("AWSEvents.PutEvents"), ""),
            "AWSEvents.PutEvents"
        );
        let signature = |service: &str| {
            format!(
                "AWS4-HMAC-SHA256 Credential=test/20261121/ap-northeast-1/{service}/aws4_request, SignedHeaders=host"
            )
        };
        let object = |method: &str| {
            let request = Request::builder()
                .method(method)
                .uri("/bucket/1.pdf?x-id=PutObject");
            request.header("authorization", signature("s3"))
        };
        assert_eq!(name(Upstream::Aws, object("PUT"), ""), "S3.PutObject");
        assert_eq!(name(Upstream::Aws, object("HEAD"), ""), "S3.HeadObject");
        let query = Request::post("/")
            .header("content-type", "application/x-www-form-urlencoded; charset=utf-8")
            .header("authorization", signature("sns"));
        assert_eq!(
            name(Upstream::Aws, query, "Version=1&Action=Publish"),
            "sns.Publish"
        );
        assert_eq!(
            name(Upstream::Aws, Request::post("/v2/email/outbound-emails"), "{}"),
            "POST /v2/email/outbound-emails"
        );
        let push = Request::post("/_aws/execute-api/api/live/@connections/0f3c9d");
        assert_eq!(
            name(Upstream::Aws, push, "{}"),
            "POST /_aws/execute-api/api/live/@connections/{id}"
        );
        let commit = Request::post("/v1/reservations/019a0000-0000-7000-8000-000000000001/commit?x=1");
        assert_eq!(
            name(Upstream::StockService, commit, ""),
            "POST /v1/reservations/{id}/commit"
        );
        let confirm = Request::post("/v1/payment_intents/pi_3Mtw/confirm");
        assert_eq!(
            name(Upstream::PaymentProvider, confirm, "Action=x"),
            "POST /v1/payment_intents/{id}/confirm"
        );
    }
}
