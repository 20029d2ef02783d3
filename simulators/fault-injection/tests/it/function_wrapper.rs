//! Tests of the function wrapper, with a stub of Lambda that sends one event to a small function.

use std::{
    fs, os::unix::fs::PermissionsExt as _, path::Path, process::ExitStatus, sync::Arc, time::Duration,
};

use axum::{
    Json, Router,
    extract::{Path as UrlPath, State},
    http::{HeaderMap, StatusCode},
    routing::{get, post},
};
use fault_injection::{FunctionFault, Rule};
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    process::{Child, Command},
    sync::{Mutex, mpsc},
    time::timeout,
};

use crate::control_api;

/// A function that appends each event, with its deadline and the function's access key id, to the file
/// `effects`, and responds.
const FUNCTION_SCRIPT: &str = r#"#!/usr/bin/env python3
import os
from urllib.request import Request, urlopen

api = "http://%s/2018-06-01/runtime/invocation" % os.environ["AWS_LAMBDA_RUNTIME_API"]
while True:
    event = urlopen(api + "/next")
    with open("effects", "a") as effects:
        caller = os.environ["AWS_ACCESS_KEY_ID"]
        deadline = event.headers["Lambda-Runtime-Deadline-Ms"]
        effects.write("%s %s %s\n" % (caller, deadline, event.read().decode()))
    url = api + "/%s/response" % event.headers["Lambda-Runtime-Aws-Request-Id"]
    urlopen(Request(url, b'"done"', {"Content-Type": "application/json"}))
"#;

/// Enough for every step on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The part of Lambda's runtime API that the wrapper uses.
struct LambdaStub {
    invocations: Mutex<mpsc::Receiver<Value>>,
    results: mpsc::Sender<(String, Value)>,
}

/// The observable outcome of one invocation with an injected fault.
#[derive(Debug)]
struct InvocationOutcome {
    /// The lines that the function wrote.
    effects: Vec<String>,
    /// `response` or `error` with its body. `None` when the sandbox ended, or hung until the timeout.
    result: Option<(String, Value)>,
    /// The sandbox's exit status, if it ended.
    exit_status: Option<ExitStatus>,
}

async fn next_invocation(State(lambda): State<Arc<LambdaStub>>) -> (HeaderMap, Json<Value>) {
    let event = lambda.invocations.lock().await.recv().await.unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("lambda-runtime-aws-request-id", "id-1".parse().unwrap());
    headers.insert("lambda-runtime-deadline-ms", "1234".parse().unwrap());
    (headers, Json(event))
}

async fn submit_result(
    State(lambda): State<Arc<LambdaStub>>,
    UrlPath((id, outcome)): UrlPath<(String, String)>,
    Json(body): Json<Value>,
) -> StatusCode {
    assert_eq!(id, "id-1");
    lambda.results.send((outcome, body)).await.unwrap();
    StatusCode::ACCEPTED
}

fn start_sandbox(folder: &Path, runtime_api: &str, faults_url: &str) -> Child {
    let (bootstrap, function) = (folder.join("bootstrap"), folder.join("function"));
    fs::hard_link(env!("CARGO_BIN_EXE_fault-injecting-bootstrap"), &bootstrap)
        .or_else(|_| fs::copy(env!("CARGO_BIN_EXE_fault-injecting-bootstrap"), &bootstrap).map(drop))
        .unwrap();
    fs::write(&function, FUNCTION_SCRIPT).unwrap();
    fs::set_permissions(&function, fs::Permissions::from_mode(0o755)).unwrap();
    Command::new(bootstrap)
        .current_dir(folder)
        .env("AWS_LAMBDA_RUNTIME_API", runtime_api)
        .env("AWS_LAMBDA_FUNCTION_NAME", "reserve-stock")
        .env("FAULTS_URL", faults_url)
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

async fn invoke_with_fault(fault: Option<FunctionFault>, invocation_timeout: Duration) -> InvocationOutcome {
    let (rules, faults_url) = control_api::start_control_api().await;
    if let Some(fault) = fault {
        rules.add_rule(Rule::for_function("reserve-stock", fault).containing("order-1"));
    }
    let (event_sender, event_receiver) = mpsc::channel(1);
    let (result_sender, mut result_receiver) = mpsc::channel(2);
    let lambda = Arc::new(LambdaStub {
        invocations: Mutex::new(event_receiver),
        results: result_sender,
    });
    let routes = Router::new()
        .route("/2018-06-01/runtime/invocation/next", get(next_invocation))
        .route(
            "/2018-06-01/runtime/invocation/{id}/{outcome}",
            post(submit_result),
        )
        .with_state(lambda);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let runtime_api = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(listener, routes).await });

    let folder = tempfile::tempdir().unwrap();
    let mut sandbox = start_sandbox(folder.path(), &runtime_api, &faults_url);
    event_sender.send(json!({"order_id": "order-1"})).await.unwrap();
    let (mut result, mut exit_status) = (None, None);
    let _ = timeout(invocation_timeout, async {
        tokio::select! {
            biased;
            received = result_receiver.recv() => result = received,
            status = sandbox.wait() => exit_status = Some(status.unwrap()),
        }
    })
    .await;
    let effects = fs::read_to_string(folder.path().join("effects")).unwrap_or_default();
    InvocationOutcome {
        effects: effects.lines().map(str::to_owned).collect(),
        result,
        exit_status,
    }
}

