//! Internal HTTP API: only our own services may call it. Handlers parse the request, submit a command to the
//! engine and convert its result.

mod api_document;
mod error;
pub mod views;

use axum::{
    Router,
    extract::{FromRef, FromRequestParts, State},
    http::{StatusCode, request::Parts},
    middleware::from_fn_with_state,
};
use domain::{Clock, ProductId};
use events::{EventContext, TraceParent};
use http_server::{Bearer, ConcurrencyLimit, Json, Path, Problem, TraceContext, shed_load};
use openapi::{COMMON_PROBLEMS, add_shared_problems};
use sqlx::PgPool;
use tokens::{Role, TokenVerifier};
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use self::{
    api_document::ApiDocument,
    error::ApiError,
    views::{AdjustmentRequest, AdjustmentView, ReservationView, ReserveRequest, StockLevelView},
};
use crate::{
    engine::{
        Engine,
        commands::{Adjust, Commit, Release, Reserve},
        find_level, find_reservation,
    },
    model::StockError,
};

/// State of the handlers.
#[derive(Clone, FromRef)]
pub struct AppState {
    pub engine: Engine,
    /// For queries that need no command.
    pub pool: PgPool,
    /// Used to report reservations as expired before the sweep has processed them.
    pub clock: Clock,
    /// Verifies service tokens.
    pub verifier: TokenVerifier,
}

/// Routes under `/v1`, with load shedding.
pub fn routes(state: AppState) -> Router {
    build_router()
        .0
        .with_state(state)
        .layer(from_fn_with_state(ConcurrencyLimit::default(), shed_load))
}

/// The OpenAPI 3.1 document.
#[must_use]
pub fn openapi_document() -> utoipa::openapi::OpenApi {
    build_router().1
}

fn build_router() -> (Router<AppState>, utoipa::openapi::OpenApi) {
    let (routes, mut document) = OpenApiRouter::with_openapi(ApiDocument::openapi())
        .routes(routes!(reserve))
        .routes(routes!(read_reservation))
        .routes(routes!(commit))
        .routes(routes!(release))
        .routes(routes!(read_stock_level))
        .routes(routes!(adjust))
        .split_for_parts();
    add_shared_problems(&mut document, &COMMON_PROBLEMS);
    (routes, document)
}

/// Extractor: the caller is one of our own services (role `service`).
struct ServiceCaller;

impl FromRequestParts<AppState> for ServiceCaller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        let Bearer(claims) = Bearer::from_request_parts(parts, state).await?;
        if claims.role == Role::Service {
            Ok(Self)
        } else {
            Err(Problem::forbidden())
        }
    }
}

/// Uses the id of the reservation or adjustment as the correlation id of all its events.
fn event_context(id: Uuid, traceparent: TraceParent) -> EventContext {
    EventContext {
        correlation_id: id,
        causation_id: None,
        traceparent,
    }
}

/// Reserves units of products, all or nothing.
///
/// A repeated request with the same id and lines returns the reservation as it is.
#[utoipa::path(
    post, path = "/v1/reservations", tag = "Reservations", security(("bearer" = [])),
    request_body = ReserveRequest,
    responses(
        (status = 201, description = "The reservation", body = ReservationView),
        (status = 409, description = "`insufficient-stock`, or `stock-held` by open reservations, both with \
                                      `shortages`; `reservation-released` or `reservation-expired`",
         body = openapi::Problem, content_type = "application/problem+json"),
        (status = 422, description = "The body is invalid, or `reservation-mismatch`",
         body = openapi::Problem, content_type = "application/problem+json"),
    ),
)]
async fn reserve(
    State(engine): State<Engine>,
    _: ServiceCaller,
    TraceContext(trace): TraceContext,
    Json(body): Json<ReserveRequest>,
) -> Result<(StatusCode, Json<ReservationView>), ApiError> {
    let id = body.reservation_id;
    let reserve = Reserve::new(
        id,
        body.lines(),
        body.expires_in_seconds,
        event_context(id, trace),
    )?;
    let reservation = engine.submit(reserve).await??;
    Ok((StatusCode::CREATED, Json(reservation.into())))
}

