//! Extractors: API key, idempotency key, parameters and payment id.

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Path, Request},
    http::{
        HeaderMap, Method,
        header::{AUTHORIZATION, CONTENT_TYPE},
        request::Parts,
    },
    middleware::Next,
    response::Response,
};
use base64::{Engine, prelude::BASE64_STANDARD};

use crate::{api_error::ApiError, params::Params, state::IdempotentRequest};

/// A POST request with its parameters and, if it has an idempotency key, its fingerprint.
pub struct PostRequest {
    /// `None` when the request has no idempotency key.
    pub idempotent_request: Option<IdempotentRequest>,
    pub params: Params,
}

impl<S: Send + Sync> FromRequest<S> for PostRequest {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let path = request.uri().path().to_owned();
        let key = match request
            .headers()
            .get("idempotency-key")
            .map(|value| value.to_str())
        {
            None => None,
            Some(Ok(key)) if (1..=255).contains(&key.len()) => Some(key.to_owned()),
            Some(_) => {
                return Err(ApiError::invalid_request(
                    "An idempotency key must have 1 to 255 ASCII characters.",
                ));
            }
        };
        let params = Params::from_request(request, state).await?;
        let fingerprint = format!("POST {path} {}", params.fingerprint());
        Ok(Self {
            idempotent_request: key.map(|key| IdempotentRequest { key, fingerprint }),
            params,
        })
    }
}

/// The payment id in the path.
pub struct PaymentIntentId(pub String);

impl<S: Send + Sync> FromRequestParts<S> for PaymentIntentId {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Path(id) = Path::from_request_parts(parts, state)
            .await
            .map_err(|_| ApiError::unknown_url())?;
        Ok(Self(id))
    }
}

/// Accepts test keys only. It rejects live keys, so that a misconfigured live key is noticed.
pub async fn require_test_key(
    headers: HeaderMap,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let authorization = headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let key = match authorization.split_once(' ') {
        Some((scheme, key)) if scheme.eq_ignore_ascii_case("bearer") => Some(key.to_owned()),
        Some((scheme, encoded)) if scheme.eq_ignore_ascii_case("basic") => BASE64_STANDARD
            .decode(encoded)
            .ok()
            .and_then(|decoded| String::from_utf8(decoded).ok())
            .and_then(|pair| pair.split(':').next().map(str::to_owned)),
        _ => None,
    };
    if key.is_some_and(|key| key.strip_prefix("sk_test_").is_some_and(|rest| !rest.is_empty())) {
        Ok(next.run(request).await)
    } else {
        Err(ApiError::unauthorized())
    }
}

impl<S: Send + Sync> FromRequest<S> for Params {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        if request.method() == Method::GET {
            return Ok(Self::parse(request.uri().query().unwrap_or_default().as_bytes()));
        }
        let is_form = request.headers().get(CONTENT_TYPE).is_none_or(|value| {
            value
                .as_bytes()
                .to_ascii_lowercase()
                .starts_with(b"application/x-www-form-urlencoded")
        });
        let body = Bytes::from_request(request, state)
            .await
            .map_err(|_| ApiError::payload_too_large())?;
        if !is_form && !body.is_empty() {
            return Err(ApiError::invalid_request(
                "Send parameters as application/x-www-form-urlencoded.",
            ));
        }
        Ok(Self::parse(&body))
    }
}
