//! Requests and responses of API Gateway's HTTP API, payload format 2.0.

use std::{future::Future, sync::Arc};

use aws_lambda_events::{
    encodings::Body,
    event::apigw::{ApiGatewayV2httpRequest, ApiGatewayV2httpResponse},
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use base64::{Engine, prelude::BASE64_STANDARD};
use domain::Clock;
use events::{EventContext, TraceParent};
use http_server::{Json, OriginSecrets, Problem, extract::is_json};
use lambda_shared::{FunctionError, Handler, Invocation, trace_context};
use serde::{Serialize, de::DeserializeOwned};

use secrets::Secret;

use crate::AuthError;

/// The largest accepted request body. No valid body reaches a tenth of it.
const MAX_BODY_BYTES: usize = 16 * 1024;

#[derive(Clone)]
pub struct Request {
    /// Without the query string.
    pub path: String,
    /// The client's IP address as CloudFront or else API Gateway reports it; empty when the event has none.
    pub client_ip: String,
    /// Continues the client's trace, or starts a new one.
    pub traceparent: TraceParent,
    path_parameters: Vec<(String, String)>,
    query_parameters: Vec<(String, String)>,
    headers: HeaderMap,
    cookies: Vec<String>,
    body: Vec<u8>,
}

/// How requests prove that they came through CloudFront.
#[derive(Clone, Debug)]
pub struct CloudFront {
    pub secrets: Secret<OriginSecrets>,
    /// Whether requests without the proof are refused.
    pub is_required: bool,
}

/// Has `Cache-Control: no-store`, unless the function sets another value.
#[derive(Clone, Debug)]
pub struct Response {
    status: StatusCode,
    headers: HeaderMap,
    cookies: Vec<String>,
    body: String,
}

/// The event is not an HTTP request, for example because an operator invoked the function directly.
#[derive(Debug, thiserror::Error)]
enum InvalidEvent {
    #[error("the event is not an HTTP API request in payload format 2.0")]
    UnsupportedPayload(#[source] serde_json::Error),
    #[error("the request body is not valid base64, although the event says so")]
    InvalidBase64(#[source] base64::DecodeError),
}

/// Wraps `handle`, which answers one request, into a Lambda handler. Errors become problem documents. Without
/// `cloudfront`, the headers of CloudFront are ignored.
pub fn handler<F, Fut>(clock: Clock, cloudfront: Option<CloudFront>, handle: F) -> Handler
where
    F: Fn(Request) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Response, AuthError>> + Send + 'static,
{
    let handle = Arc::new(handle);
    Handler::new(move |Invocation { payload, .. }| {
        let (handle, clock, cloudfront) = (Arc::clone(&handle), clock.clone(), cloudfront.clone());
        async move {
            let event = serde_json::from_value(payload).map_err(InvalidEvent::UnsupportedPayload)?;
            let mut request = Request::from_event(event, &clock)?;
            trace_context::attach(&EventContext {
                correlation_id: domain::ids::uuid_v7(clock.now()),
                causation_id: None,
                traceparent: request.traceparent,
            });
            let admitted = match &cloudfront {
                Some(cloudfront) => cloudfront.admit(&mut request).await,
                None => Ok(()),
            };
            let response = match admitted {
                Ok(()) => handle(request).await,
                Err(problem) => Err(problem.into()),
            };
            let response = response.unwrap_or_else(|error| Response::from(Problem::from(error)));
            tracing::info!(status = response.status.as_u16(), "answered");
            Ok::<_, InvalidEvent>(ApiGatewayV2httpResponse::from(response))
        }
    })
}

impl CloudFront {
    /// Sets the request's client address to the one that CloudFront reports, or refuses the request.
    async fn admit(&self, request: &mut Request) -> Result<(), Problem> {
        let secrets = self.secrets.current().await;
        if self.is_required && !secrets.came_through_cloudfront(&request.headers) {
            return Err(Problem::direct_access());
        }
        if let Some(viewer_ip) = secrets.viewer_ip(&request.headers) {
            request.client_ip = viewer_ip.to_string();
        }
        Ok(())
    }
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
        let now = clock.now();
        let client_traceparent = headers
            .get("traceparent")
            .and_then(|value| value.to_str().ok())
            .and_then(|text| text.parse::<TraceParent>().ok());
        let traceparent = match client_traceparent {
            Some(client_traceparent) => client_traceparent.child(now),
            None => TraceParent::root(now),
        };
        let query = event.raw_query_string.unwrap_or_default();
        Ok(Self {
            path: event.raw_path.unwrap_or_default(),
            client_ip: event.request_context.http.source_ip.unwrap_or_default(),
            traceparent,
            path_parameters: event.path_parameters.into_iter().collect(),
            query_parameters: form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
            // API Gateway moves cookies here. The local gateway leaves them in the header `Cookie`.
            cookies: event.cookies.unwrap_or_default(),
            headers,
            body,
        })
    }

    /// Parses the body. The errors have the same problem documents as those of our HTTP services.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        if self.body.len() > MAX_BODY_BYTES {
            return Err(Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "body-too-large",
                "Request body too large",
            )
            .detail("A request body can have at most 16 KiB."));
        }
        // Cross-site request forgery: a foreign page can make a browser send any body without a CORS
        // preflight, but not with this content type.
        if !is_json(&self.headers) {
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported-media-type",
                "Unsupported media type",
            )
            .detail("Send JSON with the header Content-Type: application/json."));
        }
        Json::from_bytes(&self.body).map(|Json(value)| value)
    }

    #[must_use]
    pub fn path_parameter(&self, name: &str) -> Option<&str> {
        find_value(&self.path_parameters, name)
    }

    #[must_use]
    pub fn query_parameter(&self, name: &str) -> Option<&str> {
        find_value(&self.query_parameters, name)
    }

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
}

