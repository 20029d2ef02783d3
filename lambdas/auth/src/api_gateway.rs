//! HTTP by API Gateway's HTTP API, payload format 2.0.

use std::{future::Future, sync::Arc};

use aws_lambda_events::{
    encodings::Body,
    event::apigw::{ApiGatewayV2httpRequest, ApiGatewayV2httpResponse},
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use base64::{Engine, prelude::BASE64_STANDARD};
use domain::Clock;
use events::{EventContext, TraceParent};
use http_server::{Json, Problem};
use lambda_shared::{FunctionError, Handler, Invocation, trace_context};
use serde::{Serialize, de::DeserializeOwned};

use crate::AuthError;

/// The longest body that is looked at. The longest that makes sense is a tenth of it.
const MAX_BODY_BYTES: usize = 16 * 1024;

/// A request.
#[derive(Clone)]
pub struct Request {
    /// The path, without the query.
    pub path: String,
    /// From where, as the front door saw it.
    pub client_ip: String,
    /// The trace that its client began, or one of its own.
    pub traceparent: TraceParent,
    path_parameters: Vec<(String, String)>,
    query_parameters: Vec<(String, String)>,
    headers: HeaderMap,
    cookies: Vec<String>,
    body: Vec<u8>,
}

/// An answer. Nothing that is said here may be kept by a cache, unless the answer says so itself.
#[derive(Clone, Debug)]
pub struct Response {
    status: StatusCode,
    headers: HeaderMap,
    cookies: Vec<String>,
    body: String,
}

/// The function was invoked with something else than a request, by hand perhaps.
#[derive(Debug, thiserror::Error)]
enum InvalidEvent {
    #[error("this function takes a request of an HTTP API in payload format 2.0")]
    UnsupportedPayload(#[source] serde_json::Error),
    #[error("the request's body is not the base64 that it is said to be")]
    InvalidBase64(#[source] base64::DecodeError),
}

/// A function that answers each request with what `work` makes of it.
pub fn handler<F, Fut>(clock: Clock, work: F) -> Handler
where
    F: Fn(Request) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Response, AuthError>> + Send + 'static,
{
    let work = Arc::new(work);
    Handler::new(move |Invocation { payload, .. }| {
        let (work, clock) = (Arc::clone(&work), clock.clone());
        async move {
            let event = serde_json::from_value(payload).map_err(InvalidEvent::UnsupportedPayload)?;
            let request = Request::from_event(event, &clock)?;
            trace_context::attach(&EventContext {
                correlation_id: domain::ids::uuid_v7(clock.now()),
                causation_id: None,
                traceparent: request.traceparent,
            });
            let reply = match work(request).await {
                Ok(reply) => reply,
                Err(error) => Response::from(Problem::from(error)),
            };
            tracing::info!(status = reply.status.as_u16(), "answered");
            Ok::<_, InvalidEvent>(ApiGatewayV2httpResponse::from(reply))
        }
    })
}

impl Request {
    fn from_event(event: ApiGatewayV2httpRequest, clock: &Clock) -> Result<Self, InvalidEvent> {
        let body = match (event.body, event.is_base64_encoded) {
            (None, _) => Vec::new(),
            (Some(text), false) => text.into_bytes(),
            (Some(text), true) => BASE64_STANDARD
                .decode(text)
                .map_err(InvalidEvent::InvalidBase64)?,
        };
        let headers = event.headers;
        let traceparent = headers.get("traceparent").and_then(|value| value.to_str().ok());
        let now = clock.now();
        let trace = match traceparent.and_then(|text| text.parse::<TraceParent>().ok()) {
            Some(client) => client.child(now),
            None => TraceParent::root(now),
        };
        let query = event.raw_query_string.unwrap_or_default();
        Ok(Self {
            path: event.raw_path.unwrap_or_default(),
            client_ip: event.request_context.http.source_ip.unwrap_or_default(),
            traceparent: trace,
            path_parameters: event.path_parameters.into_iter().collect(),
            query_parameters: form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
            // In AWS cookies are apart; elsewhere they are where the client put them.
            cookies: event.cookies.unwrap_or_default(),
            headers,
            body,
        })
    }

    /// The body. What is wrong with it is said in the same words as by our other programs.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        if self.body.len() > MAX_BODY_BYTES {
            return Err(Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "body-too-large",
                "Request body too large",
            )
            .detail("A request body can have at most 16 KiB."));
        }
        // A page elsewhere can have a browser send any body without asking, but not with this type.
        if !self.has_json_content_type() {
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported-media-type",
                "Unsupported media type",
            )
            .detail("Send JSON with the header Content-Type: application/json."));
        }
        Json::from_bytes(&self.body).map(|Json(value)| value)
    }

    /// A parameter of the path.
    #[must_use]
    pub fn path_parameter(&self, name: &str) -> Option<&str> {
        find_value(&self.path_parameters, name)
    }

    /// A parameter of the query.
    #[must_use]
    pub fn query_parameter(&self, name: &str) -> Option<&str> {
        find_value(&self.query_parameters, name)
    }

    /// A cookie.
    #[must_use]
    pub fn cookie(&self, name: &str) -> Option<&str> {
        let header = self.headers.get_all(header::COOKIE).iter();
        let from_header = header.filter_map(|value| value.to_str().ok());
        self.cookies
            .iter()
            .map(String::as_str)
            .chain(from_header)
            .flat_map(|cookies| cookies.split(';'))
            .filter_map(|cookie| cookie.trim().split_once('='))
            .find(|(found, _)| *found == name)
            .map(|(_, value)| value)
    }

    fn has_json_content_type(&self) -> bool {
        let content_type = self.headers.get(header::CONTENT_TYPE);
        let text = content_type.and_then(|value| value.to_str().ok()).unwrap_or("");
        let essence = text.split(';').next().unwrap_or("").trim();
        essence.eq_ignore_ascii_case("application/json")
    }
}

