//! `cargo xtask status`: each program at this moment, as it is and not as it was written down.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use crate::environment::Addresses;
use crate::instance::{Instance, InstanceKind};
use crate::progress::{BOLD, DIM, GREEN, RED, YELLOW, format_duration};
use crate::supervisor::{
    Condition, InstanceLock, Phase, ProcessId, ServiceState, SystemState, unix_seconds_now,
};
use crate::{StatusArgs, gateway, signals};

/// Shows the system. Succeeds when everything is up and well.
///
/// # Errors
/// None but those of printing.
pub fn run(arguments: &StatusArgs) -> Result<ExitCode> {
    signals::restore_default_sigpipe()?;
    let instance = Instance::new(InstanceKind::Development);
    let supervised = InstanceLock::holder(&instance).is_some();
    let state = SystemState::read(&instance);
    let programs: Vec<ServiceRow> = state
        .iter()
        .flat_map(|state| &state.programs)
        .map(ServiceRow::from_state)
        .collect();
    let ready = supervised && state.as_ref().is_some_and(|state| state.phase == Phase::Ready);
    let addresses = Addresses::from_last_run(&instance);
    let front_door = ready && gateway::is_ready(&addresses);
    let all_well = front_door && programs.iter().all(|row| row.healthy);
    if arguments.json {
        print_json(&addresses, front_door, state.as_ref(), supervised, &programs)?;
    } else {
        print_table(state.as_ref(), supervised, &programs);
        if ready {
            print_gateway(&addresses, front_door);
        }
    }
    Ok(if all_well {
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
    fn from_state(program: &ServiceState) -> Self {
        let process = program.process.as_ref().filter(|process| process.is_running());
        let state = match (process, program.condition) {
            (None, _) => "down",
            (Some(_), Condition::Starting) => "starting",
            (Some(_), _) => "running",
        };
        Self {
            name: program.name.clone(),
            state,
            pid: process.map(|process| process.pid),
            port: program.port,
            uptime: process
                .map(|_| Duration::from_secs(unix_seconds_now().saturating_sub(program.started_at))),
            restarts: program.restarts,
            healthy: process.is_some() && program.is_healthy(),
        }
    }
}

fn print_table(state: Option<&SystemState>, supervised: bool, rows: &[ServiceRow]) {
    let headline = match (supervised, state.map(|state| state.phase)) {
        (true, Some(Phase::Ready)) => "up",
        (true, Some(Phase::Stopping)) => "stopping",
        (true, _) => "starting",
        (false, Some(_)) => {
            "its supervisor was killed: `cargo xtask down` stops what is left, `up` starts it again"
        }
        (false, None) => "not running; `cargo xtask up` starts it",
    };
    anstream::println!("Matsuri: {BOLD}{headline}{BOLD:#}");
    if rows.is_empty() {
        return;
    }
    anstream::println!(
        "\n  {DIM}PROGRAM           STATE     HEALTH    PORT   PROCESS  UP            RESTARTS{DIM:#}"
    );
    for row in rows {
        let (health, style) = match (row.state, row.healthy) {
            ("running", true) => ("well", GREEN),
            ("starting", _) => ("unknown", YELLOW),
            _ => ("ill", RED),
        };
        let pid = row.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
        let uptime = row.uptime.map_or_else(|| "-".to_owned(), format_duration);
        let (name, state, port, restarts) = (&row.name, row.state, row.port, row.restarts);
        anstream::println!(
            "  {name:17} {state:9} {style}{health:9}{style:#} {port:<6} {pid:8} {uptime:13} {restarts}"
        );
    }
}

fn print_gateway(addresses: &Addresses, is_open: bool) {
    let (health, style) = if is_open { ("open", GREEN) } else { ("shut", RED) };
    anstream::println!(
        "\n  front door        {style}{health:9}{style:#} {}",
        addresses.gateway_url()
    );
}

fn print_json(
    addresses: &Addresses,
    front_door: bool,
    state: Option<&SystemState>,
    supervised: bool,
    rows: &[ServiceRow],
) -> Result<()> {
    let programs: Vec<_> = rows
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
    let whole = json!({
        "running": supervised,
        "phase": state.map(|state| state.phase),
        "supervisor_pid": state.map(|state| &state.supervisor).filter(|process| ProcessId::is_running(process)).map(|process| process.pid),
        "http_api_url": addresses.gateway_url(),
        "http_api_open": front_door,
        "core_api_url": addresses.core_api_url(),
        "stock_service_url": addresses.stock_service_url(),
        "payment_api_url": addresses.payment_provider_url(),
        "aws_endpoint_url": addresses.aws_endpoint_url(),
        "programs": programs,
    });
    println!("{}", serde_json::to_string_pretty(&whole)?);
    Ok(())
}