fn find_value<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let pair = pairs.iter().find(|(found, _)| found == name);
    pair.map(|(_, value)| value.as_str())
}

impl Response {
    /// Without a body.
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

    #[must_use]
    pub fn json(status: StatusCode, body: &impl Serialize) -> Self {
        let mut response = Self::empty(status);
        response.body = serde_json::to_string(body).expect("all map keys of our responses are strings");
        response.header(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))
    }

    /// Sets a header. It replaces an earlier value.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Adds a cookie, in the syntax of `Set-Cookie`.
    #[must_use]
    pub fn cookie(mut self, cookie: String) -> Self {
        self.cookies.push(cookie);
        self
    }
}

impl From<Problem> for Response {
    fn from(problem: Problem) -> Self {
        let (status, headers, body) = problem.into_parts();
        let mut response = Self::empty(status);
        response.headers.extend(headers);
        response.body = body;
        response
    }
}

impl From<Response> for ApiGatewayV2httpResponse {
    fn from(response: Response) -> Self {
        let mut gateway_response = Self::default();
        gateway_response.status_code = response.status.as_u16().into();
        gateway_response.headers = response.headers;
        gateway_response.cookies = response.cookies;
        gateway_response.body = Some(Body::Text(response.body));
        gateway_response
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
    /// Omits the body, the cookies and the query string, because they contain passwords and tokens.
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
    struct LoginBody {
        #[allow(dead_code, reason = "the test only deserializes it")]
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

    fn status_of(outcome: Result<LoginBody, Problem>) -> u16 {
        outcome.map_or_else(|problem| problem.status().as_u16(), |_| 200)
    }

    #[test]
    fn body_must_be_json_of_the_expected_shape_and_size() {
        let read = |content_type: &str, body: &str| request_with_body(content_type, body).json::<LoginBody>();
        let valid = r#"{"email":"a@b"}"#;
        assert_eq!(status_of(read("application/json", valid)), 200);
        assert_eq!(status_of(read("Application/JSON; charset=utf-8", valid)), 200);
        assert_eq!(status_of(read("application/vnd.matsuri+json", valid)), 200);
        assert_eq!(status_of(read("text/plain", valid)), 415);
        assert_eq!(status_of(read("", valid)), 415);
        assert_eq!(status_of(read("application/json", "{")), 400);
        assert_eq!(status_of(read("application/json", "")), 400);
        assert_eq!(status_of(read("application/json", "{}")), 422);
        let unknown_member = r#"{"email":"a@b","role":"admin"}"#;
        assert_eq!(status_of(read("application/json", unknown_member)), 422);
        let too_large = format!(r#"{{"email":"{}"}}"#, "a".repeat(MAX_BODY_BYTES));
        assert_eq!(status_of(read("application/json", &too_large)), 413);
    }

    #[test]
    fn cookies_are_read_from_the_event_and_from_the_header() {
        let context = json!({"http": {"method": "GET"}});
        let in_event = request(json!({"requestContext": context, "cookies": ["a=1", "__Host-b=2=3"]}));
        assert_eq!(
            (in_event.cookie("a"), in_event.cookie("__Host-b")),
            (Some("1"), Some("2=3"))
        );
        let in_header =
            request(json!({"requestContext": context, "headers": {"cookie": "a=1; __Host-b=2=3"}}));
        assert_eq!(
            (in_header.cookie("a"), in_header.cookie("__Host-b")),
            (Some("1"), Some("2=3"))
        );
        assert_eq!(in_header.cookie("b"), None);
    }

    #[test]
    fn query_is_decoded_and_trace_is_continued() {
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
    fn response_has_the_format_of_api_gateway() {
        let response = Response::json(StatusCode::OK, &json!({"a": 1})).cookie("c=1; HttpOnly".to_owned());
        let gateway_response = serde_json::to_value(ApiGatewayV2httpResponse::from(response)).unwrap();
        assert_eq!(gateway_response["statusCode"], 200);
        assert_eq!(gateway_response["body"], r#"{"a":1}"#);
        assert_eq!(gateway_response["isBase64Encoded"], false);
        assert_eq!(gateway_response["cookies"], json!(["c=1; HttpOnly"]));
        assert_eq!(gateway_response["headers"]["content-type"], "application/json");
        assert_eq!(gateway_response["headers"]["cache-control"], "no-store");
    }
}
