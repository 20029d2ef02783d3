//! The HTTP API, for our own programs only. Handlers parse, ask the engine and show what it says.

mod error;
pub mod views;

use axum::{
    Router,
    extract::{FromRef, FromRequestParts, State},
    http::{StatusCode, request::Parts},
    routing::{get, post},
};
use domain::{Clock, ProductId};
use events::{EventContext, TraceParent};
use http_server::{Bearer, Json, LoadShedLayer, Path, Problem, TraceContext};
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

/// What the handlers work with.
#[derive(Clone, FromRef)]
pub struct AppState {
    /// Decides.
    pub engine: Engine,
    /// For reading.
    pub pool: PgPool,
    /// For reading what time has changed.
    pub clock: Clock,
    /// Knows our own programs' tokens.
    pub verifier: TokenVerifier,
}

/// The routes under `/v1`, with room for so many requests at once.
pub fn routes(app: AppState) -> Router {
    Router::new()
        .route("/v1/reservations", post(reserve))
        .route("/v1/reservations/{id}", get(get_reservation))
        .route("/v1/reservations/{id}/commit", post(commit))
        .route("/v1/reservations/{id}/release", post(release))
        .route("/v1/stock/{product_id}", get(get_stock_level))
        .route("/v1/stock/{product_id}/adjustments", post(adjust))
        .with_state(app)
        .layer(LoadShedLayer::default())
}

/// One of our own programs is asking.
struct ServiceCaller;

impl FromRequestParts<AppState> for ServiceCaller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, Problem> {
        let Bearer(claims) = Bearer::from_request_parts(parts, app).await?;
        if claims.role == Role::Service {
            Ok(Self)
        } else {
            Err(Problem::forbidden())
        }
    }
}

/// Everything that one reservation or adjustment brings about belongs together by its id.
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
    State(app): State<AppState>,
    _: ServiceCaller,
    Path(id): Path<Uuid>,
) -> Result<Json<ReservationView>, ApiError> {
    let reservation = find_reservation(&app.pool, id)
        .await?
        .ok_or(StockError::UnknownReservation)?;
    Ok(Json(reservation.as_of(app.clock.now()).into()))
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
    let cause = event_context(body.adjustment_id, trace);
    let adjusted = engine
        .submit(Adjust::new(body.into_adjustment(product_id), cause)?)
        .await??;
    Ok((StatusCode::CREATED, Json(adjusted.into())))
}
