//! Functions behind an HTTP API of API Gateway (payload format 2.0), as axum routers.

use std::convert::Infallible;

use aws_lambda_events::apigw::ApiGatewayV2httpRequest;
use axum::{
    Extension, Router,
    extract::FromRequestParts,
    http::{header, request::Parts},
};
use domain::Timestamp;
use lambda_http::{
    Adapter,
    request::{LambdaRequest, RequestContext},
};
use lambda_runtime::{Context, LambdaEvent};
use tower::Service;

use crate::{FunctionError, Handler, Invocation};

/// The address of the client's connection to API Gateway; empty when the event has none.
#[derive(Clone, Debug)]
pub struct SourceIp(pub String);

impl<S: Send + Sync> FromRequestParts<S> for SourceIp {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let source_ip = match parts.extensions.get() {
            Some(RequestContext::ApiGatewayV2(context)) => context.http.source_ip.clone(),
            _ => None,
        };
        Ok(Self(source_ip.unwrap_or_default()))
    }
}

/// When the invocation times out and Lambda kills the process.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(pub Timestamp);

impl<S: Send + Sync> FromRequestParts<S> for Deadline {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        // `handler` sets it. A router without it has no time left.
        Ok(parts
            .extensions
            .get()
            .copied()
            .unwrap_or(Self(Timestamp::UNIX_EPOCH)))
    }
}

/// The event is not an HTTP request, for example because an operator invoked the function directly.
#[derive(Debug, thiserror::Error)]
#[error("the event is not an HTTP API request in payload format 2.0")]
struct UnsupportedPayload(#[source] serde_json::Error);

/// A function that answers requests with `router`.
///
/// ```
/// # use axum::{Router, extract::Path, routing::get};
/// # use lambda_shared::{Invocation, http};
/// # use domain::Timestamp;
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let router = Router::new().route("/greetings/{name}", get(async |Path(name): Path<String>| name));
/// let payload = serde_json::json!({
///     "rawPath": "/greetings/Hanako", "requestContext": {"http": {"method": "GET"}},
/// });
/// let response = http::handler(router).call(Invocation { payload, deadline: Timestamp::MAX_UTC }).await;
/// assert_eq!(response.unwrap()["body"], "Hanako");
/// # }
/// ```
pub fn handler(router: Router) -> Handler {
    Handler::new(move |Invocation { payload, deadline }| {
        let response = serde_json::from_value(payload).map(|event| {
            let request = LambdaRequest::ApiGatewayV2(valid_uri(event));
            let router = router.clone().layer(Extension(Deadline(deadline)));
            Adapter::from(router).call(LambdaEvent::new(request, Context::default()))
        });
        async move {
            let response = response.map_err(UnsupportedPayload)?.await;
            Ok::<_, UnsupportedPayload>(response.unwrap_or_else(|never| match never {}))
        }
    })
}

/// `lambda_http` panics when host or query give no valid URI. The query is encoded again, and the host, which
/// no route needs, is left out.
fn valid_uri(mut event: ApiGatewayV2httpRequest) -> ApiGatewayV2httpRequest {
    event.headers.remove(header::HOST);
    event.request_context.domain_name = None;
    event.raw_query_string = event.raw_query_string.map(|query| {
        let pairs = form_urlencoded::parse(query.as_bytes());
        form_urlencoded::Serializer::new(String::new())
            .extend_pairs(pairs)
            .finish()
    });
    event
}

impl FunctionError for UnsupportedPayload {
    fn name(&self) -> &'static str {
        "InvalidInput"
    }

    fn is_business_error(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use axum::{extract::RawQuery, http::HeaderMap, routing::get};
    use serde_json::{Value, json};

    use super::*;

    /// Describes the request in its response, which sets two cookies.
    async fn describe(
        Deadline(deadline): Deadline,
        SourceIp(source_ip): SourceIp,
        RawQuery(query): RawQuery,
        headers: HeaderMap,
    ) -> ([(&'static str, &'static str); 1], String) {
        assert_eq!(deadline, Timestamp::MAX_UTC);
        let cookie = headers.get(header::COOKIE).map(|value| value.to_str().unwrap());
        let query = query.unwrap_or_default();
        (
            [("set-cookie", "c=1; HttpOnly")],
            format!("{source_ip} {query} {cookie:?}"),
        )
    }

    async fn call(event: Value) -> Value {
        let handler = handler(Router::new().route("/v1/{name}", get(describe)));
        let deadline = Timestamp::MAX_UTC;
        handler
            .call(Invocation {
                payload: event,
                deadline,
            })
            .await
            .unwrap()
    }

    fn event(more: Value) -> Value {
        let mut event = json!({
            "version": "2.0",
            "rawPath": "/v1/lantern",
            "requestContext": {"http": {"method": "GET", "sourceIp": "203.0.113.9"}},
        });
        event
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        event
    }

    #[tokio::test]
    async fn request_and_response_have_the_format_of_api_gateway() {
        let response = call(event(
            json!({"rawQueryString": "a=1&b", "cookies": ["x=1", "y=2"]}),
        ))
        .await;
        assert_eq!(response["statusCode"], 200);
        assert_eq!(response["isBase64Encoded"], false);
        assert_eq!(response["cookies"], json!(["c=1; HttpOnly"]));
        assert_eq!(response["body"], r#"203.0.113.9 a=1&b= Some("x=1; y=2")"#);
        // The local gateway leaves cookies in the header.
        let response = call(event(json!({"headers": {"cookie": "x=1"}}))).await;
        assert_eq!(response["body"], r#"203.0.113.9  Some("x=1")"#);
    }

    #[tokio::test]
    async fn text_that_is_no_valid_uri_is_answered() {
        for more in [
            json!({"rawQueryString": "a={b} c\u{7f}\n&%zz"}),
            json!({"rawPath": "/v1/a b{\u{e9}%zz"}),
            json!({"headers": {"host": "["}}),
        ] {
            let response = call(event(more.clone())).await;
            assert_eq!(response["statusCode"], 200, "{more}: {response}");
        }
        assert_eq!(call(event(json!({"rawPath": ""}))).await["statusCode"], 404);
    }
}
