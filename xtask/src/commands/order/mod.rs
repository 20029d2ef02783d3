//! `cargo xtask order`: places an order as a customer would, and shows its way to the end.

mod saga;
mod shop;
mod story;
mod tap;

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use self::saga::SagaReader;
use self::shop::{Product, Shop, Stock};
use self::story::{Kind, Step, Tone, at_of, money};
use self::tap::Tap;
use crate::Order;
use crate::environment::Addresses;
use crate::paths::{self, Instance};
use crate::progress::{BOLD, DIM, GREEN, YELLOW, duration};
use crate::signals::{self, Interrupt};
use crate::supervise::{Lock, milliseconds};

/// How often everybody is asked for news.
const POLL: Duration = Duration::from_millis(50);

/// How long a step is kept back before it is shown, in milliseconds: news from several sources come in order that way.
const KEEP_BACK: i64 = 300;

/// How long the mail may take after the order's end, in milliseconds.
const MAIL_WITHIN: i64 = 15_000;

/// Places an order and shows what becomes of it. That the shop refuses it in good order is a success as well.
///
/// # Errors
/// When the system is not up, the order is not taken at all, or the person has seen enough.
pub fn run(arguments: &Order) -> Result<ExitCode> {
    signals::end_with_reader()?;
    let interrupt = Interrupt::listen()?;
    let instance = Instance::of(paths::Kind::Development);
    if Lock::holder(&instance).is_none() {
        bail!("the system is not running; `cargo xtask up` starts it");
    }
    let addresses = Addresses::remembered(&instance);
    let came = now();
    let shop = Shop::enter(&instance, &addresses)?;
    let entered = now() - came;
    let product = shop.choose(arguments.product, arguments.quantity)?;
    let stock_before = shop.stock(&product.id)?;
    let mut tap = Tap::open(&addresses)?;
    let mut story = Story::begin(&shop, entered, &product, arguments)?;
    while !story.is_over() {
        interrupt.check()?;
        // A program that is just being started again does not end the story; a system that went down does.
        if let Err(error) = story.go_on(&shop, &addresses, &mut tap)
            && Lock::holder(&instance).is_none()
        {
            return Err(error);
        }
        thread::sleep(POLL);
    }
    story.end(&shop, arguments, stock_before, shop.stock(&product.id)?)?;
    Ok(ExitCode::SUCCESS)
}

/// What is known of the order so far.
struct Story {
    id: String,
    start: i64,
    /// How long registering and signing in took, in milliseconds.
    entered: i64,
    quiet: bool,
    order: Value,
    statuses: usize,
    saga: SagaReader,
    mail: Option<String>,
    settled: Option<i64>,
    waiting: Vec<Step>,
    shown: Vec<Step>,
}

impl Story {
    fn begin(shop: &Shop, entered: i64, product: &Product, arguments: &Order) -> Result<Self> {
        let start = now();
        let order = shop.place(product, arguments.quantity, &arguments.payment_method)?;
        let taken = format!(
            "taken as {}, {} ms",
            order["status"].as_str().unwrap_or_default(),
            now() - start
        );
        let id = order["order_id"]
            .as_str()
            .context("an order without an id")?
            .to_owned();
        if !arguments.json {
            let currency = order["currency"].as_str().unwrap_or_default();
            let total = money(order["total_amount"].as_i64().unwrap_or_default(), currency);
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
            id,
            start,
            entered,
            quiet: arguments.json,
            order,
            // The first status is the answer itself.
            statuses: 1,
            saga: SagaReader::default(),
            mail: None,
            settled: None,
            waiting: vec![Step::new(start, Kind::Api, "POST /v1/orders", taken, Tone::Good)],
            shown: Vec::new(),
        })
    }

    /// Asks everybody for news, and shows what has waited long enough.
    fn go_on(&mut self, shop: &Shop, addresses: &Addresses, tap: &mut Tap) -> Result<()> {
        self.waiting.extend(tap.listen(&self.id)?);
        self.waiting
            .extend(self.saga.read(addresses, &self.id, now(), KEEP_BACK)?);
        self.order = shop.order(&self.id)?;
        self.read_statuses();
        if self.mail.is_none()
            && let Some((at, subject)) = shop.mail(&self.id)?
        {
            self.waiting.push(Step::new(
                at,
                Kind::Mail,
                "notification-sender",
                subject.clone(),
                Tone::Good,
            ));
            self.mail = Some(subject);
        }
        if self.settled.is_none() && self.saga.ended && self.is_final() {
            self.settled = Some(now());
        }
        self.show_until(now() - KEEP_BACK);
        Ok(())
    }

    fn read_statuses(&mut self) {
        let history = self.order["history"].as_array().cloned().unwrap_or_default();
        for change in history.iter().skip(self.statuses) {
            let status = change["status"].as_str().unwrap_or_default();
            let (reason, tone) = match status {
                "completed" => ("", Tone::Good),
                "failed" => (self.order["reason"].as_str().unwrap_or_default(), Tone::Bad),
                _ => ("", Tone::Plain),
            };
            let at = at_of(&change["at"]).unwrap_or_else(now);
            self.waiting
                .push(Step::new(at, Kind::Order, status, reason.replace('_', " "), tone));
        }
        self.statuses = self.statuses.max(history.len());
    }

    fn status(&self) -> &str {
        self.order["status"].as_str().unwrap_or_default()
    }

    fn is_final(&self) -> bool {
        matches!(self.status(), "completed" | "failed" | "cancelled")
    }

    /// Everything has ended, and its news have had the time to arrive.
    fn is_over(&self) -> bool {
        let Some(settled) = self.settled else { return false };
        let since = now() - settled;
        since > MAIL_WITHIN || (self.mail.is_some() && since > 2 * KEEP_BACK)
    }

    fn show_until(&mut self, moment: i64) {
        self.waiting.sort_by_key(|step| step.at);
        let ready = self.waiting.iter().take_while(|step| step.at <= moment).count();
        for step in self.waiting.drain(..ready) {
            if !self.quiet {
                step.show(self.start);
            }
            self.shown.push(step);
        }
    }

    fn end(mut self, shop: &Shop, arguments: &Order, before: Stock, after: Stock) -> Result<()> {
        self.show_until(i64::MAX);
        let payment = shop.payment(&self.id)?;
        let took = self.shown.last().map_or(0, |step| step.at - self.start);
        let reason = self.order["reason"].as_str();
        if arguments.json {
            let stock = |stock: Stock| json!({ "quantity": stock.quantity, "reserved": stock.reserved });
            let story = json!({
                "order_id": self.id,
                "status": self.status(),
                "reason": reason,
                "customer": shop.email,
                "sign_in_ms": self.entered,
                "elapsed_ms": took,
                "payment": payment,
                "mail": self.mail,
                "stock_before": stock(before),
                "stock_after": stock(after),
                "steps": self.shown.iter().map(|step| step.to_json(self.start)).collect::<Vec<_>>(),
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
        let mail = self.mail.as_deref().unwrap_or("none");
        anstream::println!(
            "\n  {style}{mark} {}{reason}{style:#}{back}, in {}",
            self.status(),
            duration(Duration::from_millis(took.unsigned_abs()))
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

fn now() -> i64 {
    i64::try_from(milliseconds(SystemTime::now())).unwrap_or(i64::MAX)
}
