//! The HTTP client for identity providers.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use futures::future::BoxFuture;
use headers::{CacheControl, HeaderMapExt as _};
use oauth2::{AsyncHttpClient, HttpRequest, HttpResponse};
use reqwest::redirect::Policy;

/// The limit of each request.
const TIMEOUT: Duration = Duration::from_secs(5);

/// No valid response reaches a tenth of it.
const MAX_RESPONSE_BYTES: usize = 1024 * 1024;

/// Sends the requests of the OAuth and OpenID Connect libraries. Cloning is cheap.
#[derive(Clone, Debug)]
pub(crate) struct ProviderHttp(reqwest::Client);

/// A request has failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    #[error("the provider did not respond")]
    NoResponse(#[from] reqwest::Error),
    #[error("the response is larger than {MAX_RESPONSE_BYTES} bytes")]
    ResponseTooLarge,
    #[error("the response is invalid")]
    InvalidResponse(#[from] oauth2::http::Error),
}

/// Sends requests and records for how long all their responses may be cached.
#[derive(Debug)]
pub(crate) struct CachingHttp {
    http: ProviderHttp,
    /// `None` before the first response.
    lifetime: Mutex<Option<Duration>>,
}

impl ProviderHttp {
    /// # Errors
    /// When the system has no certificates.
    pub(crate) fn new() -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder()
            .timeout(TIMEOUT)
            // A redirect could lead into our own network.
            .redirect(Policy::none())
            .user_agent("matsuri");
        client.build().map(Self)
    }

    /// For requests that the libraries do not know.
    pub(crate) fn client(&self) -> &reqwest::Client {
        &self.0
    }

    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (parts, body) = request.into_parts();
        let mut response = self
            .0
            .request(parts.method, parts.uri.to_string())
            .headers(parts.headers)
            .body(body)
            .send()
            .await?;
        let mut builder = oauth2::http::Response::builder().status(response.status());
        if let Some(headers) = builder.headers_mut() {
            *headers = response.headers().clone();
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_RESPONSE_BYTES {
                return Err(HttpError::ResponseTooLarge);
            }
        }
        Ok(builder.body(body)?)
    }
}

impl CachingHttp {
    pub(crate) fn new(http: ProviderHttp) -> Self {
        Self {
            http,
            lifetime: Mutex::new(None),
        }
    }

    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let response = self.http.send(request).await?;
        let lifetime = match response.headers().typed_get::<CacheControl>() {
            Some(control) if !control.no_store() && !control.no_cache() => control.max_age(),
            _ => None,
        };
        let lifetime = lifetime.unwrap_or_default();
        let mut shortest = self.lifetime.lock().unwrap_or_else(PoisonError::into_inner);
        *shortest = Some(shortest.map_or(lifetime, |shortest| shortest.min(lifetime)));
        Ok(response)
    }

    /// Zero without a response, and if one of them may not be cached.
    pub(crate) fn lifetime(&self) -> Duration {
        let lifetime = self.lifetime.lock().unwrap_or_else(PoisonError::into_inner);
        lifetime.unwrap_or_default()
    }
}

impl<'c> AsyncHttpClient<'c> for ProviderHttp {
    type Error = HttpError;
    type Future = BoxFuture<'c, Result<HttpResponse, HttpError>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.send(request))
    }
}

impl<'c> AsyncHttpClient<'c> for CachingHttp {
    type Error = HttpError;
    type Future = BoxFuture<'c, Result<HttpResponse, HttpError>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.send(request))
    }
}
