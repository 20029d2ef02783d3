//! What goes wrong: a share of everything all the time, single orders for good, and blows to the whole system.

use std::{collections::BTreeMap, sync::Mutex, sync::PoisonError, time::Duration};

use anyhow::{Context as _, Result};
use e2e::supervised::{Supervised, SupervisedError};
use faults::{Faults, FunctionFault, Rule, RuleId, Upstream, WireFault};
use tokio::time::sleep;

use crate::plan::{Blow, Plan};

/// Of a thousand invocations, so many meet each fault.
const FUNCTION_FAULTS: [(FunctionFault, u32); 10] = [
    (FunctionFault::ErrorBefore, 8),
    (FunctionFault::ErrorAfter, 8),
    (FunctionFault::TimeOutBefore, 6),
    (FunctionFault::TimeOutAfter, 6),
    (FunctionFault::Throttle, 10),
    (FunctionFault::DuplicateAtOnce, 8),
    (FunctionFault::DuplicateInTurn, 12),
    (FunctionFault::CrashBefore, 5),
    (FunctionFault::CrashDuring(40), 5),
    (FunctionFault::CrashAfter, 5),
];

/// Of a thousand requests to each program, so many meet each fault.
const WIRE_FAULTS: [(WireFault, u32); 5] = [
    (WireFault::Refuse, 5),
    (WireFault::Cut, 4),
    (WireFault::Delay(250), 8),
    (WireFault::LoseAnswer, 6),
    (WireFault::Duplicate, 4),
];

/// A transaction is many messages, so fewer of them.
const POSTGRES_FAULTS: [(WireFault, u32); 3] = [
    (WireFault::Cut, 1),
    (WireFault::Delay(100), 3),
    (WireFault::LoseAnswer, 1),
];

/// Whoever makes things go wrong, and keeps count.
pub struct Disturber {
    faults: Faults,
    supervised: Supervised,
    /// Rules that stand, by what they are counted as.
    standing: Mutex<Vec<(String, RuleId)>>,
    counts: Mutex<BTreeMap<String, u64>>,
}

impl Disturber {
    /// Disturbs the system of the environment, by the program at `faults`.
    pub fn new(faults: Faults) -> Result<Self> {
        Ok(Self {
            faults,
            supervised: Supervised::from_environment()?,
            standing: Mutex::default(),
            counts: Mutex::default(),
        })
    }

    /// Lets a share of everything go wrong from now on.
    pub async fn begin(&self, plan: &Plan) -> Result<()> {
        let mut seed = plan.seed;
        let mut set = async |label: String, rule: Rule, thousandth: u32| {
            seed = seed.wrapping_add(1);
            let rule = rule.share(f64::from(thousandth) / 1000.0, seed);
            self.set(label, &rule).await
        };
        for (fault, thousandth) in FUNCTION_FAULTS {
            let rule = Rule::every_function(fault);
            set(format!("invocations: {fault:?}"), rule, thousandth).await?;
        }
        for to in [Upstream::Aws, Upstream::StockService, Upstream::PaymentProvider] {
            for (fault, thousandth) in WIRE_FAULTS {
                let rule = Rule::every_request(to, fault);
                set(format!("requests to {to:?}: {fault:?}"), rule, thousandth).await?;
            }
        }
        for (fault, thousandth) in POSTGRES_FAULTS {
            let rule = Rule::request(Upstream::Postgres, "message", fault);
            set(format!("messages to Postgres: {fault:?}"), rule, thousandth).await?;
        }
        Ok(())
    }

    /// Lets a step fail in every saga of a customer, until it is lifted.
    pub async fn curse(
        &self,
        user_id: &str,
        (function, fault): (&'static str, FunctionFault),
    ) -> Result<RuleId> {
        let rule = Rule::function(function, fault).mentioning(user_id);
        self.set(format!("orders turned back: {function} {fault:?}"), &rule)
            .await
    }

    /// Ends one fault, unless all have ended.
    pub async fn lift(&self, rule: RuleId) -> Result<()> {
        let found = {
            let mut standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
            let position = standing.iter().position(|(_, id)| *id == rule);
            position.map(|position| standing.swap_remove(position))
        };
        if let Some((label, id)) = found {
            let hits = self
                .faults
                .hits(id)
                .await
                .context("the injector does not answer")?;
            self.count(label, hits);
            self.faults
                .lift(id)
                .await
                .context("the injector does not answer")?;
        }
        Ok(())
    }

    /// Strikes. Returns when it is over, which includes the return of what was killed.
    pub async fn strike(&self, blow: Blow) -> Result<()> {
        match blow {
            Blow::Kill(program) => match self.supervised.kill(program) {
                Ok(killed) => {
                    self.count(format!("kills: {program}"), 1);
                    self.supervised.back(program, killed).await?;
                }
                // The blow before has hit it as well, or a health check did not pass yet.
                Err(SupervisedError::NotRunning(_)) => {
                    self.count(format!("kills that found nobody: {program}"), 1)
                }
                Err(error) => return Err(error.into()),
            },
            Blow::Outage(upstream, lasting) => {
                self.count(format!("outages: {upstream:?}"), 1);
                self.for_a_while(&Rule::every_request(upstream, WireFault::Refuse), lasting)
                    .await?;
            }
            Blow::Slowness(upstream, milliseconds, lasting) => {
                self.count(format!("slow spells: {upstream:?}"), 1);
                let rule = Rule::every_request(upstream, WireFault::Delay(milliseconds));
                self.for_a_while(&rule, lasting).await?;
            }
        }
        Ok(())
    }

    async fn for_a_while(&self, rule: &Rule, lasting: Duration) -> Result<()> {
        let id = self
            .faults
            .set(rule)
            .await
            .context("the injector does not answer")?;
        sleep(lasting).await;
        self.faults.lift(id).await.context("the injector does not answer")
    }

    /// Ends all faults.
    pub async fn end(&self) -> Result<()> {
        let standing = std::mem::take(&mut *self.standing.lock().unwrap_or_else(PoisonError::into_inner));
        for (label, id) in standing {
            let hits = self
                .faults
                .hits(id)
                .await
                .context("the injector does not answer")?;
            self.count(label, hits);
        }
        self.faults.clear().await.context("the injector does not answer")
    }

    /// Counts something that was done to the system.
    pub fn count(&self, what: impl Into<String>, times: u64) {
        if times > 0 {
            *self.lock_counts().entry(what.into()).or_default() += times;
        }
    }

    /// What was done to the system.
    pub fn counts(&self) -> BTreeMap<String, u64> {
        self.lock_counts().clone()
    }

    async fn set(&self, label: String, rule: &Rule) -> Result<RuleId> {
        let id = self
            .faults
            .set(rule)
            .await
            .context("the injector does not answer")?;
        self.standing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((label, id));
        Ok(id)
    }

    fn lock_counts(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, u64>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
