//! `cargo xtask redrive`: gives messages that were set aside another try, once their cause is gone.
//!
//! Each message is received, sent on and only then deleted. So whatever interrupts this, a message lies where it was
//! or where it belongs; in the worst case in both, and every consumer knows a message that it has seen.

mod destination;
mod queue;

use std::collections::HashMap;
use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Result, bail};
use serde_json::{Value, json};

use self::destination::Destination;
use self::queue::{Message, Queue};
use crate::RedriveArgs;
use crate::aws::AwsTarget;
use crate::progress::{BOLD, DIM, YELLOW, format_duration, run_step};
use crate::signals::Interrupt;
use crate::supervisor::unix_millis;

/// Shows what is in the queue, asks, and sends it on.
///
/// # Errors
/// When there is no such queue, nobody can be asked, or AWS refuses. What was not sent by then is where it was.
pub fn run(arguments: &RedriveArgs) -> Result<ExitCode> {
    let interrupt = Interrupt::listen()?;
    let cloud = AwsTarget::from_flag(arguments.aws)?;
    let (queue, destination) = Destination::resolve(&cloud, &arguments.queue)?;
    let waiting = queue.depth(&cloud)?;
    let first = queue.peek(&cloud)?;
    if !arguments.json {
        print_preview(&queue, &destination, waiting, &first);
    }
    let mut moved = RedriveResult::default();
    if waiting > 0 && (arguments.yes || confirm(&format!("Redrive {}?", format_count(waiting)))?) {
        moved = run_step("Redriving", |step| {
            let moved = redrive(
                &cloud,
                &queue,
                &destination,
                arguments.rate,
                &interrupt,
                |moved| {
                    step.set_message(format!("{} of {waiting}", moved.sent));
                },
            )?;
            step.set_outcome(moved.to_string());
            Ok(moved)
        })?;
    }
    if arguments.json {
        let report = json!({
            "queue": queue.name,
            "destination": destination.name(),
            "waiting": waiting,
            "first": first.iter().map(Message::to_json).collect::<Vec<_>>(),
            "redriven": moved.sent,
            "left": moved.skipped,
        });
        println!("{}", serde_json::to_string_pretty(&report)?);
    }
    Ok(if moved.skipped == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What came of it.
#[derive(Debug, Default)]
struct RedriveResult {
    sent: usize,
    skipped: usize,
}

impl std::fmt::Display for RedriveResult {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&format_count(self.sent))?;
        if self.skipped > 0 {
            write!(
                formatter,
                "; left where they were, being something else: {}",
                self.skipped
            )?;
        }
        Ok(())
    }
}

/// Sends everything on that lay in the queue when this began, `rate` messages a second at most.
fn redrive(
    cloud: &AwsTarget,
    queue: &Queue,
    destination: &Destination,
    rate: u32,
    interrupt: &Interrupt,
    progress: impl Fn(&RedriveResult),
) -> Result<RedriveResult> {
    let began = i64::try_from(unix_millis(SystemTime::now())).unwrap_or(i64::MAX);
    let mut moved = RedriveResult::default();
    // What was received and not deleted, which nobody else sees for the time being.
    let mut held = HashMap::new();
    let mut next = || -> Result<bool> {
        // As many as are done within a second.
        let mut fresh = queue.receive(cloud, rate.min(10))?;
        fresh.retain(|message| !held.contains_key(&message.id));
        let ids: Vec<String> = fresh.iter().map(|message| message.id.clone()).collect();
        held.extend(fresh.into_iter().map(|message| (message.id.clone(), message)));
        for id in &ids {
            interrupt.check()?;
            let started = Instant::now();
            let message = &held[id];
            if message.sent_at > began {
                // It has just been redriven, and has failed again.
                continue;
            }
            if destination.send(cloud, message)? {
                queue.delete(cloud, message)?;
                held.remove(id);
                moved.sent += 1;
            } else {
                moved.skipped += 1;
            }
            progress(&moved);
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
    held.values()
        .for_each(|message| queue.make_visible(cloud, message));
    outcome.map(|()| moved)
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
        "  {DIM}MESSAGE                               AGE           TYPE                      RECEIVED  ORDER{DIM:#}"
    );
    for message in first {
        let age = format_duration(message.age());
        let (id, received) = (&message.id, message.receive_count);
        let kind = message.type_name().unwrap_or("?");
        let order = message.order_id().unwrap_or_default();
        anstream::println!("  {id:36}  {age:12}  {kind:24}  {received:>8}  {order}");
    }
    if waiting > first.len() {
        anstream::println!("  {DIM}and more{DIM:#}");
    }
    anstream::println!();
}

/// Asks the person at the keyboard.
///
/// # Errors
/// When there is none.
pub fn confirm(question: &str) -> Result<bool> {
    if !std::io::stdin().is_terminal() {
        bail!("nobody can be asked here; --yes does it without asking");
    }
    anstream::eprint!("{YELLOW}?{YELLOW:#} {question} [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// A member of a JSON object as text.
fn string_at(value: &Value, pointer: &str) -> Option<String> {
    Some(value.pointer(pointer)?.as_str()?.to_owned())
}
