//! `cargo xtask order`: places an order as a customer, and prints each event, queue message and state change.

mod api_client;
mod event_tap;
mod saga_reader;
mod timeline;

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use serde_json::json;

use self::api_client::{ApiClient, Order, Product, Stock};
use self::event_tap::EventTap;
use self::saga_reader::SagaReader;
use self::timeline::{Severity, StepKind, TimelineStep, format_money, parse_timestamp_ms};
use crate::OrderArgs;
use crate::environment::Addresses;
use crate::instance::{Instance, InstanceKind};
use crate::progress::{BOLD, DIM, GREEN, YELLOW, format_duration};
use crate::signals::{self, Interrupt};
use crate::supervisor::{InstanceLock, unix_millis};

/// The interval at which the sources are polled.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// How long a step waits before it is printed, in milliseconds. The delay allows steps of several sources to
/// be sorted by time.
const DISPLAY_DELAY_MS: i64 = 300;

/// How long to wait for the order mail after the order has ended, in milliseconds.
const MAIL_TIMEOUT_MS: i64 = 15_000;

/// Places an order and prints its timeline. A declined order that was compensated is a success as well.
///
/// # Errors
/// When the system is not running, the API rejects the order, or the user interrupts the command.
pub fn run(arguments: &OrderArgs) -> Result<ExitCode> {
    signals::restore_default_sigpipe()?;
    let interrupt = Interrupt::listen()?;
    let instance = Instance::new(InstanceKind::Development);
    if InstanceLock::holder(&instance).is_none() {
        bail!("the system is not running; `cargo xtask up` starts it");
    }
    let addresses = Addresses::from_last_run(&instance);
    let sign_up_started = now_ms();
    let client = ApiClient::sign_up(&instance, &addresses)?;
    let sign_in_ms = now_ms() - sign_up_started;
    let product = client.choose_product(arguments.product, arguments.quantity)?;
    let stock_before = client.stock(&product.id)?;
    let mut event_tap = EventTap::open(&addresses)?;
    let mut tracker = OrderTracker::place_order(&client, sign_in_ms, &product, arguments)?;
    while !tracker.is_finished() {
        interrupt.check()?;
        // A service that is restarting causes temporary errors; only a stopped system ends the command.
        if let Err(error) = tracker.poll(&client, &addresses, &mut event_tap)
            && InstanceLock::holder(&instance).is_none()
        {
            return Err(error);
        }
        thread::sleep(POLL_INTERVAL);
    }
    tracker.print_summary(&client, arguments, stock_before, client.stock(&product.id)?)?;
    Ok(ExitCode::SUCCESS)
}

/// Collects the steps of one order from all sources.
struct OrderTracker {
    order: Order,
    /// Milliseconds since 1970.
    started_at: i64,
    /// How long registration and sign-in took, in milliseconds.
    sign_in_ms: i64,
    /// Whether to print nothing before the JSON report.
    quiet: bool,
    statuses_seen: usize,
    /// Whether the timeline has the action that the payment requires of the customer.
    next_action_shown: bool,
    saga: SagaReader,
    mail_subject: Option<String>,
    /// Milliseconds since 1970.
    ended_at: Option<i64>,
    pending_steps: Vec<TimelineStep>,
    shown_steps: Vec<TimelineStep>,
}

impl OrderTracker {
    fn place_order(
        client: &ApiClient,
        sign_in_ms: i64,
        product: &Product,
        arguments: &OrderArgs,
    ) -> Result<Self> {
        let started_at = now_ms();
        let order = client.place_order(product, arguments.quantity, &arguments.payment_method)?;
        let accepted = format!("accepted as {}, {} ms", order.status, now_ms() - started_at);
        if !arguments.json {
            let total = format_money(order.total_amount, &order.currency);
            let (name, japanese_name) = (&product.name, &product.japanese_name);
            anstream::println!(
                "\n  {BOLD}{} × {name}{BOLD:#}  {japanese_name}",
                arguments.quantity
            );
            anstream::println!(
                "  {total} by {}  {DIM}order {}{DIM:#}",
                arguments.payment_method,
                order.order_id
            );
            anstream::println!(
                "  {DIM}customer {}, registered and signed in within {sign_in_ms} ms{DIM:#}\n",
                client.email
            );
        }
        let first_step = TimelineStep::new(
            started_at,
            StepKind::Api,
            "POST /v1/orders",
            accepted,
            Severity::Success,
        );
        Ok(Self {
            order,
            started_at,
            sign_in_ms,
            quiet: arguments.json,
            // The first status is that of the response, which has a step already.
            statuses_seen: 1,
            next_action_shown: false,
            saga: SagaReader::default(),
            mail_subject: None,
            ended_at: None,
            pending_steps: vec![first_step],
            shown_steps: Vec::new(),
        })
    }

    /// Polls every source, and prints the steps that are older than the display delay.
    fn poll(&mut self, client: &ApiClient, addresses: &Addresses, event_tap: &mut EventTap) -> Result<()> {
        self.pending_steps.extend(event_tap.poll(&self.order.order_id)?);
        self.pending_steps.extend(self.saga.poll(
            addresses,
            &self.order.order_id,
            now_ms(),
            DISPLAY_DELAY_MS,
        )?);
        self.order = client.order(&self.order.order_id)?;
        self.add_status_changes()?;
        self.add_next_action()?;
        if self.mail_subject.is_none()
            && let Some((at, subject)) = client.find_mail(&self.order.order_id)?
        {
            self.pending_steps.push(TimelineStep::new(
                at,
                StepKind::Mail,
                "notification-sender",
                subject.clone(),
                Severity::Success,
            ));
            self.mail_subject = Some(subject);
        }
        if self.saga.ended && !self.is_terminal() {
            self.saga.follow_next_execution();
        } else if self.saga.ended && self.ended_at.is_none() {
            self.ended_at = Some(now_ms());
        }
        self.show_steps_until(now_ms() - DISPLAY_DELAY_MS);
        Ok(())
    }

