//! The process of the wrapped function, and the runtime API that the wrapper serves to it.

use std::{net::Ipv4Addr, sync::Arc};

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

use super::{
    WrappedFunction,
    runtime_api_client::{INIT_ERROR_PATH, INVOCATION_PATH, Invocation, InvocationResult, forwarded_headers},
};

/// The function's process. Dropping it kills the process.
pub(super) struct FunctionProcess {
    child: Child,
    invocations: mpsc::Sender<Invocation>,
    results: mpsc::Receiver<InvocationResult>,
    server: AbortHandle,
}

/// The outcome of starting the function.
pub(super) enum StartOutcome {
    /// The function polls for its first invocation.
    Ready(FunctionProcess),
    /// The function reported that its initialisation failed.
    InitFailed(InvocationResult),
}

/// State of the runtime API. A function processes one invocation at a time, so invocations need no ids here.
struct RuntimeApiState {
    first_poll: Notify,
    invocations: Mutex<mpsc::Receiver<Invocation>>,
    results: mpsc::Sender<InvocationResult>,
}

impl FunctionProcess {
    /// Starts the function and waits until it polls for its first invocation. The function signs its AWS
    /// requests with its own name as the access key id, so that the proxy knows the caller. In AWS it would
    /// have the credentials of its role.
    pub(super) async fn start(function: &WrappedFunction) -> Result<StartOutcome> {
        let (invocation_sender, invocation_receiver) = mpsc::channel(1);
        let (result_sender, result_receiver) = mpsc::channel(1);
        let state = Arc::new(RuntimeApiState {
            first_poll: Notify::new(),
            invocations: Mutex::new(invocation_receiver),
            results: result_sender,
        });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?.to_string();
        let routes = routes(Arc::clone(&state));
        let server = tokio::spawn(async move { axum::serve(listener, routes).await }).abort_handle();
        let child = Command::new(&function.executable)
            .env("AWS_LAMBDA_RUNTIME_API", address)
            .env("AWS_ACCESS_KEY_ID", &function.name)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot run {}", function.executable.display()))?;
        let mut process = Self {
            child,
            invocations: invocation_sender,
            results: result_receiver,
            server,
        };
        tokio::select! {
            () = state.first_poll.notified() => Ok(StartOutcome::Ready(process)),
            Some(init_error) = process.results.recv() => Ok(StartOutcome::InitFailed(init_error)),
            status = process.child.wait() => {
                Err(anyhow!("the function exited before its first poll: {}", status?))
            },
        }
    }

    /// Sends the function an invocation and waits for its result. Fails when the process exits instead.
    pub(super) async fn invoke(&mut self, invocation: &Invocation) -> Result<InvocationResult> {
        self.invocations.send(invocation.clone()).await?;
        tokio::select! {
            biased;
            Some(result) = self.results.recv() => Ok(result),
            status = self.child.wait() => Err(anyhow!("the function exited: {}", status?)),
        }
    }

    /// Kills the process with SIGKILL and waits until it has exited.
    pub(super) async fn kill(&mut self) -> std::io::Result<()> {
        self.child.kill().await
    }
}

impl Drop for FunctionProcess {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn routes(state: Arc<RuntimeApiState>) -> Router {
    Router::new()
        .route(&format!("{INVOCATION_PATH}/next"), get(next_invocation))
        .route(
            &format!("{INVOCATION_PATH}/{{id}}/response"),
            post(
                async |state: State<Arc<RuntimeApiState>>, headers: HeaderMap, body: Bytes| {
                    state.submit_result("response", &headers, body).await
                },
            ),
        )
        .route(&format!("{INVOCATION_PATH}/{{id}}/error"), post(report_error))
        .route(INIT_ERROR_PATH, post(report_error))
        // Lambda itself enforces its limit of 6 MiB.
        .layer(DefaultBodyLimit::disable())
        .with_state(state)
}

async fn next_invocation(State(state): State<Arc<RuntimeApiState>>) -> Response {
    state.first_poll.notify_one();
    match state.invocations.lock().await.recv().await {
        Some(Invocation { headers, body }) => (headers, body).into_response(),
        None => StatusCode::GONE.into_response(),
    }
}

async fn report_error(state: State<Arc<RuntimeApiState>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    state.submit_result("error", &headers, body).await
}

impl RuntimeApiState {
    async fn submit_result(&self, outcome: &'static str, headers: &HeaderMap, body: Bytes) -> StatusCode {
        let result = InvocationResult {
            outcome,
            headers: forwarded_headers(headers),
            body,
        };
        // The receiver is gone when the wrapper no longer waits for this invocation.
        match self.results.send(result).await {
            Ok(()) => StatusCode::ACCEPTED,
            Err(_) => StatusCode::GONE,
        }
    }
}
