//! `cargo xtask redrive`: sends the messages of dead-letter queues and parking queues back to processing,
//! after an operator has removed the cause of the failure.
//!
//! The command receives a message, sends it, and only then deletes it. After an interruption at any point,
//! the message is in its queue, at its destination, or in both; consumers ignore messages that they have
//! processed before.

mod destination;
mod queue;

use std::collections::HashMap;
use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Result, bail};
use serde_json::{Value, json};

use self::destination::{Delivery, Destination};
use self::queue::{Message, Queue};
use crate::RedriveArgs;
use crate::aws::AwsTarget;
use crate::progress::{BOLD, DIM, YELLOW, format_duration, run_step};
use crate::signals::Interrupt;
use crate::supervisor::unix_millis;

/// Shows the messages of the queue, asks for confirmation, and redrives them.
///
/// # Errors
/// When the queue does not exist, confirmation is needed but standard input is not a terminal, or AWS rejects
/// a request. Messages that were not sent until then stay in the queue.
pub fn run(arguments: &RedriveArgs) -> Result<ExitCode> {
    let interrupt = Interrupt::listen()?;
    let target = AwsTarget::from_flag(arguments.aws)?;
    let (queue, destination) = Destination::resolve(&target, &arguments.queue)?;
    let waiting = queue.depth(&target)?;
    let first = queue.peek(&target)?;
    if !arguments.json {
        print_preview(&queue, &destination, waiting, &first);
    }
    let mut result = RedriveResult::default();
    if waiting > 0 && (arguments.yes || confirm(&format!("Redrive {}?", format_count(waiting)))?) {
        result = run_step("Redriving", |step| {
            let result = redrive(
                &target,
                &queue,
                &destination,
                arguments.rate,
                &interrupt,
                |result| {
                    step.set_message(format!("{} of {waiting}", result.sent));
                },
            )?;
            step.set_outcome(result.to_string());
            Ok(result)
        })?;
    }
    if arguments.json {
        let report = json!({
            "queue": queue.name,
            "destination": destination.name(),
            "waiting": waiting,
            "first": first.iter().map(Message::to_json).collect::<Vec<_>>(),
            "redriven": result.sent,
            "left": result.left(),
        });
        println!("{}", serde_json::to_string_pretty(&report)?);
    }
    Ok(if result.left() == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The numbers of messages.
#[derive(Debug, Default)]
struct RedriveResult {
    sent: usize,
    /// Messages that do not fit the destination and stay in the queue.
    malformed: usize,
    /// Messages that stay in the queue because their orders are not parked.
    not_parked: usize,
}

impl RedriveResult {
    /// The number of messages that stay in the queue.
    fn left(&self) -> usize {
        self.malformed + self.not_parked
    }
}

impl std::fmt::Display for RedriveResult {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&format_count(self.sent))?;
        for (reason, count) in [
            ("skipped because of an unexpected format", self.malformed),
            (
                "left because order-reconciler has not parked the order",
                self.not_parked,
            ),
        ] {
            if count > 0 {
                write!(formatter, "; {reason}: {count}")?;
            }
        }
        Ok(())
    }
}

/// Sends the messages that were in the queue when this call began, at most `rate` messages per second.
fn redrive(
    target: &AwsTarget,
    queue: &Queue,
    destination: &Destination,
    rate: u32,
    interrupt: &Interrupt,
    progress: impl Fn(&RedriveResult),
) -> Result<RedriveResult> {
    let started_at = unix_millis(SystemTime::now());
    let mut result = RedriveResult::default();
    // Messages that were received and not deleted; they are invisible to other receivers for now.
    let mut undeleted = HashMap::new();
    let mut next = || -> Result<bool> {
        // At most as many messages as this loop sends within a second.
        let mut received = queue.receive(target, rate.min(10))?;
        received.retain(|message| !undeleted.contains_key(&message.id));
        let ids: Vec<String> = received.iter().map(|message| message.id.clone()).collect();
        undeleted.extend(received.into_iter().map(|message| (message.id.clone(), message)));
        for id in &ids {
            interrupt.check()?;
            let started = Instant::now();
            let message = &undeleted[id];
            if message.sent_at > started_at {
                // This command has redriven the message, and processing has failed again.
                continue;
            }
            match destination.send(target, message)? {
                Delivery::Sent => {
                    queue.delete(target, message)?;
                    undeleted.remove(id);
                    result.sent += 1;
                }
                Delivery::UnexpectedFormat => result.malformed += 1,
                Delivery::OrderNotParked => result.not_parked += 1,
            }
            progress(&result);
            thread::sleep((Duration::from_secs(1) / rate).saturating_sub(started.elapsed()));
        }
        Ok(!ids.is_empty())
    };
    let outcome = loop {
        match next() {
            Ok(true) => {}
            Ok(false) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    undeleted
        .values()
        .for_each(|message| queue.make_visible(target, message));
    outcome.map(|()| result)
}

fn format_count(count: usize) -> String {
    match count {
        1 => "1 message".to_owned(),
        count => format!("{count} messages"),
    }
}

fn print_preview(queue: &Queue, destination: &Destination, waiting: usize, first: &[Message]) {
    if waiting == 0 {
        anstream::println!("{BOLD}{}{BOLD:#} is empty", queue.name);
        return;
    }
    anstream::println!(
        "{BOLD}{}{BOLD:#} holds {}. {}\n",
        queue.name,
        format_count(waiting),
        destination.description()
    );
    anstream::println!(
        "  {DIM}{:36}  {:12}  {:24}  {:>8}  ORDER{DIM:#}",
        "MESSAGE",
        "AGE",
        "TYPE",
        "RECEIVED"
    );
    for message in first {
        let age = format_duration(message.age());
        let (id, received) = (&message.id, message.receive_count);
        let type_name = message.type_name().unwrap_or("?");
        let order_id = message.order_id();
        let order_id = order_id.as_deref().unwrap_or("-");
        anstream::println!("  {id:36}  {age:12}  {type_name:24}  {received:>8}  {order_id}");
    }
    if waiting > first.len() {
        anstream::println!("  {DIM}… and {} more{DIM:#}", waiting - first.len());
    }
    anstream::println!();
}

/// Asks the user for confirmation.
///
/// # Errors
/// When standard input is not a terminal.
pub fn confirm(question: &str) -> Result<bool> {
    if !std::io::stdin().is_terminal() {
        bail!(
            "cannot ask for confirmation: standard input is not a terminal; pass --yes to skip the question"
        );
    }
    anstream::eprint!("{YELLOW}?{YELLOW:#} {question} [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// The string at a JSON pointer.
fn string_at(value: &Value, pointer: &str) -> Option<String> {
    Some(value.pointer(pointer)?.as_str()?.to_owned())
}
