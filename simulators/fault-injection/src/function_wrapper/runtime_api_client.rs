//! The client of Lambda's runtime API (version 2018-06-01) and of the control API's fault lookup.

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

/// The path prefix of the invocation endpoints.
pub(super) const INVOCATION_PATH: &str = "/2018-06-01/runtime/invocation";

/// The endpoint to which a function reports that its initialisation failed.
pub(super) const INIT_ERROR_PATH: &str = "/2018-06-01/runtime/init/error";

/// Receives invocations, looks up their faults and reports their results.
#[derive(Debug)]
pub struct RuntimeApiClient {
    client: Client<HttpConnector, Full<Bytes>>,
    /// Host and port, from `AWS_LAMBDA_RUNTIME_API`.
    runtime_api: String,
    /// The lookup endpoint for this function, below `FAULTS_URL`.
    fault_url: String,
}

/// An invocation. Its headers carry request id, deadline, ARN and trace.
#[derive(Clone, Debug)]
pub(super) struct Invocation {
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// The result of an invocation or of a failed initialisation.
#[derive(Debug)]
pub(super) struct InvocationResult {
    /// `response` or `error`, as in the runtime API's paths.
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
    /// `faults_url` is the base URL of the control API.
    #[must_use]
    pub fn new(runtime_api: String, faults_url: &str, function: &str) -> Self {
        Self {
            client: Client::builder(TokioExecutor::new()).build_http(),
            runtime_api,
            fault_url: format!("{faults_url}/invocations/{function}"),
        }
    }

    /// Waits for the next invocation.
    pub(super) async fn next_invocation(&self) -> Result<Invocation> {
        let (headers, body) = self
            .send(
                Method::GET,
                &self.invocation_url("/next"),
                HeaderMap::new(),
                Bytes::new(),
            )
            .await
            .context("cannot get the next invocation from Lambda")?;
        Ok(Invocation {
            headers: forwarded_headers(&headers),
            body,
        })
    }

    /// Asks the control API which fault to inject, if any.
    pub(super) async fn fetch_fault(&self, invocation: &Invocation) -> Result<Option<FunctionFault>> {
        let (_, body) = self
            .send(
                Method::POST,
                &self.fault_url,
                HeaderMap::new(),
                invocation.body.clone(),
            )
            .await
            .context("cannot reach the fault control API (FAULTS_URL)")?;
        Ok(serde_json::from_slice(&body)?)
    }

    /// Reports the result of an invocation to Lambda.
    pub(super) async fn report_result(
        &self,
        invocation: &Invocation,
        result: InvocationResult,
    ) -> Result<()> {
        let id = invocation
            .headers
            .get("lambda-runtime-aws-request-id")
            .and_then(|id| id.to_str().ok())
            .context("the invocation has no header lambda-runtime-aws-request-id")?;
        let url = self.invocation_url(&format!("/{id}/{}", result.outcome));
        let sent = self.send(Method::POST, &url, result.headers, result.body).await;
        sent.context("cannot report the result to Lambda").map(drop)
    }

    /// Reports the function's own initialisation error to Lambda.
    pub(super) async fn report_init_error(&self, result: InvocationResult) -> Result<()> {
        let url = format!("http://{}{INIT_ERROR_PATH}", self.runtime_api);
        let sent = self.send(Method::POST, &url, result.headers, result.body).await;
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
        let response = self.client.request(request).await?;
        let status = response.status();
        ensure!(status.is_success(), "{url} responds with {status}");
        let (head, body) = response.into_parts();
        Ok((head.headers, body.collect().await?.to_bytes()))
    }
}

/// Returns the headers of the runtime API, without those of the HTTP connection.
pub(super) fn forwarded_headers(headers: &HeaderMap) -> HeaderMap {
    let is_forwarded = |name: &str| name == CONTENT_TYPE || name.starts_with("lambda-runtime-");
    headers
        .iter()
        .filter(|(name, _)| is_forwarded(name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}
