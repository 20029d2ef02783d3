//! Tells a process that we started from a later one that was given the same number.

use serde::{Deserialize, Serialize};

/// A process, identified beyond the reuse of its number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// The operating system's number.
    pub pid: u32,
    /// When it started, in whatever form the operating system tells it.
    started: String,
}

impl ProcessId {
    /// Identifies a running process; `None` when there is none with this number.
    pub fn from_pid(pid: u32) -> Option<Self> {
        Some(Self {
            pid,
            started: process_start_time(pid)?,
        })
    }

    /// Whether this very process still runs (a zombie does not).
    pub fn is_running(&self) -> bool {
        process_start_time(self.pid).as_ref() == Some(&self.started)
    }
}

#[cfg(target_os = "linux")]
fn process_start_time(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    parse_start_time(&stat)
}

/// Field 22 of `/proc/PID/stat`, in clock ticks since boot; `None` for a zombie. The second field is the program's
/// name in parentheses and may hold anything, so counting begins behind the last parenthesis.
#[cfg(target_os = "linux")]
fn parse_start_time(stat: &str) -> Option<String> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let is_zombie = matches!(fields.first(), Some(&"Z" | &"X"));
    if is_zombie {
        None
    } else {
        fields.get(19).map(|ticks| (*ticks).to_owned())
    }
}

#[cfg(not(target_os = "linux"))]
fn started(pid: u32) -> Option<String> {
    let output = std::process::Command::new("ps")
        .args(["-o", "lstart=,stat=", "-p", &pid.to_string()])
        .output()
        .ok()?;
    let line = String::from_utf8(output.stdout).ok()?;
    let (start, state) = line.trim().rsplit_once(' ')?;
    if state.starts_with('Z') {
        None
    } else {
        Some(start.trim().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn we_run_and_a_process_with_our_number_and_another_start_does_not() {
        let we = ProcessId::from_pid(std::process::id()).unwrap();
        assert!(we.is_running());
        let other = ProcessId {
            started: "long ago".to_owned(),
            ..we
        };
        assert!(!other.is_running());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let tail = (4..=30)
            .map(|field| field.to_string())
            .collect::<Vec<_>>()
            .join(" ");
        assert_eq!(
            parse_start_time(&format!("7 (a) (b c) S {tail}")).as_deref(),
            Some("22")
        );
        assert_eq!(parse_start_time(&format!("7 (gone) Z {tail}")), None);
    }
}
