//! Emulates the Lambda runtime API for a function's executable.

use std::{
    collections::HashMap,
    ffi::OsStr,
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, State},
    http::StatusCode,
    response::IntoResponse,
    routing::{get, post},
};
use chrono::TimeDelta;
use domain::Clock;
use lambda_runtime::Diagnostic;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    net::TcpListener,
    process::{Child, Command},
    sync::{Mutex as AsyncMutex, Notify, mpsc, oneshot, watch},
    task::{AbortHandle, JoinSet},
};

/// The timeout of an invocation.
pub const INVOCATION_TIMEOUT: Duration = Duration::from_secs(10);

/// A running function. Dropping it kills the process.
pub struct FunctionProcess {
    child: AsyncMutex<Child>,
    invocations: mpsc::Sender<PendingInvocation>,
    logs: Logs,
    server: AbortHandle,
}

/// The process exited before it polled for its first invocation. Contains its output.
#[derive(Debug, thiserror::Error)]
#[error("the function process exited during initialisation:\n{0}")]
pub struct ExitedDuringInit(pub String);

/// An invocation that the function has not polled yet.
struct PendingInvocation {
    payload: Value,
    response_sender: oneshot::Sender<Result<Value, Diagnostic>>,
}

/// The output lines of the process.
#[derive(Clone)]
struct Logs(watch::Sender<Vec<String>>);

/// The state of the runtime API.
struct RuntimeApi {
    first_poll: Notify,
    pending: AsyncMutex<mpsc::Receiver<PendingInvocation>>,
    in_flight: Mutex<HashMap<String, oneshot::Sender<Result<Value, Diagnostic>>>>,
    clock: Clock,
}

impl FunctionProcess {
    /// Starts `executable` as the function `handler` and waits until it polls for its first invocation. The
    /// process gets the environment of this process and `variables`. Fails when the process exits.
    ///
    /// # Panics
    ///
    /// When the executable cannot be started.
    pub async fn start(
        executable: impl AsRef<OsStr>,
        handler: &str,
        variables: &[(&str, &str)],
    ) -> Result<Self, ExitedDuringInit> {
        let (invocations, pending) = mpsc::channel(1);
        let api = Arc::new(RuntimeApi {
            first_poll: Notify::new(),
            pending: AsyncMutex::new(pending),
            in_flight: Mutex::default(),
            clock: Clock::system(),
        });
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a local port is free");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address")
            .to_string();
        let server =
            tokio::spawn(axum::serve(listener, router(Arc::clone(&api))).into_future()).abort_handle();

        let mut child = Command::new(executable)
            .envs(variables.iter().copied())
            .env("_HANDLER", handler)
            .env("AWS_LAMBDA_FUNCTION_NAME", handler)
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_RUNTIME_API", address)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the executable exists and can be started");
        let logs = Logs(watch::Sender::default());
        let mut readers = JoinSet::new();
        readers.spawn(logs.clone().read_lines(child.stdout.take()));
        readers.spawn(logs.clone().read_lines(child.stderr.take()));

        tokio::select! {
            () = api.first_poll.notified() => {}
            _ = child.wait() => {
                readers.join_all().await;
                server.abort();
                return Err(ExitedDuringInit(logs.lines().join("\n")));
            }
        }
        readers.detach_all();
        Ok(Self {
            child: AsyncMutex::new(child),
            invocations,
            logs,
            server,
        })
    }

    /// Invokes the function and waits for its response. Fails when the process exits or after
    /// [`INVOCATION_TIMEOUT`].
    pub async fn invoke(&self, payload: Value) -> Result<Value, Diagnostic> {
        let (response_sender, response_receiver) = oneshot::channel();
        let mut child = self.child.lock().await;
        let response = async {
            self.invocations
                .send(PendingInvocation {
                    payload,
                    response_sender,
                })
                .await
                .ok()?;
            response_receiver.await.ok()
        };
        tokio::select! {
            Some(result) = response => result,
            _ = child.wait() => Err(platform_error("Runtime.ExitError", "the process exited")),
            () = tokio::time::sleep(INVOCATION_TIMEOUT) => {
                Err(platform_error("Sandbox.Timedout", "the invocation timed out"))
            }
        }
    }

    /// Waits until the process has written a line that contains `text`. Returns all such lines, or none after
    /// [`INVOCATION_TIMEOUT`].
    pub async fn wait_for_log(&self, text: &str) -> Vec<String> {
        let mut lines = self.logs.0.subscribe();
        let matching = |lines: &Vec<String>| lines.iter().any(|line| line.contains(text));
        // After a timeout no line matches, and the result is empty.
        let _ = tokio::time::timeout(INVOCATION_TIMEOUT, lines.wait_for(matching)).await;
        self.logs
            .lines()
            .into_iter()
            .filter(|line| line.contains(text))
            .collect()
    }
}

