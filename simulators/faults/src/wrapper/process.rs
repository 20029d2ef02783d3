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

use super::lambda::{Answer, Event, INIT_ERROR, INVOCATION, passed_on};

/// The function's process. Dropping it kills it.
pub(super) struct Process {
    child: Child,
    events: mpsc::Sender<Event>,
    answers: mpsc::Receiver<Answer>,
    server: AbortHandle,
}

/// What came of starting the function.
pub(super) enum Started {
    /// It asks for its first invocation.
    Ready(Process),
    /// It reported why it cannot start.
    Refused(Answer),
}

/// What the routes share. A function has one invocation at a time, so nothing tells them apart.
struct Api {
    first_poll: Notify,
    events: Mutex<mpsc::Receiver<Event>>,
    answers: mpsc::Sender<Answer>,
}

impl Process {
    /// Starts the function, and waits until it is ready.
    pub(super) async fn start(program: &Path) -> Result<Started> {
        let (events, waiting) = mpsc::channel(1);
        let (answered, answers) = mpsc::channel(1);
        let api = Arc::new(Api {
            first_poll: Notify::new(),
            events: Mutex::new(waiting),
            answers: answered,
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
            events,
            answers,
            server,
        };
        tokio::select! {
            () = api.first_poll.notified() => Ok(Started::Ready(process)),
            Some(refused) = process.answers.recv() => Ok(Started::Refused(refused)),
            ended = process.child.wait() => Err(anyhow!("the function ended before its first invocation: {}", ended?)),
        }
    }

    /// Hands the function an event, and waits for its answer. Fails when the process ends instead.
    pub(super) async fn invoke(&mut self, event: &Event) -> Result<Answer> {
        self.events.send(event.clone()).await?;
        tokio::select! {
            biased;
            Some(answer) = self.answers.recv() => Ok(answer),
            ended = self.child.wait() => Err(anyhow!("the function ended: {}", ended?)),
        }
    }

    /// Kills the process as `kill -9` does, and waits until it is gone.
    pub(super) async fn kill(&mut self) -> std::io::Result<()> {
        self.child.kill().await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn routes(api: Arc<Api>) -> Router {
    Router::new()
        .route(&format!("{INVOCATION}/next"), get(next))
        .route(
            &format!("{INVOCATION}/{{id}}/response"),
            post(async |api: State<Arc<Api>>, headers: HeaderMap, body: Bytes| {
                api.answer("response", &headers, body).await
            }),
        )
        .route(&format!("{INVOCATION}/{{id}}/error"), post(error))
        .route(INIT_ERROR, post(error))
        // Lambda takes answers of 6 MiB; what is too long is Lambda's to refuse.
        .layer(DefaultBodyLimit::disable())
        .with_state(api)
}

async fn next(State(api): State<Arc<Api>>) -> Response {
    api.first_poll.notify_one();
    match api.events.lock().await.recv().await {
        Some(Event { headers, body }) => (headers, body).into_response(),
        None => StatusCode::GONE.into_response(),
    }
}

async fn error(api: State<Arc<Api>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    api.answer("error", &headers, body).await
}

impl Api {
    async fn answer(&self, outcome: &'static str, headers: &HeaderMap, body: Bytes) -> StatusCode {
        let answer = Answer {
            outcome,
            headers: passed_on(headers),
            body,
        };
        // Whoever invoked may have stopped waiting, as Lambda does.
        match self.answers.send(answer).await {
            Ok(()) => StatusCode::ACCEPTED,
            Err(_) => StatusCode::GONE,
        }
    }
}
