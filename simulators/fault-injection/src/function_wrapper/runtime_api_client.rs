//! Lambda's side: its runtime API (version 2018-06-01) as a function sees it, and the plan.

use anyhow::{Context as _, Result, ensure};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    HeaderMap, Method, Request,
    body::Bytes,
    header::{CONTENT_TYPE, HeaderValue},
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};

use crate::FunctionFault;

/// The runtime API's path of everything about invocations.
pub(super) const INVOCATION_PATH: &str = "/2018-06-01/runtime/invocation";

/// The runtime API's path for a function that cannot start.
pub(super) const INIT_ERROR_PATH: &str = "/2018-06-01/runtime/init/error";

/// Where events come from.
#[derive(Debug)]
pub struct RuntimeApiClient {
    client: Client<HttpConnector, Full<Bytes>>,
    /// `AWS_LAMBDA_RUNTIME_API`: host and port.
    runtime_api: String,
    /// `FAULTS_URL`, with the path for this function.
    fault_url: String,
}

/// An invocation: id, deadline, ARN and trace are in its headers.
#[derive(Clone, Debug)]
pub(super) struct Invocation {
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// What a function says in the end.
#[derive(Debug)]
pub(super) struct InvocationResult {
    /// `response` or `error`, as the runtime API's paths have it.
    pub outcome: &'static str,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl InvocationResult {
    pub(super) fn error(body: Bytes) -> Self {
        let json = HeaderValue::from_static("application/json");
        Self {
            outcome: "error",
            headers: HeaderMap::from_iter([(CONTENT_TYPE, json)]),
            body,
        }
    }
}

impl RuntimeApiClient {
    /// The platform at a runtime API, and the rules at `faults_url` for the function.
    #[must_use]
    pub fn new(runtime_api: String, faults_url: &str, function: &str) -> Self {
        Self {
            client: Client::builder(TokioExecutor::new()).build_http(),
            runtime_api,
            fault_url: format!("{faults_url}/invocations/{function}"),
        }
    }

    /// Waits for an invocation.
    pub(super) async fn next_invocation(&self) -> Result<Invocation> {
        let (headers, body) = self
            .send(
                Method::GET,
                &self.invocation_url("/next"),
                HeaderMap::new(),
                Bytes::new(),
            )
            .await
            .context("Lambda has no next invocation")?;
        Ok(Invocation {
            headers: forwarded_headers(&headers),
            body,
        })
    }

    /// What becomes of the invocation.
    pub(super) async fn fetch_fault(&self, event: &Invocation) -> Result<Option<FunctionFault>> {
        let (_, body) = self
            .send(
                Method::POST,
                &self.fault_url,
                HeaderMap::new(),
                event.body.clone(),
            )
            .await
            .context("the plan of faults cannot be asked (FAULTS_URL)")?;
        Ok(serde_json::from_slice(&body)?)
    }

    /// Hands in the answer to an invocation.
    pub(super) async fn report_result(&self, event: &Invocation, answer: InvocationResult) -> Result<()> {
        let id = event
            .headers
            .get("lambda-runtime-aws-request-id")
            .and_then(|id| id.to_str().ok())
            .context("the invocation has no id")?;
        let url = self.invocation_url(&format!("/{id}/{}", answer.outcome));
        let sent = self.send(Method::POST, &url, answer.headers, answer.body).await;
        sent.context("Lambda does not take the answer").map(drop)
    }

    /// Reports that the function cannot start, in its own words.
    pub(super) async fn report_init_error(&self, answer: InvocationResult) -> Result<()> {
        let url = format!("http://{}{INIT_ERROR_PATH}", self.runtime_api);
        let sent = self.send(Method::POST, &url, answer.headers, answer.body).await;
        sent.map(drop)
    }

    fn invocation_url(&self, path: &str) -> String {
        format!("http://{}{INVOCATION_PATH}{path}", self.runtime_api)
    }

    async fn send(
        &self,
        method: Method,
        url: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<(HeaderMap, Bytes)> {
        let mut request = Request::builder().method(method).uri(url).body(Full::new(body))?;
        *request.headers_mut() = headers;
        let answer = self.client.request(request).await?;
        ensure!(answer.status().is_success(), "{url} answers {}", answer.status());
        let (head, body) = answer.into_parts();
        Ok((head.headers, body.collect().await?.to_bytes()))
    }
}

/// The headers that mean something to the other side, without those of the connection.
pub(super) fn forwarded_headers(headers: &HeaderMap) -> HeaderMap {
    let meant = |name: &str| name == CONTENT_TYPE || name.starts_with("lambda-runtime-");
    headers
        .iter()
        .filter(|(name, _)| meant(name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}
