//! `cargo xtask order`: places an order as a customer would, and shows its way to the end.

mod api_client;
mod event_tap;
mod saga_reader;
mod timeline;

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use self::api_client::{ApiClient, Product, Stock};
use self::event_tap::EventTap;
use self::saga_reader::SagaReader;
use self::timeline::{Severity, StepKind, TimelineStep, format_money, parse_timestamp_ms};
use crate::OrderArgs;
use crate::environment::Addresses;
use crate::instance::{self, Instance};
use crate::progress::{BOLD, DIM, GREEN, YELLOW, format_duration};
use crate::signals::{self, Interrupt};
use crate::supervisor::{InstanceLock, unix_millis};

/// How often everybody is asked for news.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// How long a step is kept back before it is shown, in milliseconds: news from several sources come in order that way.
const DISPLAY_DELAY_MS: i64 = 300;

/// How long the mail may take after the order's end, in milliseconds.
const MAIL_TIMEOUT_MS: i64 = 15_000;

/// Places an order and shows what becomes of it. That the shop refuses it in good order is a success as well.
///
/// # Errors
/// When the system is not up, the order is not taken at all, or the person has seen enough.
pub fn run(arguments: &OrderArgs) -> Result<ExitCode> {
    signals::restore_default_sigpipe()?;
    let interrupt = Interrupt::listen()?;
    let instance = Instance::new(instance::InstanceKind::Development);
    if InstanceLock::holder(&instance).is_none() {
        bail!("the system is not running; `cargo xtask up` starts it");
    }
    let addresses = Addresses::from_last_run(&instance);
    let came = now_ms();
    let shop = ApiClient::sign_up(&instance, &addresses)?;
    let entered = now_ms() - came;
    let product = shop.choose_product(arguments.product, arguments.quantity)?;
    let stock_before = shop.stock(&product.id)?;
    let mut tap = EventTap::open(&addresses)?;
    let mut story = OrderTracker::place_order(&shop, entered, &product, arguments)?;
    while !story.is_finished() {
        interrupt.check()?;
        // A program that is just being started again does not end the story; a system that went down does.
        if let Err(error) = story.poll(&shop, &addresses, &mut tap)
            && InstanceLock::holder(&instance).is_none()
        {
            return Err(error);
        }
        thread::sleep(POLL_INTERVAL);
    }
    story.print_summary(&shop, arguments, stock_before, shop.stock(&product.id)?)?;
    Ok(ExitCode::SUCCESS)
}

/// What is known of the order so far.
struct OrderTracker {
    order_id: String,
    started_at: i64,
    /// How long registering and signing in took, in milliseconds.
    sign_in_ms: i64,
    quiet: bool,
    order: Value,
    statuses_seen: usize,
    saga: SagaReader,
    mail_subject: Option<String>,
    ended_at: Option<i64>,
    pending_steps: Vec<TimelineStep>,
    shown_steps: Vec<TimelineStep>,
}

impl OrderTracker {
    fn place_order(shop: &ApiClient, entered: i64, product: &Product, arguments: &OrderArgs) -> Result<Self> {
        let start = now_ms();
        let order = shop.place_order(product, arguments.quantity, &arguments.payment_method)?;
        let taken = format!(
            "taken as {}, {} ms",
            order["status"].as_str().unwrap_or_default(),
            now_ms() - start
        );
        let id = order["order_id"]
            .as_str()
            .context("an order without an id")?
            .to_owned();
        if !arguments.json {
            let currency = order["currency"].as_str().unwrap_or_default();
            let total = format_money(order["total_amount"].as_i64().unwrap_or_default(), currency);
            let (name, japanese) = (&product.name, &product.japanese_name);
            anstream::println!("\n  {BOLD}{} × {name}{BOLD:#}  {japanese}", arguments.quantity);
            anstream::println!(
                "  {total} by {}  {DIM}order {id}{DIM:#}",
                arguments.payment_method
            );
            anstream::println!(
                "  {DIM}for {}, who registered and signed in within {entered} ms{DIM:#}\n",
                shop.email
            );
        }
        Ok(Self {
            order_id: id,
            started_at: start,
            sign_in_ms: entered,
            quiet: arguments.json,
            order,
            // The first status is the answer itself.
            statuses_seen: 1,
            saga: SagaReader::default(),
            mail_subject: None,
            ended_at: None,
            pending_steps: vec![TimelineStep::new(
                start,
                StepKind::Api,
                "POST /v1/orders",
                taken,
                Severity::Good,
            )],
            shown_steps: Vec::new(),
        })
    }

