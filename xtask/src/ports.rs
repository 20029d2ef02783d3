//! Assigns ports on 127.0.0.1: the port of the last run, else the default port, else the next free port.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Context, Result, bail};

use crate::instance::{Instance, InstanceKind};

/// The fault injection service. Each of its proxies has a port of its own, under the name of [`proxy_name`].
pub const FAULT_INJECTION: &str = "fault-injection";

/// Prefix of the names of proxies.
const PROXY_PREFIX: &str = "fault-injection-";

/// Name → default port of each service and proxy.
const DEFAULT_PORTS: [(&str, u16); 13] = [
    ("core-api", 3000),
    ("stock-service", 3002),
    ("payment-provider", 3004),
    ("localstripe", 3006),
    ("identity-provider", 3008),
    (FAULT_INJECTION, 3010),
    ("fault-injection-ministack", 3011),
    ("fault-injection-stock-service", 3012),
    ("fault-injection-payment-provider", 3013),
    ("fault-injection-postgres", 3014),
    ("ministack", 4566),
    ("postgres", 5432),
    ("redis", 6379),
];

/// Third-party simulators that only the tests use.
const TEST_ONLY_SERVICES: [&str; 2] = ["localstripe", "identity-provider"];

/// How many ports after the default port are tried.
const SEARCH_RANGE: u16 = 400;

/// Service or proxy name → port.
pub type Ports = BTreeMap<String, u16>;

/// The name of the proxy in front of a service.
pub fn proxy_name(service: &str) -> String {
    format!("{PROXY_PREFIX}{service}")
}

/// The service behind a proxy; `None` when the name is not a proxy's.
pub fn proxied_service(name: &str) -> Option<&str> {
    name.strip_prefix(PROXY_PREFIX)
}

/// Listeners that hold the ports until the services start, so that another checkout that starts at the same
/// time selects other ports.
#[derive(Debug)]
pub struct PortReservation {
    listeners: BTreeMap<String, TcpListener>,
    ports: Ports,
    /// One message for each service that did not get its preferred port.
    pub conflicts: Vec<String>,
}

impl PortReservation {
    /// Reserves a port for every service of the instance; for PostgreSQL only if the instance starts its own.
    ///
    /// # Errors
    /// When no port in the [`SEARCH_RANGE`] after a default port is free.
    pub fn for_instance(instance: &Instance, with_postgres: bool) -> Result<Self> {
        let preferred: Vec<_> = DEFAULT_PORTS
            .iter()
            .filter(|(name, _)| with_postgres || *name != "postgres")
            .filter(|(name, _)| instance.kind() == InstanceKind::Test || !TEST_ONLY_SERVICES.contains(name))
            .filter(|(name, _)| instance.kind().has_fault_injection() || !name.starts_with(FAULT_INJECTION))
            .map(|(name, port)| (*name, port + instance.kind().port_offset()))
            .collect();
        Self::reserve(&preferred, &last_used(instance))
    }

    /// Reserves a port for PostgreSQL only.
    ///
    /// # Errors
    /// When no port in the [`SEARCH_RANGE`] after the default port is free.
    pub fn for_postgres(instance: &Instance) -> Result<Self> {
        let preferred: Vec<_> = DEFAULT_PORTS
            .iter()
            .filter(|(name, _)| *name == "postgres")
            .map(|(name, port)| (*name, port + instance.kind().port_offset()))
            .collect();
        Self::reserve(&preferred, &Ports::new())
    }

    fn reserve(defaults: &[(&str, u16)], last_ports: &Ports) -> Result<Self> {
        let mut reservation = Self {
            listeners: BTreeMap::new(),
            ports: Ports::new(),
            conflicts: Vec::new(),
        };
        // Preferred ports first: the search for another port must not take the preferred port of a later
        // service.
        for (name, default) in defaults {
            let preferred = last_ports.get(*name).unwrap_or(default);
            if let Ok(listener) = bind(*preferred) {
                reservation.insert(name, *preferred, listener);
            }
        }
        for (name, default) in defaults {
            if reservation.ports.contains_key(*name) {
                continue;
            }
            let preferred = *last_ports.get(*name).unwrap_or(default);
            let (port, listener) = find_free_port(*default)
                .with_context(|| format!("no free port for {name} from {default} on"))?;
            reservation
                .conflicts
                .push(format!("port {preferred} is in use; {name} listens on {port}"));
            reservation.insert(name, port, listener);
        }
        Ok(reservation)
    }

    fn insert(&mut self, name: &str, port: u16, listener: TcpListener) {
        self.listeners.insert(name.to_owned(), listener);
        self.ports.insert(name.to_owned(), port);
    }

    pub fn ports(&self) -> &Ports {
        &self.ports
    }

    /// Closes the listeners of a service that is about to start. The fault injection service listens on the
    /// ports of its proxies as well.
    pub fn release(&mut self, name: &str) {
        self.listeners.retain(|owner, _| {
            owner != name && !(name == FAULT_INJECTION && owner.starts_with(FAULT_INJECTION))
        });
    }

    /// Saves the ports for the next run.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, instance: &Instance) -> Result<()> {
        let path = instance.ports_file();
        fs::write(&path, serde_json::to_vec_pretty(&self.ports)?)
            .with_context(|| format!("cannot write {}", path.display()))
    }
}

/// The ports of the last run; empty when the instance has never run or its file cannot be read.
pub fn last_used(instance: &Instance) -> Ports {
    fs::read(instance.ports_file())
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default()
}

fn bind(port: u16) -> std::io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
}

fn find_free_port(from: u16) -> Result<(u16, TcpListener)> {
    for port in from + 1..from + SEARCH_RANGE {
        if let Ok(listener) = bind(port) {
            return Ok((port, listener));
        }
    }
    bail!("all {SEARCH_RANGE} ports after {from} are in use")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Searches outside the operating system's ephemeral range, so that no other process gets the port
    /// meanwhile.
    fn free_port() -> u16 {
        find_free_port(21_000).unwrap().0
    }

    #[test]
    fn uses_the_default_port_when_it_is_free() {
        let port = free_port();
        let reservation = PortReservation::reserve(&[("core-api", port)], &Ports::new()).unwrap();
        assert_eq!(reservation.ports()["core-api"], port);
        assert!(reservation.conflicts.is_empty());
    }

    #[test]
    fn replaces_a_port_in_use_and_reports_the_conflict() {
        let (port, _listener) = find_free_port(22_000).unwrap();
        let reservation = PortReservation::reserve(&[("core-api", port)], &Ports::new()).unwrap();
        assert!(reservation.ports()["core-api"] > port);
        assert!(reservation.conflicts[0].starts_with(&format!("port {port} is in use; core-api listens on")));
    }

    #[test]
    fn search_skips_the_preferred_port_of_a_later_service() {
        let (port, _listener) = find_free_port(23_000).unwrap();
        let reservation =
            PortReservation::reserve(&[("core-api", port), ("stock-service", port + 1)], &Ports::new())
                .unwrap();
        assert_eq!(reservation.ports()["stock-service"], port + 1);
        assert!(reservation.ports()["core-api"] > port + 1);
    }

    #[test]
    fn prefers_the_port_of_the_last_run_to_the_default() {
        let (last_port, listener) = find_free_port(24_000).unwrap();
        drop(listener);
        let last_run = Ports::from([("core-api".to_owned(), last_port)]);
        let reservation = PortReservation::reserve(&[("core-api", 3000)], &last_run).unwrap();
        assert_eq!(reservation.ports()["core-api"], last_port);
    }
}