fn find_value<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let pair = pairs.iter().find(|(found, _)| found == name);
    pair.map(|(_, value)| value.as_str())
}

impl Response {
    /// An answer without a body.
    #[must_use]
    pub fn empty(status: StatusCode) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        );
        Self {
            status,
            headers,
            cookies: Vec::new(),
            body: String::new(),
        }
    }

    /// An answer in JSON.
    #[must_use]
    pub fn json(status: StatusCode, body: &impl Serialize) -> Self {
        let mut reply = Self::empty(status);
        reply.body = serde_json::to_string(body).expect("our answers have string keys");
        reply.header(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))
    }

    /// Sets a header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Sets a cookie, written as in `Set-Cookie`.
    #[must_use]
    pub fn cookie(mut self, cookie: String) -> Self {
        self.cookies.push(cookie);
        self
    }
}

impl From<Problem> for Response {
    fn from(problem: Problem) -> Self {
        let (status, headers, body) = problem.into_parts();
        let mut reply = Self::empty(status);
        reply.headers.extend(headers);
        reply.body = body;
        reply
    }
}

impl From<Response> for ApiGatewayV2httpResponse {
    fn from(reply: Response) -> Self {
        let mut response = Self::default();
        response.status_code = reply.status.as_u16().into();
        response.headers = reply.headers;
        response.cookies = reply.cookies;
        response.body = Some(Body::Text(reply.body));
        response
    }
}

impl FunctionError for InvalidEvent {
    fn name(&self) -> &'static str {
        "InvalidInput"
    }

    fn is_business_error(&self) -> bool {
        false
    }
}

impl std::fmt::Debug for Request {
    /// Neither the body nor cookies nor the query: they hold passwords and tokens.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use domain::Timestamp;
    use serde::Deserialize;
    use serde_json::{Value, json};

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body {
        #[allow(dead_code, reason = "it is read, and that is all")]
        email: String,
    }

    fn request(event: Value) -> Request {
        Request::from_event(
            serde_json::from_value(event).unwrap(),
            &Clock::from_fn(|| Timestamp::UNIX_EPOCH),
        )
        .unwrap()
    }

