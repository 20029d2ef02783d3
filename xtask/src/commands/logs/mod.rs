//! `cargo xtask logs`: prints the log files of services, and the logs of functions from the local AWS.

mod line_format;

use std::fs::File;
use std::io::{IsTerminal as _, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use crate::environment::Addresses;
use crate::instance::{Instance, InstanceKind};
use crate::{LogsArgs, aws, logs, signals};

/// The services with log files, in the order in which a request passes them.
const LOGGED_SERVICES: [&str; 6] = [
    "core-api",
    "stock-service",
    "payment-provider",
    "ministack",
    "postgres",
    "supervisor",
];

/// The prefix of the log groups of functions.
const LOG_GROUP_PREFIX: &str = "/aws/lambda/";

/// The prefixes of the lines that Lambda writes for each invocation. They are omitted, because our functions
/// log the same facts.
const PLATFORM_LINES: [&str; 3] = ["START RequestId: ", "END RequestId: ", "REPORT RequestId: "];

/// The interval at which logs are polled for new lines.
const POLL_INTERVAL: Duration = Duration::from_millis(300);

/// The colours of labels, one per log.
const LABEL_COLOURS: [AnsiColor; 6] = [
    AnsiColor::Cyan,
    AnsiColor::Magenta,
    AnsiColor::Yellow,
    AnsiColor::Blue,
    AnsiColor::Green,
    AnsiColor::BrightRed,
];

/// Prints the last lines of logs, and follows them if requested.
///
/// # Errors
/// When no service or function of the given name has a log.
pub fn run(arguments: &LogsArgs) -> Result<ExitCode> {
    signals::restore_default_sigpipe()?;
    let instance = Instance::new(InstanceKind::Development);
    let addresses = Addresses::from_last_run(&instance);
    let mut sources = match &arguments.service {
        Some(name) => vec![LogSource::find(name, &instance, &addresses)?],
        None => LogSource::all(&instance, &addresses),
    };
    if sources.is_empty() {
        bail!("there are no logs yet; start the system with `cargo xtask up`");
    }
    let labelled = sources.len() > 1;
    for (index, source) in sources.iter_mut().enumerate() {
        let label = label(&source.name, index, labelled);
        source
            .last_lines(arguments.lines, &addresses)
            .iter()
            .for_each(|line| print_line(&label, line));
    }
    if !arguments.follow {
        return Ok(ExitCode::SUCCESS);
    }
    loop {
        for (index, source) in sources.iter_mut().enumerate() {
            let label = label(&source.name, index, labelled);
            source
                .new_lines(&addresses)
                .iter()
                .for_each(|line| print_line(&label, line));
        }
        thread::sleep(POLL_INTERVAL);
    }
}

/// Prints a formatted line on a terminal, and the original line to a pipe.
fn print_line(label: &str, line: &str) {
    if std::io::stdout().is_terminal() {
        anstream::println!("{label}{}", line_format::format_line(line));
    } else {
        anstream::println!("{label}{line}");
    }
}

fn label(name: &str, index: usize, labelled: bool) -> String {
    if !labelled {
        return String::new();
    }
    let style: Style = LABEL_COLOURS[index % LABEL_COLOURS.len()].on_default();
    format!("{style}{name:19}{style:#} │ ")
}

/// A log and the position up to which it has been read.
struct LogSource {
    name: String,
    location: LogLocation,
}

enum LogLocation {
    File { path: PathBuf, inode: u64, offset: u64 },
    Function { group: String, next_millisecond: i64 },
}

impl LogSource {
    fn find(name: &str, instance: &Instance, addresses: &Addresses) -> Result<Self> {
        let path = instance.log_file(name);
        if path.exists() {
            return Ok(Self::file(name, path));
        }
        if let Some(function) = function_names(addresses)
            .into_iter()
            .find(|function| function == name)
        {
            return Ok(Self::function(&function));
        }
        let functions = function_names(addresses);
        let known: Vec<&str> = LOGGED_SERVICES
            .into_iter()
            .chain(functions.iter().map(String::as_str))
            .collect();
        bail!("{name} has no log; there are logs of: {}", known.join(", "))
    }

    fn all(instance: &Instance, addresses: &Addresses) -> Vec<Self> {
        let files = LOGGED_SERVICES
            .iter()
            .map(|name| (name, instance.log_file(name)))
            .filter(|(_, path)| path.exists())
            .map(|(name, path)| Self::file(name, path));
        files
            .chain(function_names(addresses).iter().map(|name| Self::function(name)))
            .collect()
    }

    fn file(name: &str, path: PathBuf) -> Self {
        Self {
            name: name.to_owned(),
            location: LogLocation::File {
                path,
                inode: 0,
                offset: 0,
            },
        }
    }

    fn function(name: &str) -> Self {
        let group = format!("{LOG_GROUP_PREFIX}{name}");
        Self {
            name: name.to_owned(),
            location: LogLocation::Function {
                group,
                next_millisecond: 0,
            },
        }
    }

    /// Returns the last lines, and moves the position to the end of the log.
    fn last_lines(&mut self, lines: usize, addresses: &Addresses) -> Vec<String> {
        match &mut self.location {
            LogLocation::File { path, inode, offset } => {
                if let Ok(metadata) = path.metadata() {
                    (*inode, *offset) = (metadata.ino(), metadata.len());
                }
                logs::tail(path, lines)
                    .unwrap_or_default()
                    .lines()
                    .map(ToOwned::to_owned)
                    .collect()
            }
            LogLocation::Function { .. } => {
                let all = self.new_lines(addresses);
                all[all.len().saturating_sub(lines)..].to_vec()
            }
        }
    }

    /// Returns the complete lines that were written since the last call. Ignores errors, because the next
    /// call reads the same lines again.
    fn new_lines(&mut self, addresses: &Addresses) -> Vec<String> {
        match &mut self.location {
            LogLocation::File { path, inode, offset } => {
                read_new_lines(path, inode, offset).unwrap_or_default()
            }
            LogLocation::Function {
                group,
                next_millisecond,
            } => fetch_log_events(addresses, group, next_millisecond).unwrap_or_default(),
        }
    }
}

fn read_new_lines(path: &PathBuf, inode: &mut u64, offset: &mut u64) -> Result<Vec<String>> {
    let mut file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.ino() != *inode {
        // The service was restarted with a new log file.
        (*inode, *offset) = (metadata.ino(), 0);
    }
    file.seek(SeekFrom::Start(*offset))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let end = bytes
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |position| position + 1);
    *offset += end as u64;
    Ok(String::from_utf8_lossy(&bytes[..end])
        .lines()
        .map(ToOwned::to_owned)
        .collect())
}

