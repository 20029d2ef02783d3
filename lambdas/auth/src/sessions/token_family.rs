//! The stored state of a session, and the decision about a refresh token that a client presents.

use chrono::{TimeDelta, serde::ts_milliseconds};
use domain::{Timestamp, UserId};
use serde::{Deserialize, Serialize};

/// A used token is accepted once more within this time: the first response may have been lost, or two browser
/// tabs may have refreshed at once.
const REUSE_GRACE_PERIOD: TimeDelta = TimeDelta::seconds(10);

/// A refresh token family as it is stored. It contains digests only; times are stored in milliseconds since
/// 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenFamily {
    pub user_id: UserId,
    #[serde(rename = "current")]
    pub current_digest: String,
    #[serde(rename = "previous", default, skip_serializing_if = "Option::is_none")]
    pub previous_digest: Option<String>,
    /// When the current token replaced the previous one.
    #[serde(with = "ts_milliseconds")]
    pub rotated_at: Timestamp,
    #[serde(rename = "began_at", with = "ts_milliseconds")]
    pub signed_in_at: Timestamp,
}

/// The decision about a refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RotationDecision {
    /// The token is the current one: its successor replaces it.
    Rotate,
    /// The token was the current one a moment ago: the client gets the same successor again.
    RepeatSuccessor,
    /// The token is an old one. Two clients have it, so one of them has stolen it.
    ReuseDetected,
}

impl TokenFamily {
    #[must_use]
    pub fn is_current_or_previous(&self, digest: &str) -> bool {
        self.current_digest == digest || self.previous_digest.as_deref() == Some(digest)
    }

    /// Decides about the token of this family that has the digest `digest`.
    #[must_use]
    pub fn evaluate(&self, digest: &str, now: Timestamp) -> RotationDecision {
        if self.current_digest == digest {
            RotationDecision::Rotate
        } else if self.previous_digest.as_deref() == Some(digest)
            && now - self.rotated_at <= REUSE_GRACE_PERIOD
        {
            RotationDecision::RepeatSuccessor
        } else {
            RotationDecision::ReuseDetected
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    #[test]
    fn current_token_rotates_previous_repeats_within_grace_period_and_others_are_reuse() {
        let family = TokenFamily {
            user_id: UserId::new(NOW),
            current_digest: "c".to_owned(),
            previous_digest: Some("b".to_owned()),
            rotated_at: NOW,
            signed_in_at: NOW,
        };
        let at = |seconds| NOW + TimeDelta::seconds(seconds);
        assert_eq!(family.evaluate("c", at(0)), RotationDecision::Rotate);
        assert_eq!(family.evaluate("c", at(1_000_000)), RotationDecision::Rotate);
        assert_eq!(family.evaluate("b", at(0)), RotationDecision::RepeatSuccessor);
        assert_eq!(family.evaluate("b", at(10)), RotationDecision::RepeatSuccessor);
        assert_eq!(family.evaluate("b", at(11)), RotationDecision::ReuseDetected);
        assert_eq!(family.evaluate("a", at(0)), RotationDecision::ReuseDetected);

        let never_rotated = TokenFamily {
            previous_digest: None,
            ..family
        };
        assert_eq!(never_rotated.evaluate("c", at(0)), RotationDecision::Rotate);
        assert_eq!(
            never_rotated.evaluate("b", at(0)),
            RotationDecision::ReuseDetected
        );
    }

    #[test]
    fn stored_attributes_keep_their_names_and_units() {
        let user_id = UserId::new(NOW);
        let stored = json!({"user_id": user_id, "current": "c", "rotated_at": 1_500, "began_at": 250});
        let family: TokenFamily = serde_json::from_value(stored.clone()).unwrap();
        assert_eq!(family.rotated_at, NOW + TimeDelta::milliseconds(1_500));
        assert_eq!(family.signed_in_at, NOW + TimeDelta::milliseconds(250));
        assert_eq!(serde_json::to_value(&family).unwrap(), stored);
    }
}
