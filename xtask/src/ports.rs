//! Ports on 127.0.0.1: the last ones again, else the defaults, else the next free ones.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Context, Result, bail};

use crate::instance::{Instance, InstanceKind};

/// What disturbs a system on command. Its proxies have ports of their own: `faults-` and whom they stand in front of.
pub const FAULT_INJECTION: &str = "faults";

/// The programs that listen, each with the port that a newcomer expects.
const DEFAULT_PORTS: [(&str, u16); 13] = [
    ("core-api", 3000),
    ("stock-service", 3002),
    ("payment-provider", 3004),
    ("localstripe", 3006),
    ("identity-provider", 3008),
    (FAULT_INJECTION, 3010),
    ("faults-ministack", 3011),
    ("faults-stock-service", 3012),
    ("faults-payment-provider", 3013),
    ("faults-postgres", 3014),
    ("ministack", 4566),
    ("postgres", 5432),
    ("redis", 6379),
];

/// Third parties of others' making, which only the tests ask.
const TEST_ONLY_SERVICES: [&str; 2] = ["localstripe", "identity-provider"];

/// How many ports after the wanted one are tried.
const SEARCH_RANGE: u16 = 400;

/// Program name → port.
pub type Ports = BTreeMap<String, u16>;

/// Ports held open until their program starts, so that another checkout that starts at the same moment takes
/// other ones.
#[derive(Debug)]
pub struct PortReservation {
    listeners: BTreeMap<String, TcpListener>,
    ports: Ports,
    /// One sentence for each program that did not get the port it wanted.
    pub conflicts: Vec<String>,
}

impl PortReservation {
    /// Reserves a port for every program of the instance, PostgreSQL only where it is ours.
    ///
    /// # Errors
    /// When no port near the wanted one is free.
    pub fn for_instance(instance: &Instance, with_postgres: bool) -> Result<Self> {
        let wanted: Vec<_> = DEFAULT_PORTS
            .iter()
            .filter(|(name, _)| with_postgres || *name != "postgres")
            .filter(|(name, _)| instance.kind() == InstanceKind::Test || !TEST_ONLY_SERVICES.contains(name))
            .filter(|(name, _)| instance.kind().has_fault_injection() || !name.starts_with(FAULT_INJECTION))
            .map(|(name, port)| (*name, port + instance.kind().port_offset()))
            .collect();
        Self::reserve(&wanted, &last_used(instance))
    }

    /// Reserves a port for PostgreSQL alone.
    ///
    /// # Errors
    /// When none is free.
    pub fn for_postgres(instance: &Instance) -> Result<Self> {
        let wanted: Vec<_> = DEFAULT_PORTS
            .iter()
            .filter(|(name, _)| *name == "postgres")
            .map(|(name, port)| (*name, port + instance.kind().port_offset()))
            .collect();
        Self::reserve(&wanted, &Ports::new())
    }

    fn reserve(defaults: &[(&str, u16)], remembered: &Ports) -> Result<Self> {
        let mut reservation = Self {
            listeners: BTreeMap::new(),
            ports: Ports::new(),
            conflicts: Vec::new(),
        };
        // Everybody's wish first: the search for another port must not take what a later program wants.
        for (name, default) in defaults {
            let wanted = remembered.get(*name).unwrap_or(default);
            if let Ok(listener) = bind(*wanted) {
                reservation.insert(name, *wanted, listener);
            }
        }
        for (name, default) in defaults {
            if reservation.ports.contains_key(*name) {
                continue;
            }
            let wanted = *remembered.get(*name).unwrap_or(default);
            let (port, listener) = find_free_port(*default)
                .with_context(|| format!("no port is free for {name} from {default} on"))?;
            reservation
                .conflicts
                .push(format!("port {wanted} is taken; {name} listens on {port}"));
            reservation.insert(name, port, listener);
        }
        Ok(reservation)
    }

    fn insert(&mut self, name: &str, port: u16, listener: TcpListener) {
        self.listeners.insert(name.to_owned(), listener);
        self.ports.insert(name.to_owned(), port);
    }

    /// All ports, by program.
    pub fn ports(&self) -> &Ports {
        &self.ports
    }

    /// Frees the ports for the program that is about to listen on them.
    pub fn release(&mut self, name: &str) {
        self.listeners.retain(|held, _| {
            held != name && !(name == FAULT_INJECTION && held.starts_with(FAULT_INJECTION))
        });
    }

    /// Remembers the ports for the next start.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, instance: &Instance) -> Result<()> {
        let path = instance.ports_file();
        fs::write(&path, serde_json::to_vec_pretty(&self.ports)?)
            .with_context(|| format!("cannot write {}", path.display()))
    }
}

/// The ports of the last start; none where nothing can be read.
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
    bail!("{} ports tried, all taken", SEARCH_RANGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A range of ports that the operating system does not give to others meanwhile.
    fn free_port() -> u16 {
        find_free_port(21_000).unwrap().0
    }

    #[test]
    fn a_free_default_is_taken_without_a_word() {
        let port = free_port();
        let reservation = PortReservation::reserve(&[("core-api", port)], &Ports::new()).unwrap();
        assert_eq!(reservation.ports()["core-api"], port);
        assert!(reservation.conflicts.is_empty());
    }

    #[test]
    fn a_taken_port_is_replaced_by_a_later_one_and_said() {
        let (port, _taken) = find_free_port(22_000).unwrap();
        let reservation = PortReservation::reserve(&[("core-api", port)], &Ports::new()).unwrap();
        assert!(reservation.ports()["core-api"] > port);
        assert!(reservation.conflicts[0].starts_with(&format!("port {port} is taken; core-api listens on")));
    }

    #[test]
    fn the_search_leaves_alone_what_a_later_program_wants() {
        let (port, _taken) = find_free_port(23_000).unwrap();
        let reservation =
            PortReservation::reserve(&[("core-api", port), ("stock-service", port + 1)], &Ports::new())
                .unwrap();
        assert_eq!(reservation.ports()["stock-service"], port + 1);
        assert!(reservation.ports()["core-api"] > port + 1);
    }

    #[test]
    fn a_remembered_port_goes_before_the_default() {
        let (remembered, listener) = find_free_port(24_000).unwrap();
        drop(listener);
        let last = Ports::from([("core-api".to_owned(), remembered)]);
        let reservation = PortReservation::reserve(&[("core-api", 3000)], &last).unwrap();
        assert_eq!(reservation.ports()["core-api"], remembered);
    }
}