/// The names of the functions that have logs; empty while the local AWS is not running.
fn function_names(addresses: &Addresses) -> Vec<String> {
    let mut names = Vec::new();
    let mut page = json!({ "logGroupNamePrefix": LOG_GROUP_PREFIX });
    loop {
        let response =
            aws::call_local(addresses, "logs", "Logs_20140328.DescribeLogGroups", &page).unwrap_or_default();
        let groups = response["logGroups"].as_array().into_iter().flatten();
        let of_functions =
            groups.filter_map(|group| group["logGroupName"].as_str()?.strip_prefix(LOG_GROUP_PREFIX));
        names.extend(of_functions.map(ToOwned::to_owned));
        match response.get("nextToken") {
            Some(Value::String(token)) => page["nextToken"] = token.clone().into(),
            _ => return names,
        }
    }
}

fn fetch_log_events(addresses: &Addresses, group: &str, from: &mut i64) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    let mut page = json!({ "logGroupName": group, "startTime": *from });
    loop {
        let response = aws::call_local(addresses, "logs", "Logs_20140328.FilterLogEvents", &page)?;
        for event in response["events"].as_array().into_iter().flatten() {
            let time = event["timestamp"]
                .as_i64()
                .context("a log event has no timestamp")?;
            *from = (*from).max(time + 1);
            let message = event["message"].as_str().context("a log event has no message")?;
            let message = message.trim_end();
            if !PLATFORM_LINES.iter().any(|start| message.starts_with(start)) {
                lines.push(message.to_owned());
            }
        }
        match response.get("nextToken") {
            Some(Value::String(token)) => page["nextToken"] = token.clone().into(),
            _ => return Ok(lines),
        }
    }
}
