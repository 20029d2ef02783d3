//! The function's side: its process, and the runtime API that it believes to be Lambda's.

use std::{net::Ipv4Addr, path::Path, sync::Arc};

use anyhow::{Context as _, Result, anyhow};
use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use tokio::{
    net::TcpListener,
    process::{Child, Command},
    sync::{Mutex, Notify, mpsc},
    task::AbortHandle,
};

use super::runtime_api_client::{
    INIT_ERROR_PATH, INVOCATION_PATH, Invocation, InvocationResult, forwarded_headers,
};

/// The function's process. Dropping it kills it.
pub(super) struct FunctionProcess {
    child: Child,
    invocations: mpsc::Sender<Invocation>,
    results: mpsc::Receiver<InvocationResult>,
    server: AbortHandle,
}

/// What came of starting the function.
pub(super) enum StartOutcome {
    /// It asks for its first invocation.
    Ready(FunctionProcess),
    /// It reported why it cannot start.
    InitFailed(InvocationResult),
}

/// What the routes share. A function has one invocation at a time, so nothing tells them apart.
struct RuntimeApiState {
    first_poll: Notify,
    invocations: Mutex<mpsc::Receiver<Invocation>>,
    results: mpsc::Sender<InvocationResult>,
}

impl FunctionProcess {
    /// Starts the function, and waits until it is ready.
    pub(super) async fn start(program: &Path) -> Result<StartOutcome> {
        let (events, waiting) = mpsc::channel(1);
        let (answered, answers) = mpsc::channel(1);
        let api = Arc::new(RuntimeApiState {
            first_poll: Notify::new(),
            invocations: Mutex::new(waiting),
            results: answered,
        });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?.to_string();
        let routes = routes(Arc::clone(&api));
        let server = tokio::spawn(async move { axum::serve(listener, routes).await }).abort_handle();
        let child = Command::new(program)
            .env("AWS_LAMBDA_RUNTIME_API", address)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{} cannot be run", program.display()))?;
        let mut process = Self {
            child,
            invocations: events,
            results: answers,
            server,
        };
        tokio::select! {
            () = api.first_poll.notified() => Ok(StartOutcome::Ready(process)),
            Some(refused) = process.results.recv() => Ok(StartOutcome::InitFailed(refused)),
            ended = process.child.wait() => Err(anyhow!("the function ended before its first invocation: {}", ended?)),
        }
    }

    /// Hands the function an event, and waits for its answer. Fails when the process ends instead.
    pub(super) async fn invoke(&mut self, event: &Invocation) -> Result<InvocationResult> {
        self.invocations.send(event.clone()).await?;
        tokio::select! {
            biased;
            Some(answer) = self.results.recv() => Ok(answer),
            ended = self.child.wait() => Err(anyhow!("the function ended: {}", ended?)),
        }
    }

    /// Kills the process as `kill -9` does, and waits until it is gone.
    pub(super) async fn kill(&mut self) -> std::io::Result<()> {
        self.child.kill().await
    }
}

impl Drop for FunctionProcess {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn routes(api: Arc<RuntimeApiState>) -> Router {
    Router::new()
        .route(&format!("{INVOCATION_PATH}/next"), get(next_invocation))
        .route(
            &format!("{INVOCATION_PATH}/{{id}}/response"),
            post(
                async |api: State<Arc<RuntimeApiState>>, headers: HeaderMap, body: Bytes| {
                    api.submit_result("response", &headers, body).await
                },
            ),
        )
        .route(&format!("{INVOCATION_PATH}/{{id}}/error"), post(report_error))
        .route(INIT_ERROR_PATH, post(report_error))
        // Lambda takes answers of 6 MiB; what is too long is Lambda's to refuse.
        .layer(DefaultBodyLimit::disable())
        .with_state(api)
}

async fn next_invocation(State(api): State<Arc<RuntimeApiState>>) -> Response {
    api.first_poll.notify_one();
    match api.invocations.lock().await.recv().await {
        Some(Invocation { headers, body }) => (headers, body).into_response(),
        None => StatusCode::GONE.into_response(),
    }
}

async fn report_error(api: State<Arc<RuntimeApiState>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    api.submit_result("error", &headers, body).await
}

impl RuntimeApiState {
    async fn submit_result(&self, outcome: &'static str, headers: &HeaderMap, body: Bytes) -> StatusCode {
        let answer = InvocationResult {
            outcome,
            headers: forwarded_headers(headers),
            body,
        };
        // Whoever invoked may have stopped waiting, as Lambda does.
        match self.results.send(answer).await {
            Ok(()) => StatusCode::ACCEPTED,
            Err(_) => StatusCode::GONE,
        }
    }
}
