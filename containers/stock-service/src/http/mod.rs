//! The HTTP API, for our own programs only. Handlers parse, ask the engine and show what it says.

mod error;
pub mod views;

use access_tokens::{Role, Verifier};
use axum::{
    Router,
    extract::{FromRef, FromRequestParts, State},
    http::{StatusCode, request::Parts},
    routing::{get, post},
};
use domain::{Clock, ProductId};
use events::{Cause, TraceParent};
use sqlx::PgPool;
use uuid::Uuid;
use web::{Bearer, Capacity, Json, Path, Problem, Trace};

use self::{
    error::ApiError,
    views::{AdjustBody, AdjustedView, LevelView, ReservationView, ReserveBody},
};
use crate::{
    engine::{
        Engine,
        commands::{Adjust, Commit, Release, Reserve},
        find_level, find_reservation,
    },
    model::Refusal,
};

/// What the handlers work with.
#[derive(Clone, FromRef)]
pub struct App {
    /// Decides.
    pub engine: Engine,
    /// For reading.
    pub pool: PgPool,
    /// For reading what time has changed.
    pub clock: Clock,
    /// Knows our own programs' tokens.
    pub verifier: Verifier,
}

/// The routes under `/v1`, with room for so many requests at once.
pub fn routes(app: App) -> Router {
    Router::new()
        .route("/v1/reservations", post(reserve))
        .route("/v1/reservations/{id}", get(show_reservation))
        .route("/v1/reservations/{id}/commit", post(commit))
        .route("/v1/reservations/{id}/release", post(release))
        .route("/v1/stock/{product_id}", get(show_stock))
        .route("/v1/stock/{product_id}/adjustments", post(adjust))
        .with_state(app)
        .layer(Capacity::default())
}

/// One of our own programs is asking.
struct Program;

impl FromRequestParts<App> for Program {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let Bearer(claims) = Bearer::from_request_parts(parts, app).await?;
        if claims.role == Role::Service {
            Ok(Self)
        } else {
            Err(Problem::forbidden())
        }
    }
}

/// Everything that one reservation or adjustment brings about belongs together by its id.
fn cause(id: Uuid, traceparent: TraceParent) -> Cause {
    Cause {
        correlation_id: id,
        causation_id: None,
        traceparent,
    }
}

async fn reserve(
    State(engine): State<Engine>,
    _: Program,
    Trace(trace): Trace,
    Json(body): Json<ReserveBody>,
) -> Result<(StatusCode, Json<ReservationView>), ApiError> {
    let id = body.reservation_id;
    let reserve = Reserve::new(id, body.lines(), body.expires_in_seconds, cause(id, trace))?;
    let reservation = engine.submit(reserve).await??;
    Ok((StatusCode::CREATED, Json(reservation.into())))
}

async fn commit(
    State(engine): State<Engine>,
    _: Program,
    Trace(trace): Trace,
    Path(id): Path<Uuid>,
) -> Result<Json<ReservationView>, ApiError> {
    let reservation = engine
        .submit(Commit {
            id,
            cause: cause(id, trace),
        })
        .await??;
    Ok(Json(reservation.into()))
}

async fn release(
    State(engine): State<Engine>,
    _: Program,
    Trace(trace): Trace,
    Path(id): Path<Uuid>,
) -> Result<Json<ReservationView>, ApiError> {
    let reservation = engine
        .submit(Release {
            id,
            cause: cause(id, trace),
        })
        .await?;
    Ok(Json(reservation.into()))
}

async fn show_reservation(
    State(app): State<App>,
    _: Program,
    Path(id): Path<Uuid>,
) -> Result<Json<ReservationView>, ApiError> {
    let reservation = find_reservation(&app.pool, id)
        .await?
        .ok_or(Refusal::UnknownReservation)?;
    Ok(Json(reservation.seen_at(app.clock.now()).into()))
}

async fn show_stock(
    State(pool): State<PgPool>,
    _: Program,
    Path(product_id): Path<ProductId>,
) -> Result<Json<LevelView>, ApiError> {
    let level = find_level(&pool, product_id)
        .await?
        .ok_or(Refusal::UnknownProduct)?;
    Ok(Json(LevelView::new(product_id, level)))
}

async fn adjust(
    State(engine): State<Engine>,
    _: Program,
    Trace(trace): Trace,
    Path(product_id): Path<ProductId>,
    Json(body): Json<AdjustBody>,
) -> Result<(StatusCode, Json<AdjustedView>), ApiError> {
    let cause = cause(body.adjustment_id, trace);
    let adjusted = engine.submit(Adjust::new(body.of(product_id), cause)?).await??;
    Ok((StatusCode::CREATED, Json(adjusted.into())))
}
