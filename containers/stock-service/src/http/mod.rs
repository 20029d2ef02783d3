//! Internal HTTP API: only our own services may call it. Handlers parse the request, submit a command to the
//! engine and convert its result.

mod error;
pub mod views;

use axum::{
    Router,
    extract::{FromRef, FromRequestParts, State},
    http::{StatusCode, request::Parts},
    middleware::from_fn_with_state,
    routing::{get, post},
};
use domain::{Clock, ProductId};
use events::{EventContext, TraceParent};
use http_server::{Bearer, ConcurrencyLimit, Json, Path, Problem, TraceContext, shed_load};
use sqlx::PgPool;
use tokens::{Role, TokenVerifier};
use uuid::Uuid;

use self::{
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
    Router::new()
        .route("/v1/reservations", post(reserve))
        .route("/v1/reservations/{id}", get(get_reservation))
        .route("/v1/reservations/{id}/commit", post(commit))
        .route("/v1/reservations/{id}/release", post(release))
        .route("/v1/stock/{product_id}", get(get_stock_level))
        .route("/v1/stock/{product_id}/adjustments", post(adjust))
        .with_state(state)
        .layer(from_fn_with_state(ConcurrencyLimit::default(), shed_load))
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

async fn get_reservation(
    State(state): State<AppState>,
    _: ServiceCaller,
    Path(id): Path<Uuid>,
) -> Result<Json<ReservationView>, ApiError> {
    let reservation = find_reservation(&state.pool, id)
        .await?
        .ok_or(StockError::UnknownReservation)?;
    Ok(Json(reservation.as_of(state.clock.now()).into()))
}

async fn get_stock_level(
    State(pool): State<PgPool>,
    _: ServiceCaller,
    Path(product_id): Path<ProductId>,
) -> Result<Json<StockLevelView>, ApiError> {
    let level = find_level(&pool, product_id)
        .await?
        .ok_or(StockError::UnknownProduct)?;
    Ok(Json(StockLevelView::new(product_id, level)))
}

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