impl Drop for FunctionProcess {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Logs {
    async fn read_lines(self, output: Option<impl AsyncRead + Unpin>) {
        let Some(output) = output else { return };
        let mut lines = BufReader::new(output).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            self.0.send_modify(|lines| lines.push(line));
        }
    }

    fn lines(&self) -> Vec<String> {
        self.0.borrow().clone()
    }
}

fn platform_error(error_type: &str, error_message: &str) -> Diagnostic {
    Diagnostic {
        error_type: error_type.into(),
        error_message: error_message.into(),
    }
}

/// The endpoints of the Lambda runtime API, version 2018-06-01, that a runtime uses.
fn router(api: Arc<RuntimeApi>) -> Router {
    let paths = Router::new()
        .route("/next", get(next_invocation))
        .route("/{id}/response", post(invocation_response))
        .route("/{id}/error", post(invocation_error));
    Router::new()
        .nest("/2018-06-01/runtime/invocation", paths)
        .with_state(api)
}

async fn next_invocation(State(api): State<Arc<RuntimeApi>>) -> impl IntoResponse {
    api.first_poll.notify_one();
    let Some(PendingInvocation {
        payload,
        response_sender,
    }) = api.pending.lock().await.recv().await
    else {
        return Err(StatusCode::GONE);
    };
    let now = api.clock.now();
    let id = domain::ids::uuid_v7(now).to_string();
    api.in_flight
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(id.clone(), response_sender);
    let deadline = now + TimeDelta::from_std(INVOCATION_TIMEOUT).expect("a timeout of seconds is in range");
    let headers = [
        ("lambda-runtime-aws-request-id", id),
        (
            "lambda-runtime-deadline-ms",
            deadline.timestamp_millis().to_string(),
        ),
        (
            "lambda-runtime-invoked-function-arn",
            "arn:aws:lambda:local".to_owned(),
        ),
    ];
    Ok((headers, Json(payload)))
}

async fn invocation_response(
    State(api): State<Arc<RuntimeApi>>,
    id: Path<String>,
    response: Bytes,
) -> StatusCode {
    api.complete(&id, serde_json::from_slice(&response).map(Ok))
}

async fn invocation_error(State(api): State<Arc<RuntimeApi>>, id: Path<String>, error: Bytes) -> StatusCode {
    api.complete(&id, serde_json::from_slice(&error).map(Err))
}

impl RuntimeApi {
    fn complete(&self, id: &str, result: serde_json::Result<Result<Value, Diagnostic>>) -> StatusCode {
        let Ok(result) = result else {
            return StatusCode::BAD_REQUEST;
        };
        let response_sender = self
            .in_flight
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(id);
        // The caller may have stopped waiting after the timeout, like Lambda.
        match response_sender.map(|sender| sender.send(result)) {
            Some(Ok(())) => StatusCode::ACCEPTED,
            _ => StatusCode::GONE,
        }
    }
}