/// Returns how often the function ran, and the name of the reported error or `done`.
async fn effects_and_result(fault: FunctionFault) -> (usize, String) {
    let InvocationOutcome { effects, result, .. } = invoke_with_fault(Some(fault), TIMEOUT).await;
    let (outcome, body) = result.unwrap();
    let name = match outcome.as_str() {
        "error" => &body["errorType"],
        _ => &body,
    };
    (effects.len(), name.as_str().unwrap().to_owned())
}

#[tokio::test]
async fn an_invocation_without_a_fault_is_unchanged_and_names_its_caller() {
    let outcome = invoke_with_fault(None, TIMEOUT).await;
    assert_eq!(outcome.effects, [r#"reserve-stock 1234 {"order_id":"order-1"}"#]);
    assert_eq!(outcome.result.unwrap(), ("response".to_owned(), json!("done")));
}

#[tokio::test]
async fn faults_before_the_invocation_have_no_effect() {
    let service_fault = "Lambda.ServiceException".to_owned();
    assert_eq!(
        effects_and_result(FunctionFault::ErrorBefore).await,
        (0, service_fault)
    );
    let timed_out = "Sandbox.Timedout".to_owned();
    assert_eq!(
        effects_and_result(FunctionFault::TimeoutBefore).await,
        (0, timed_out)
    );
    let throttled = "Lambda.TooManyRequestsException".to_owned();
    assert_eq!(effects_and_result(FunctionFault::Throttle).await, (0, throttled));
}

#[tokio::test]
async fn faults_after_the_invocation_leave_one_effect() {
    let service_fault = "Lambda.ServiceException".to_owned();
    assert_eq!(
        effects_and_result(FunctionFault::ErrorAfter).await,
        (1, service_fault)
    );
    let timed_out = "Sandbox.Timedout".to_owned();
    assert_eq!(
        effects_and_result(FunctionFault::TimeoutAfter).await,
        (1, timed_out)
    );
}

#[tokio::test]
async fn duplicates_run_twice_and_report_once() {
    for fault in [
        FunctionFault::DuplicateSequential,
        FunctionFault::DuplicateConcurrent,
    ] {
        assert_eq!(
            effects_and_result(fault).await,
            (2, "done".to_owned()),
            "{fault:?}"
        );
    }
}

#[tokio::test]
async fn a_crash_ends_the_sandbox_without_a_result() {
    for (fault, effects) in [
        (FunctionFault::CrashBefore, 0),
        (FunctionFault::CrashAfter, 1),
        (FunctionFault::CrashDuring(60_000), 1),
    ] {
        let outcome = invoke_with_fault(Some(fault), TIMEOUT).await;
        assert_eq!(
            (outcome.effects.len(), outcome.result),
            (effects, None),
            "{fault:?}"
        );
        assert!(!outcome.exit_status.unwrap().success(), "{fault:?}");
    }
}

#[tokio::test]
async fn a_hanging_invocation_reports_nothing_and_keeps_running() {
    let outcome = invoke_with_fault(Some(FunctionFault::HangBefore), Duration::from_secs(2)).await;
    assert_eq!(outcome.effects.len(), 0);
    assert!(outcome.result.is_none() && outcome.exit_status.is_none());
}
