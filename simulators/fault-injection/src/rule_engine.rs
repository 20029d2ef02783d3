//! Which rules stand, whom they hit, and how much has passed.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use crate::{FunctionFault, NetworkFault, Rule, RuleId, Sampling, Target, Upstream};

/// How often each operation was asked for: by upstream (`aws`, …; `function` for invocations), then by operation.
pub type OperationCounts = BTreeMap<String, BTreeMap<String, u64>>;

/// All rules and counts of a system.
#[derive(Debug, Default)]
pub struct RuleEngine(Mutex<EngineState>);

#[derive(Debug, Default)]
struct EngineState {
    last_id: u64,
    rules: BTreeMap<RuleId, ActiveRule>,
    counts: OperationCounts,
}

/// A rule and what became of it.
#[derive(Debug)]
struct ActiveRule {
    rule: Rule,
    sampler: Option<(Sampling, StdRng)>,
    hits: u64,
}

impl RuleEngine {
    /// Puts a rule into force. Of several that fit, the oldest hits.
    pub fn add_rule(&self, rule: Rule) -> RuleId {
        let mut inner = self.lock();
        inner.last_id += 1;
        let id = RuleId(inner.last_id);
        let draws = rule.share.map(|share| (share, StdRng::seed_from_u64(share.seed)));
        let standing = ActiveRule {
            rule,
            sampler: draws,
            hits: 0,
        };
        inner.rules.insert(id, standing);
        id
    }

    /// How often the rule has hit; none when there is no such rule.
    pub fn hits(&self, id: RuleId) -> Option<u64> {
        self.lock().rules.get(&id).map(|standing| standing.hits)
    }

    /// Takes a rule out of force, and tells whether there was one.
    pub fn remove_rule(&self, id: RuleId) -> bool {
        self.lock().rules.remove(&id).is_some()
    }

    /// Takes all rules out of force.
    pub fn clear_rules(&self) {
        self.lock().rules.clear();
    }

    /// What was counted since the start.
    pub fn counts(&self) -> OperationCounts {
        self.lock().counts.clone()
    }

    /// Counts an invocation, and tells what becomes of it.
    pub fn fault_for_invocation(&self, function: &str, event: &[u8]) -> Option<FunctionFault> {
        let mut inner = self.lock();
        inner.count_operation("function", function);
        inner.first_matching_fault(event, |at| match at {
            Target::Function {
                function: named,
                fault,
            } if named.as_deref().is_none_or(|named| named == function) => Some(*fault),
            _ => None,
        })
    }

    /// Counts a request, and tells what becomes of it.
    pub fn fault_for_request(
        &self,
        upstream: Upstream,
        operation: &str,
        content: &[u8],
    ) -> Option<NetworkFault> {
        let mut inner = self.lock();
        inner.count_operation(upstream.name(), operation);
        inner.first_matching_fault(content, |at| match at {
            Target::Network {
                to,
                operation: named,
                fault,
            } if *to == upstream && named.as_deref().is_none_or(|named| named == operation) => Some(*fault),
            _ => None,
        })
    }

    fn lock(&self) -> MutexGuard<'_, EngineState> {
        // Nothing that holds it leaves it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EngineState {
    fn count_operation(&mut self, upstream: &str, operation: &str) {
        let operations = self.counts.entry(upstream.to_owned()).or_default();
        *operations.entry(operation.to_owned()).or_default() += 1;
    }

    fn first_matching_fault<F>(
        &mut self,
        content: &[u8],
        fault_at: impl Fn(&Target) -> Option<F>,
    ) -> Option<F> {
        self.rules.values_mut().find_map(|standing| {
            let fault = fault_at(&standing.rule.at)?;
            standing.matches(content).then_some(fault)
        })
    }
}

impl ActiveRule {
    fn matches(&mut self, content: &[u8]) -> bool {
        let left = self.rule.times.is_none_or(|times| self.hits < times);
        let meant = |text: &String| contains(content, text.as_bytes());
        let hits = left
            && self.rule.mentioning.as_ref().is_none_or(meant)
            && self
                .sampler
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
        let plan = RuleEngine::default();
        let rule = Rule::for_function("reserve-stock", FunctionFault::Throttle)
            .containing("order-1")
            .limit_hits(2);
        let id = plan.add_rule(rule);
        let event = br#"{"Records":[{"body":"{\"order_id\":\"order-1\"}"}]}"#;
        assert_eq!(plan.fault_for_invocation("fail-order", event), None);
        assert_eq!(plan.fault_for_invocation("reserve-stock", b"{}"), None);
        assert_eq!(
            plan.fault_for_request(Upstream::Aws, "reserve-stock", event),
            None
        );
        for _ in 0..2 {
            assert_eq!(
                plan.fault_for_invocation("reserve-stock", event),
                Some(FunctionFault::Throttle)
            );
        }
        assert_eq!(plan.fault_for_invocation("reserve-stock", event), None);
        assert_eq!(plan.hits(id), Some(2));
        assert_eq!(plan.counts()["function"]["reserve-stock"], 4);
        assert!(plan.remove_rule(id));
        assert_eq!(plan.hits(id), None);
    }

    #[test]
    fn a_share_is_the_same_for_the_same_seed() {
        let drawn = |seed| {
            let plan = RuleEngine::default();
            plan.add_rule(
                Rule::for_all_requests(Upstream::Postgres, NetworkFault::Disconnect)
                    .with_probability(0.3, seed),
            );
            (0..1000)
                .map(|_| {
                    plan.fault_for_request(Upstream::Postgres, "message", b"")
                        .is_some()
                })
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
        let plan = RuleEngine::default();
        plan.add_rule(
            Rule::for_operation(Upstream::Aws, "SQS.SendMessage", NetworkFault::Disconnect).limit_hits(1),
        );
        plan.add_rule(Rule::for_all_requests(Upstream::Aws, NetworkFault::Delay(5)));
        let ask = || plan.fault_for_request(Upstream::Aws, "SQS.SendMessage", b"");
        assert_eq!(ask(), Some(NetworkFault::Disconnect));
        assert_eq!(ask(), Some(NetworkFault::Delay(5)));
    }
}