    fn add_status_changes(&mut self) -> Result<()> {
        for change in self.order.history.iter().skip(self.statuses_seen) {
            let (reason, severity) = match change.status.as_str() {
                "completed" => (None, Severity::Success),
                "failed" => (self.order.reason.as_deref(), Severity::Error),
                _ => (None, Severity::Info),
            };
            let at = parse_timestamp_ms(&change.at).context("the API returned an invalid timestamp")?;
            let detail = reason.map(readable_reason).unwrap_or_default();
            self.pending_steps.push(TimelineStep::new(
                at,
                StepKind::Order,
                &change.status,
                detail,
                severity,
            ));
            self.statuses_seen += 1;
        }
        Ok(())
    }

    /// Tells the user once which page to open when the payment requires the customer to act.
    fn add_next_action(&mut self) -> Result<()> {
        let Some(action) = self
            .order
            .next_action
            .as_ref()
            .filter(|_| !self.next_action_shown)
        else {
            return Ok(());
        };
        let now = now_ms();
        let expires_at =
            parse_timestamp_ms(&action.expires_at).context("the API returned an invalid timestamp")?;
        let time_limit = Duration::from_millis((expires_at - now).unsigned_abs());
        let request = format!(
            "open {} within {}",
            action.redirect_url,
            format_duration(time_limit)
        );
        if self.quiet {
            anstream::eprintln!("{YELLOW}!{YELLOW:#} the payment must be authenticated: {request}");
        }
        self.pending_steps.push(TimelineStep::new(
            now,
            StepKind::Order,
            "next_action",
            request,
            Severity::Pending,
        ));
        self.next_action_shown = true;
        Ok(())
    }

    fn is_terminal(&self) -> bool {
        matches!(self.order.status.as_str(), "completed" | "failed" | "cancelled")
    }

    /// Whether the order has ended, and its mail and last steps have had the time to arrive.
    fn is_finished(&self) -> bool {
        let Some(ended_at) = self.ended_at else {
            return false;
        };
        let elapsed = now_ms() - ended_at;
        elapsed > MAIL_TIMEOUT_MS || (self.mail_subject.is_some() && elapsed > 2 * DISPLAY_DELAY_MS)
    }

    /// Prints the pending steps up to a time, in milliseconds since 1970, in the order in which they
    /// happened.
    fn show_steps_until(&mut self, time: i64) {
        self.pending_steps.sort_by_key(|step| step.at);
        let ready = self
            .pending_steps
            .iter()
            .take_while(|step| step.at <= time)
            .count();
        for step in self.pending_steps.drain(..ready) {
            if !self.quiet {
                step.print(self.started_at);
            }
            self.shown_steps.push(step);
        }
    }

    fn print_summary(
        mut self,
        client: &ApiClient,
        arguments: &OrderArgs,
        stock_before: Stock,
        stock_after: Stock,
    ) -> Result<()> {
        self.show_steps_until(i64::MAX);
        let payment = client.describe_payment(&self.order.order_id)?;
        let elapsed_ms = self
            .shown_steps
            .last()
            .map_or(0, |step| step.at - self.started_at);
        let status = &self.order.status;
        if arguments.json {
            let stock = |stock: Stock| json!({ "quantity": stock.quantity, "reserved": stock.reserved });
            let steps = self.shown_steps.iter().map(|step| step.to_json(self.started_at));
            let report = json!({
                "order_id": self.order.order_id,
                "status": status,
                "reason": self.order.reason,
                "customer": client.email,
                "sign_in_ms": self.sign_in_ms,
                "elapsed_ms": elapsed_ms,
                "payment": payment,
                "mail": self.mail_subject,
                "stock_before": stock(stock_before),
                "stock_after": stock(stock_after),
                "steps": steps.collect::<Vec<_>>(),
            });
            println!("{}", serde_json::to_string_pretty(&report)?);
            return Ok(());
        }
        let (mark, style, compensated) = if status == "completed" {
            ("✓", GREEN, "")
        } else {
            ("↩", YELLOW, ", compensated")
        };
        let reason = self.order.reason.as_deref().map(readable_reason);
        let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
        let reserved = if stock_after.reserved == 0 {
            String::new()
        } else {
            format!(", {} of them reserved", stock_after.reserved)
        };
        let mail = self.mail_subject.as_deref().unwrap_or("none");
        anstream::println!(
            "\n  {style}{mark} {status}{reason}{style:#}{compensated}, in {}",
            format_duration(Duration::from_millis(elapsed_ms.unsigned_abs()))
        );
        anstream::println!("    {DIM}payment{DIM:#}  {payment}");
        anstream::println!(
            "    {DIM}stock{DIM:#}    {} → {}{reserved}",
            stock_before.quantity,
            stock_after.quantity
        );
        anstream::println!("    {DIM}mail{DIM:#}     {mail}\n");
        Ok(())
    }
}

/// Formats a reason of the API for display: `insufficient_stock` becomes `insufficient stock`.
fn readable_reason(reason: &str) -> String {
    reason.replace('_', " ")
}

fn now_ms() -> i64 {
    i64::try_from(unix_millis(SystemTime::now())).expect("the current time in milliseconds fits into 63 bits")
}