/// Takes the reserved units out of the stock.
#[utoipa::path(
    post, path = "/v1/reservations/{id}/commit", tag = "Reservations", security(("bearer" = [])),
    params(("id" = Uuid, Path)),
    responses(
        (status = 200, description = "The reservation", body = ReservationView),
        (status = 409, description = "`reservation-released`, `reservation-expired`, or `insufficient-stock` if \
                                      it was refused",
         body = openapi::Problem, content_type = "application/problem+json"),
    ),
)]
async fn commit(
    State(engine): State<Engine>,
    _: ServiceCaller,
    TraceContext(trace): TraceContext,
    Path(id): Path<Uuid>,
) -> Result<Json<ReservationView>, ApiError> {
    let reservation = engine
        .submit(Commit {
            id,
            context: event_context(id, trace),
        })
        .await??;
    Ok(Json(reservation.into()))
}

/// Makes the units of a reservation available again.
///
/// A reservation that does not exist yet is released too, so that a late request to reserve it fails.
#[utoipa::path(
    post, path = "/v1/reservations/{id}/release", tag = "Reservations", security(("bearer" = [])),
    params(("id" = Uuid, Path)),
    responses(
        (status = 200, description = "The reservation", body = ReservationView),
    ),
)]
async fn release(
    State(engine): State<Engine>,
    _: ServiceCaller,
    TraceContext(trace): TraceContext,
    Path(id): Path<Uuid>,
) -> Result<Json<ReservationView>, ApiError> {
    let reservation = engine
        .submit(Release {
            id,
            context: event_context(id, trace),
        })
        .await?;
    Ok(Json(reservation.into()))
}

/// Returns a reservation.
#[utoipa::path(
    get, path = "/v1/reservations/{id}", tag = "Reservations", security(("bearer" = [])),
    params(("id" = Uuid, Path)),
    responses(
        (status = 200, description = "The reservation", body = ReservationView),
    ),
)]
async fn read_reservation(
    State(state): State<AppState>,
    _: ServiceCaller,
    Path(id): Path<Uuid>,
) -> Result<Json<ReservationView>, ApiError> {
    let reservation = find_reservation(&state.pool, id)
        .await?
        .ok_or(StockError::UnknownReservation)?;
    Ok(Json(reservation.as_of(state.clock.now()).into()))
}

/// Returns the stock level of a product.
#[utoipa::path(
    get, path = "/v1/stock/{product_id}", tag = "Stock", security(("bearer" = [])),
    params(("product_id" = Uuid, Path)),
    responses(
        (status = 200, description = "The level", body = StockLevelView),
    ),
)]
async fn read_stock_level(
    State(pool): State<PgPool>,
    _: ServiceCaller,
    Path(product_id): Path<ProductId>,
) -> Result<Json<StockLevelView>, ApiError> {
    let level = find_level(&pool, product_id)
        .await?
        .ok_or(StockError::UnknownProduct)?;
    Ok(Json(StockLevelView::new(product_id, level)))
}

/// Changes the quantity of a product, once per adjustment id.
#[utoipa::path(
    post, path = "/v1/stock/{product_id}/adjustments", tag = "Stock", security(("bearer" = [])),
    params(("product_id" = Uuid, Path)),
    request_body = AdjustmentRequest,
    responses(
        (status = 201, description = "The adjustment and the resulting level", body = AdjustmentView),
        (status = 409, description = "`insufficient-stock`, with `shortages`",
         body = openapi::Problem, content_type = "application/problem+json"),
        (status = 422, description = "The body is invalid; `adjustment-mismatch`; or `stock-limit-exceeded`",
         body = openapi::Problem, content_type = "application/problem+json"),
    ),
)]
async fn adjust(
    State(engine): State<Engine>,
    _: ServiceCaller,
    TraceContext(trace): TraceContext,
    Path(product_id): Path<ProductId>,
    Json(body): Json<AdjustmentRequest>,
) -> Result<(StatusCode, Json<AdjustmentView>), ApiError> {
    let context = event_context(body.adjustment_id, trace);
    let outcome = engine
        .submit(Adjust::new(body.into_adjustment(product_id), context)?)
        .await??;
    Ok((StatusCode::CREATED, Json(outcome.into())))
}
