//! Which rules stand, whom they hit, and how much has passed.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use crate::{At, FunctionFault, Rule, RuleId, Share, Upstream, WireFault};

/// How often each operation was asked for: by upstream (`aws`, …; `function` for invocations), then by operation.
pub type Counts = BTreeMap<String, BTreeMap<String, u64>>;

/// All rules and counts of a system.
#[derive(Debug, Default)]
pub struct Plan(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    last_id: u64,
    rules: BTreeMap<RuleId, Standing>,
    counts: Counts,
}

/// A rule and what became of it.
#[derive(Debug)]
struct Standing {
    rule: Rule,
    draws: Option<(Share, StdRng)>,
    hits: u64,
}

impl Plan {
    /// Puts a rule into force. Of several that fit, the oldest hits.
    pub fn set(&self, rule: Rule) -> RuleId {
        let mut inner = self.lock();
        inner.last_id += 1;
        let id = RuleId(inner.last_id);
        let draws = rule.share.map(|share| (share, StdRng::seed_from_u64(share.seed)));
        let standing = Standing { rule, draws, hits: 0 };
        inner.rules.insert(id, standing);
        id
    }

    /// How often the rule has hit; none when there is no such rule.
    pub fn hits(&self, id: RuleId) -> Option<u64> {
        self.lock().rules.get(&id).map(|standing| standing.hits)
    }

    /// Takes a rule out of force, and tells whether there was one.
    pub fn lift(&self, id: RuleId) -> bool {
        self.lock().rules.remove(&id).is_some()
    }

    /// Takes all rules out of force.
    pub fn clear(&self) {
        self.lock().rules.clear();
    }

    /// What was counted since the start.
    pub fn counts(&self) -> Counts {
        self.lock().counts.clone()
    }

    /// Counts an invocation, and tells what becomes of it.
    pub fn invocation(&self, function: &str, event: &[u8]) -> Option<FunctionFault> {
        let mut inner = self.lock();
        inner.count("function", function);
        inner.hit(event, |at| match at {
            At::Function {
                function: named,
                fault,
            } if named.as_deref().is_none_or(|named| named == function) => Some(*fault),
            _ => None,
        })
    }

    /// Counts a request, and tells what becomes of it.
    pub fn request(&self, upstream: Upstream, operation: &str, content: &[u8]) -> Option<WireFault> {
        let mut inner = self.lock();
        inner.count(upstream.name(), operation);
        inner.hit(content, |at| match at {
            At::Wire {
                to,
                operation: named,
                fault,
            } if *to == upstream && named.as_deref().is_none_or(|named| named == operation) => Some(*fault),
            _ => None,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing that holds it leaves it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn count(&mut self, upstream: &str, operation: &str) {
        let operations = self.counts.entry(upstream.to_owned()).or_default();
        *operations.entry(operation.to_owned()).or_default() += 1;
    }

    fn hit<F>(&mut self, content: &[u8], fault_at: impl Fn(&At) -> Option<F>) -> Option<F> {
        self.rules.values_mut().find_map(|standing| {
            let fault = fault_at(&standing.rule.at)?;
            standing.hits(content).then_some(fault)
        })
    }
}

impl Standing {
    fn hits(&mut self, content: &[u8]) -> bool {
        let left = self.rule.times.is_none_or(|times| self.hits < times);
        let meant = |text: &String| contains(content, text.as_bytes());
        let hits = left
            && self.rule.mentioning.as_ref().is_none_or(meant)
            && self
                .draws
                .as_mut()
                .is_none_or(|(share, draws)| draws.random_bool(share.probability.clamp(0.0, 1.0)));
        self.hits += u64::from(hits);
        hits
    }
}

fn contains(content: &[u8], text: &[u8]) -> bool {
    text.is_empty() || content.windows(text.len()).any(|window| window == text)
}

impl Upstream {
    /// The name that rules and counts have for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Aws => "aws",
            Self::StockService => "stock-service",
            Self::PaymentProvider => "payment-provider",
            Self::Postgres => "postgres",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_hits_what_it_names_as_often_as_it_says() {
        let plan = Plan::default();
        let rule = Rule::function("reserve-stock", FunctionFault::Throttle)
            .mentioning("order-1")
            .times(2);
        let id = plan.set(rule);
        let event = br#"{"Records":[{"body":"{\"order_id\":\"order-1\"}"}]}"#;
        assert_eq!(plan.invocation("fail-order", event), None);
        assert_eq!(plan.invocation("reserve-stock", b"{}"), None);
        assert_eq!(plan.request(Upstream::Aws, "reserve-stock", event), None);
        for _ in 0..2 {
            assert_eq!(
                plan.invocation("reserve-stock", event),
                Some(FunctionFault::Throttle)
            );
        }
        assert_eq!(plan.invocation("reserve-stock", event), None);
        assert_eq!(plan.hits(id), Some(2));
        assert_eq!(plan.counts()["function"]["reserve-stock"], 4);
        assert!(plan.lift(id));
        assert_eq!(plan.hits(id), None);
    }

    #[test]
    fn a_share_is_the_same_for_the_same_seed() {
        let drawn = |seed| {
            let plan = Plan::default();
            plan.set(Rule::every_request(Upstream::Postgres, WireFault::Cut).share(0.3, seed));
            (0..1000)
                .map(|_| plan.request(Upstream::Postgres, "message", b"").is_some())
                .collect::<Vec<_>>()
        };
        let first = drawn(7);
        assert_eq!(first, drawn(7));
        assert_ne!(first, drawn(8));
        let hits = first.iter().filter(|hit| **hit).count();
        assert!((240..360).contains(&hits), "{hits}");
    }

    #[test]
    fn the_oldest_rule_that_fits_hits() {
        let plan = Plan::default();
        plan.set(Rule::request(Upstream::Aws, "SQS.SendMessage", WireFault::Cut).times(1));
        plan.set(Rule::every_request(Upstream::Aws, WireFault::Delay(5)));
        let ask = || plan.request(Upstream::Aws, "SQS.SendMessage", b"");
        assert_eq!(ask(), Some(WireFault::Cut));
        assert_eq!(ask(), Some(WireFault::Delay(5)));
    }
}
