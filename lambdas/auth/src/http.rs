//! The auth functions behind API Gateway: their middleware, and what a handler needs to know of each request.

use std::convert::Infallible;

use axum::{
    Router,
    extract::{FromRequestParts, Request, State},
    http::request::Parts,
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
};
use events::TraceParent;
use http_server::{OriginSecrets, Problem, TraceContext, with_common_middleware};
use lambda_shared::{FunctionContext, Handler, InitError, http::SourceIp};
use secrets::Secret;

use crate::bootstrap;

/// Where a request comes from.
#[derive(Clone, Debug)]
pub struct RequestContext {
    /// The client's IP address as CloudFront or else API Gateway reports it; empty when the event has none.
    pub client_ip: String,
    /// Continues the client's trace, or starts a new one.
    pub traceparent: TraceParent,
}

impl<S: Send + Sync> FromRequestParts<S> for RequestContext {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let SourceIp(source_ip) = SourceIp::from_request_parts(parts, state).await?;
        let viewer_ip = parts
            .extensions
            .get()
            .map(|ViewerIp(viewer_ip)| viewer_ip.clone());
        let TraceContext(traceparent) = TraceContext::from_request_parts(parts, state).await?;
        Ok(Self {
            client_ip: viewer_ip.unwrap_or(source_ip),
            traceparent,
        })
    }
}

/// How requests prove that they came through CloudFront.
#[derive(Clone, Debug)]
pub struct CloudFront {
    pub secrets: Secret<OriginSecrets>,
    /// Whether requests without the proof are refused.
    pub is_required: bool,
}

/// The client's address that CloudFront has reported.
#[derive(Clone)]
struct ViewerIp(String);

/// Creates a function from its routes. If `CLOUDFRONT` is `unused`, the headers of CloudFront are ignored.
pub async fn function(
    context: FunctionContext,
    routes: impl AsyncFnOnce(&FunctionContext) -> Result<Router, InitError>,
) -> Result<Handler, InitError> {
    let mut routes = routes(&context).await?;
    if let Some(cloudfront) = bootstrap::cloudfront(&context).await? {
        routes = routes.layer(from_fn_with_state(cloudfront, admit));
    }
    Ok(function_past_cloudfront(context, routes))
}

/// Creates a function for which it does not matter whether requests come through CloudFront.
pub fn function_past_cloudfront(context: FunctionContext, routes: Router) -> Handler {
    lambda_shared::http::handler(with_common_middleware(routes, context.clock))
}

/// Middleware: determines the client's address that CloudFront reports, or refuses the request.
async fn admit(State(cloudfront): State<CloudFront>, mut request: Request, next: Next) -> Response {
    let secrets = cloudfront.secrets.current().await;
    if cloudfront.is_required && !secrets.came_through_cloudfront(request.headers()) {
        return Problem::direct_access().into_response();
    }
    if let Some(viewer_ip) = secrets.viewer_ip(request.headers()) {
        request.extensions_mut().insert(ViewerIp(viewer_ip.to_string()));
    }
    next.run(request).await
}