    fn request_with_body(content_type: &str, body: &str) -> Request {
        request(json!({
            "version": "2.0",
            "rawPath": "/v1/auth/login",
            "headers": {"content-type": content_type},
            "requestContext": {"http": {"method": "POST", "sourceIp": "203.0.113.9"}},
            "body": body,
            "isBase64Encoded": false,
        }))
    }

    async fn status_of(outcome: Result<Body, Problem>) -> u16 {
        outcome.map_or_else(|problem| problem.status().as_u16(), |_| 200)
    }

    #[tokio::test]
    async fn a_body_is_json_of_the_right_shape_and_size() {
        let read = |kind: &str, body: &str| request_with_body(kind, body).json::<Body>();
        let good = r#"{"email":"a@b"}"#;
        assert_eq!(status_of(read("application/json", good)).await, 200);
        assert_eq!(
            status_of(read("Application/JSON; charset=utf-8", good)).await,
            200
        );
        assert_eq!(status_of(read("text/plain", good)).await, 415);
        assert_eq!(status_of(read("", good)).await, 415);
        assert_eq!(status_of(read("application/json", "{")).await, 400);
        assert_eq!(status_of(read("application/json", "")).await, 400);
        assert_eq!(status_of(read("application/json", "{}")).await, 422);
        let more = r#"{"email":"a@b","role":"admin"}"#;
        assert_eq!(status_of(read("application/json", more)).await, 422);
        let endless = format!(r#"{{"email":"{}"}}"#, "a".repeat(MAX_BODY_BYTES));
        assert_eq!(status_of(read("application/json", &endless)).await, 413);
    }

    #[test]
    fn cookies_are_found_where_aws_puts_them_and_where_the_client_does() {
        let context = json!({"http": {"method": "GET"}});
        let apart = request(json!({"requestContext": context, "cookies": ["a=1", "__Host-b=2=3"]}));
        assert_eq!(
            (apart.cookie("a"), apart.cookie("__Host-b")),
            (Some("1"), Some("2=3"))
        );
        let header = request(json!({"requestContext": context, "headers": {"cookie": "a=1; __Host-b=2=3"}}));
        assert_eq!(
            (header.cookie("a"), header.cookie("__Host-b")),
            (Some("1"), Some("2=3"))
        );
        assert_eq!(header.cookie("b"), None);
    }

    #[test]
    fn the_query_is_decoded_and_the_trace_is_followed() {
        let request = request(json!({
            "rawPath": "/v1/auth/oauth/google",
            "rawQueryString": "redirect_to=https%3A%2F%2Fshop.test%2F%3Fa%3Db&x",
            "pathParameters": {"provider": "google"},
            "headers": {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
            "requestContext": {"http": {"method": "GET", "sourceIp": "203.0.113.9"}},
        }));
        assert_eq!(
            request.query_parameter("redirect_to"),
            Some("https://shop.test/?a=b")
        );
        assert_eq!(
            (request.query_parameter("x"), request.query_parameter("y")),
            (Some(""), None)
        );
        assert_eq!(request.path_parameter("provider"), Some("google"));
        assert_eq!(request.traceparent.trace_id(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(request.client_ip, "203.0.113.9");
    }

    #[test]
    fn an_answer_is_what_the_gateway_reads() {
        let reply = Response::json(StatusCode::OK, &json!({"a": 1})).cookie("c=1; HttpOnly".to_owned());
        let answer = serde_json::to_value(ApiGatewayV2httpResponse::from(reply)).unwrap();
        assert_eq!(answer["statusCode"], 200);
        assert_eq!(answer["body"], r#"{"a":1}"#);
        assert_eq!(answer["isBase64Encoded"], false);
        assert_eq!(answer["cookies"], json!(["c=1; HttpOnly"]));
        assert_eq!(answer["headers"]["content-type"], "application/json");
        assert_eq!(answer["headers"]["cache-control"], "no-store");
    }
}
