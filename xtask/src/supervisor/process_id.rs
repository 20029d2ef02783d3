//! Identifies processes by pid and start time, because the operating system reuses pids.

use serde::{Deserialize, Serialize};

/// A process id that stays unique when the operating system reuses the pid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    pub pid: u32,
    /// The start time, in the format of the operating system.
    started: String,
}

impl ProcessId {
    /// Identifies a running process; `None` when no process has this pid.
    pub fn from_pid(pid: u32) -> Option<Self> {
        Some(Self {
            pid,
            started: process_start_time(pid)?,
        })
    }

    /// Whether the process still runs, and is not a zombie.
    pub fn is_running(&self) -> bool {
        process_start_time(self.pid).as_ref() == Some(&self.started)
    }
}

#[cfg(target_os = "linux")]
fn process_start_time(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    parse_start_time(&stat)
}

/// Parses field 22 of `/proc/PID/stat`, in clock ticks since boot; `None` for a zombie. The second field is
/// the command's name in parentheses, which may contain spaces and parentheses, so fields are counted from
/// the last parenthesis.
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
fn process_start_time(pid: u32) -> Option<String> {
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
    fn detects_pid_reuse() {
        let this_process = ProcessId::from_pid(std::process::id()).unwrap();
        assert!(this_process.is_running());
        let earlier_process = ProcessId {
            started: "long ago".to_owned(),
            ..this_process
        };
        assert!(!earlier_process.is_running());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn parse_start_time_allows_parentheses_in_the_command_name() {
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