    /// Asks everybody for news, and shows what has waited long enough.
    fn poll(&mut self, shop: &ApiClient, addresses: &Addresses, tap: &mut EventTap) -> Result<()> {
        self.pending_steps.extend(tap.poll(&self.order_id)?);
        self.pending_steps.extend(
            self.saga
                .poll(addresses, &self.order_id, now_ms(), DISPLAY_DELAY_MS)?,
        );
        self.order = shop.order(&self.order_id)?;
        self.poll_statuses();
        if self.mail_subject.is_none()
            && let Some((at, subject)) = shop.find_mail(&self.order_id)?
        {
            self.pending_steps.push(TimelineStep::new(
                at,
                StepKind::Mail,
                "notification-sender",
                subject.clone(),
                Severity::Good,
            ));
            self.mail_subject = Some(subject);
        }
        if self.ended_at.is_none() && self.saga.ended && self.is_terminal() {
            self.ended_at = Some(now_ms());
        }
        self.show_steps_until(now_ms() - DISPLAY_DELAY_MS);
        Ok(())
    }

    fn poll_statuses(&mut self) {
        let history = self.order["history"].as_array().cloned().unwrap_or_default();
        for change in history.iter().skip(self.statuses_seen) {
            let status = change["status"].as_str().unwrap_or_default();
            let (reason, tone) = match status {
                "completed" => ("", Severity::Good),
                "failed" => (self.order["reason"].as_str().unwrap_or_default(), Severity::Bad),
                _ => ("", Severity::Plain),
            };
            let at = parse_timestamp_ms(&change["at"]).unwrap_or_else(now_ms);
            self.pending_steps.push(TimelineStep::new(
                at,
                StepKind::Order,
                status,
                reason.replace('_', " "),
                tone,
            ));
        }
        self.statuses_seen = self.statuses_seen.max(history.len());
    }

    fn status(&self) -> &str {
        self.order["status"].as_str().unwrap_or_default()
    }

    fn is_terminal(&self) -> bool {
        matches!(self.status(), "completed" | "failed" | "cancelled")
    }

    /// Everything has ended, and its news have had the time to arrive.
    fn is_finished(&self) -> bool {
        let Some(settled) = self.ended_at else {
            return false;
        };
        let since = now_ms() - settled;
        since > MAIL_TIMEOUT_MS || (self.mail_subject.is_some() && since > 2 * DISPLAY_DELAY_MS)
    }

    fn show_steps_until(&mut self, moment: i64) {
        self.pending_steps.sort_by_key(|step| step.at);
        let ready = self
            .pending_steps
            .iter()
            .take_while(|step| step.at <= moment)
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
        shop: &ApiClient,
        arguments: &OrderArgs,
        before: Stock,
        after: Stock,
    ) -> Result<()> {
        self.show_steps_until(i64::MAX);
        let payment = shop.describe_payment(&self.order_id)?;
        let took = self
            .shown_steps
            .last()
            .map_or(0, |step| step.at - self.started_at);
        let reason = self.order["reason"].as_str();
        if arguments.json {
            let stock = |stock: Stock| json!({ "quantity": stock.quantity, "reserved": stock.reserved });
            let story = json!({
                "order_id": self.order_id,
                "status": self.status(),
                "reason": reason,
                "customer": shop.email,
                "sign_in_ms": self.sign_in_ms,
                "elapsed_ms": took,
                "payment": payment,
                "mail": self.mail_subject,
                "stock_before": stock(before),
                "stock_after": stock(after),
                "steps": self.shown_steps.iter().map(|step| step.to_json(self.started_at)).collect::<Vec<_>>(),
            });
            println!("{}", serde_json::to_string_pretty(&story)?);
            return Ok(());
        }
        let (mark, style) = if self.status() == "completed" {
            ("✓", GREEN)
        } else {
            ("↩", YELLOW)
        };
        let reason = reason
            .map(|reason| format!(": {}", reason.replace('_', " ")))
            .unwrap_or_default();
        let back = if self.status() == "completed" {
            ""
        } else {
            ", and everything put back"
        };
        let held = if after.reserved == 0 {
            String::new()
        } else {
            format!(", {} of them promised", after.reserved)
        };
        let mail = self.mail_subject.as_deref().unwrap_or("none");
        anstream::println!(
            "\n  {style}{mark} {}{reason}{style:#}{back}, in {}",
            self.status(),
            format_duration(Duration::from_millis(took.unsigned_abs()))
        );
        anstream::println!("    {DIM}payment{DIM:#}  {payment}");
        anstream::println!(
            "    {DIM}stock{DIM:#}    {} → {}{held}",
            before.quantity,
            after.quantity
        );
        anstream::println!("    {DIM}mail{DIM:#}     {mail}\n");
        Ok(())
    }
}

fn now_ms() -> i64 {
    i64::try_from(unix_millis(SystemTime::now())).unwrap_or(i64::MAX)
}
