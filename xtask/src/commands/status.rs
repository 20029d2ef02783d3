//! `cargo xtask status`: checks the current state of each service.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use crate::environment::Addresses;
use crate::instance::{Instance, InstanceKind};
use crate::progress::{BOLD, DIM, GREEN, RED, YELLOW, format_duration};
use crate::supervisor::{Condition, InstanceLock, Phase, ServiceState, SystemState, unix_seconds_now};
use crate::{StatusArgs, gateway, signals};

/// Prints the state of each service. The exit code is 0 if all are healthy and the API gateway is ready.
///
/// # Errors
/// When the signal handler cannot be installed.
pub fn run(arguments: &StatusArgs) -> Result<ExitCode> {
    signals::restore_default_sigpipe()?;
    let instance = Instance::new(InstanceKind::Development);
    let supervised = InstanceLock::holder(&instance).is_some();
    let state = SystemState::read(&instance);
    let rows: Vec<ServiceRow> = state
        .iter()
        .flat_map(|state| &state.services)
        .map(ServiceRow::from_state)
        .collect();
    let ready = supervised && state.as_ref().is_some_and(|state| state.phase == Phase::Ready);
    let addresses = Addresses::from_last_run(&instance);
    let gateway_ready = ready && gateway::is_ready(&addresses);
    let all_healthy = gateway_ready && rows.iter().all(|row| row.healthy);
    if arguments.json {
        print_json(&addresses, gateway_ready, state.as_ref(), supervised, &rows)?;
    } else {
        print_table(state.as_ref(), supervised, &rows);
        if ready {
            print_gateway(&addresses, gateway_ready);
        }
    }
    Ok(if all_healthy {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

struct ServiceRow {
    name: String,
    state: &'static str,
    pid: Option<u32>,
    port: u16,
    uptime: Option<Duration>,
    restarts: u32,
    healthy: bool,
}

impl ServiceRow {
    fn from_state(service: &ServiceState) -> Self {
        let process = service.process.as_ref().filter(|process| process.is_running());
        let state = match (process, service.condition) {
            (None, _) => "down",
            (Some(_), Condition::Starting) => "starting",
            (Some(_), _) => "running",
        };
        Self {
            name: service.name.clone(),
            state,
            pid: process.map(|process| process.pid),
            port: service.port,
            uptime: process
                .map(|_| Duration::from_secs(unix_seconds_now().saturating_sub(service.started_at))),
            restarts: service.restarts,
            healthy: process.is_some() && service.is_healthy(),
        }
    }
}

fn print_table(state: Option<&SystemState>, supervised: bool, rows: &[ServiceRow]) {
    let headline = match (supervised, state.map(|state| state.phase)) {
        (true, Some(Phase::Ready)) => "running",
        (true, Some(Phase::Stopping)) => "stopping",
        (true, _) => "starting",
        (false, Some(_)) => {
            "supervisor was killed; `cargo xtask down` stops the remaining services, `up` starts the system"
        }
        (false, None) => "not running; `cargo xtask up` starts it",
    };
    anstream::println!("Matsuri: {BOLD}{headline}{BOLD:#}");
    if rows.is_empty() {
        return;
    }
    anstream::println!(
        "\n  {DIM}SERVICE           STATE     HEALTH    PORT   PROCESS  UPTIME        RESTARTS{DIM:#}"
    );
    for row in rows {
        let (health, style) = match (row.state, row.healthy) {
            ("running", true) => ("healthy", GREEN),
            ("starting", _) => ("unknown", YELLOW),
            _ => ("unhealthy", RED),
        };
        let pid = row.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
        let uptime = row.uptime.map_or_else(|| "-".to_owned(), format_duration);
        let (name, state, port, restarts) = (&row.name, row.state, row.port, row.restarts);
        anstream::println!(
            "  {name:17} {state:9} {style}{health:9}{style:#} {port:<6} {pid:8} {uptime:13} {restarts}"
        );
    }
}

fn print_gateway(addresses: &Addresses, is_ready: bool) {
    let (health, style) = if is_ready {
        ("ready", GREEN)
    } else {
        ("not ready", RED)
    };
    anstream::println!(
        "\n  API gateway       {style}{health:9}{style:#} {}",
        addresses.gateway_url()
    );
}

fn print_json(
    addresses: &Addresses,
    gateway_ready: bool,
    state: Option<&SystemState>,
    supervised: bool,
    rows: &[ServiceRow],
) -> Result<()> {
    let services: Vec<_> = rows
        .iter()
        .map(|row| {
            json!({
                "name": row.name,
                "state": row.state,
                "healthy": row.healthy,
                "port": row.port,
                "pid": row.pid,
                "uptime_seconds": row.uptime.map(|uptime| uptime.as_secs()),
                "restarts": row.restarts,
            })
        })
        .collect();
    let supervisor = state
        .map(|state| &state.supervisor)
        .filter(|process| process.is_running());
    let report = json!({
        "running": supervised,
        "phase": state.map(|state| state.phase),
        "supervisor_pid": supervisor.map(|process| process.pid),
        "http_api_url": addresses.gateway_url(),
        "http_api_open": gateway_ready,
        "core_api_url": addresses.core_api_url(),
        "stock_service_url": addresses.stock_service_url(),
        "payment_api_url": addresses.payment_provider_url(),
        "aws_endpoint_url": addresses.aws_endpoint_url(),
        "programs": services,
    });
    println!("{}", serde_json::to_string_pretty(&report)?);
    Ok(())
}
