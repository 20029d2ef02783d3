//! The baseline of the benchmark `catalog`: a bare axum server with prepared responses. The first argument is
//! the path of a JSON file that maps request targets to response bodies.

use std::{collections::HashMap, env, fs, sync::Arc};

use anyhow::Context as _;
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::net::TcpListener;

type ResponseBodies = Arc<HashMap<String, Bytes>>;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let file = env::args()
        .nth(1)
        .context("missing argument: the path of the file with the response bodies")?;
    let bodies: HashMap<String, String> = serde_json::from_slice(&fs::read(file)?)?;
    let bodies: HashMap<String, Bytes> = bodies
        .into_iter()
        .map(|(target, body)| (target, body.into()))
        .collect();
    let router = Router::new()
        .route("/v1/products/{id}", get(respond))
        .route("/v1/products", get(respond))
        .route("/ready", get(StatusCode::OK))
        .with_state(Arc::new(bodies));
    #[expect(
        clippy::disallowed_methods,
        reason = "one variable needs no typed configuration"
    )]
    let port: u16 = env::var("PORT").context("PORT is not set")?.parse()?;
    axum::serve(TcpListener::bind(("127.0.0.1", port)).await?, router).await?;
    Ok(())
}

async fn respond(State(bodies): State<ResponseBodies>, target: Uri) -> Response {
    match target
        .path_and_query()
        .and_then(|target| bodies.get(target.as_str()))
    {
        Some(body) => ([(header::CONTENT_TYPE, "application/json")], body.clone()).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
