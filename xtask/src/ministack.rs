//! Runs MiniStack, the local AWS, and works around its limitations.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::Signal;
use serde_json::json;

use crate::environment::{Addresses, REGION, to_env_vars};
use crate::instance::{Instance, InstanceKind};
use crate::supervisor::{HealthCheck, ServiceSpec};
use crate::{aws, python, services};

/// How long running sagas may take to end before the local AWS is stopped.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

pub fn service_spec(instance: &Instance, addresses: &Addresses) -> ServiceSpec {
    let data = instance.ministack_dir();
    let port = addresses.port("ministack");
    let mut environment = services::base_env(instance);
    // MiniStack itself calls no AWS endpoint; the functions inherit these variables.
    environment.extend(addresses.via_proxies().aws_env());
    environment.extend(to_env_vars([
        ("GATEWAY_PORT", port.to_string()),
        ("BIND_HOST", "127.0.0.1".to_owned()),
        ("MINISTACK_HOST", "localhost".to_owned()),
        ("MINISTACK_REGION", REGION.to_owned()),
        ("IOT_MTLS_ENABLED", "0".to_owned()),
        ("LAMBDA_EXECUTOR", "local".to_owned()),
        ("PERSIST_STATE", "1".to_owned()),
        ("STATE_DIR", data.join("state").display().to_string()),
        ("S3_PERSIST", "1".to_owned()),
        ("S3_DATA_DIR", data.join("s3").display().to_string()),
        ("PYTHONUNBUFFERED", "1".to_owned()),
        // The default is five seconds, in which a busy machine may not start the function behind the JWKS.
        ("MINISTACK_APIGW_JWKS_TIMEOUT_SECONDS", "30".to_owned()),
    ]));
    if let Some(faults) = addresses.faults_url() {
        environment.extend(to_env_vars([("FAULTS_URL", faults)]));
        // The saga retries for two minutes when the payment provider stays unavailable, and for half an hour
        // when a compensation fails permanently. The scale shortens these waits for tests. Chaos needs longer
        // waits, so that killed services can restart between two retries.
        let scale = if instance.kind() == InstanceKind::Chaos {
            "0.1"
        } else {
            "0.05"
        };
        environment.extend(to_env_vars([("SFN_WAIT_SCALE", scale.to_owned())]));
    }
    ServiceSpec {
        name: "ministack",
        executable: python::LOCAL_SYSTEM.command("ministack"),
        arguments: Vec::new(),
        environment,
        directory: instance.directory().to_owned(),
        user: None,
        port,
        health_check: HealthCheck::Http("/_ministack/ready".to_owned()),
        stop_signal: Signal::TERM,
        // It writes its state only while it stops.
        stop_timeout: Duration::from_secs(30),
    }
}

/// Updates the port in the persisted state to the port of this run. Queue URLs contain the port, and event
/// source mappings would poll the queues at the old one.
///
/// # Errors
/// When a file of the state cannot be read or written.
pub fn update_persisted_port(instance: &Instance, port: u16) -> Result<()> {
    let state = instance.ministack_dir().join("state");
    let record = instance.ministack_dir().join("port");
    let context = || format!("cannot rewrite {}", state.display());
    let last = fs::read_to_string(&record)
        .ok()
        .filter(|last| *last != port.to_string());
    if let (Some(last), Ok(files)) = (last, fs::read_dir(&state)) {
        for file in files {
            let path = file.with_context(context)?.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let text = fs::read_to_string(&path).with_context(context)?;
            fs::write(&path, replace_port(&text, &last, port)).with_context(context)?;
        }
    }
    fs::create_dir_all(instance.ministack_dir()).with_context(context)?;
    fs::write(record, port.to_string()).with_context(context)
}

fn replace_port(text: &str, last: &str, port: u16) -> String {
    let mut text = text.to_owned();
    for host in ["localhost", "127.0.0.1"] {
        text = text.replace(
            &format!("http://{host}:{last}/"),
            &format!("http://{host}:{port}/"),
        );
    }
    text
}

/// Waits until no execution of a state machine runs, for at most [`DRAIN_TIMEOUT`]. Returns how many still
/// run.
pub fn wait_for_executions(addresses: &Addresses) -> usize {
    let deadline = Instant::now() + DRAIN_TIMEOUT;
    loop {
        // Without a response there is nothing to wait for: the local AWS has already stopped.
        let running = count_running_executions(addresses).unwrap_or(0);
        if running == 0 || Instant::now() > deadline {
            return running;
        }
        thread::sleep(Duration::from_millis(200));
    }
}

fn count_running_executions(addresses: &Addresses) -> Result<usize> {
    let machines = aws::call_local(
        addresses,
        "states",
        "AWSStepFunctions.ListStateMachines",
        &json!({}),
    )?;
    let mut running = 0;
    for machine in machines["stateMachines"].as_array().into_iter().flatten() {
        let input = json!({ "stateMachineArn": machine["stateMachineArn"], "statusFilter": "RUNNING" });
        let response = aws::call_local(addresses, "states", "AWSStepFunctions.ListExecutions", &input)?;
        running += response["executions"].as_array().map_or(0, Vec::len);
    }
    Ok(running)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replace_port_changes_only_urls_with_the_old_port() {
        let text = r#"{"QueueUrl":"http://localhost:4566/000000000000/q","n":4566,
            "other":"http://localhost:45661/"}"#;
        let expected = r#"{"QueueUrl":"http://localhost:4567/000000000000/q","n":4566,
            "other":"http://localhost:45661/"}"#;
        assert_eq!(replace_port(text, "4566", 4567), expected);
    }
}
