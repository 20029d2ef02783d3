//! The signing keys of user tokens, and their rotation without an interruption for users.
//!
//! There is always one key more than the active one: it is published long before it signs, so that every
//! verifier has fetched it when it becomes active. That includes API Gateway, which fetches the JWKS every
//! two hours. A key is removed when the last token that it signed has expired.

use anyhow::{Result, bail};
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

/// When the next key becomes active if no operator rotates the keys before.
const ROTATION_PERIOD: TimeDelta = TimeDelta::days(90);

/// How long the previous key stays published after another key has become active, because valid tokens of it
/// may exist: functions cache the keys for five minutes, a token is valid for fifteen, and clocks differ.
const RETENTION: TimeDelta = TimeDelta::minutes(30);

/// The content of the secret `ecommerce/user-signing-keys`.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct SigningKeys {
    keys: Vec<SigningKey>,
}

/// A key and the time from which it signs.
#[derive(Serialize, Deserialize)]
pub struct SigningKey {
    kid: String,
    /// The private half: RSA, PKCS #8, PEM.
    pub private_key_pem: String,
    signs_from: DateTime<Utc>,
    /// The time from which the key is published.
    made_at: DateTime<Utc>,
}

/// A key that was just generated and is not scheduled yet.
pub struct NewKey {
    /// The key id.
    pub kid: String,
    /// The private half: RSA, PKCS #8, PEM.
    pub private_key_pem: String,
}

/// The result of a rotation.
#[derive(Debug, PartialEq, Eq)]
pub struct Rotation {
    /// The id of the key that becomes active next.
    pub next: String,
    /// The time at which it becomes active.
    pub signs_from: DateTime<Utc>,
    /// The ids of the keys that were removed.
    pub removed: Vec<String>,
}

impl SigningKeys {
    /// The first two keys of a system: the first one is active, the second one is the next.
    pub fn initial(now: DateTime<Utc>, [first, second]: [NewKey; 2]) -> Self {
        Self {
            keys: vec![
                first.into_signing_key(now, now),
                second.into_signing_key(now, now + ROTATION_PERIOD),
            ],
        }
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The key that signs: the one with the latest start that is not in the future.
    pub fn active_key(&self, now: DateTime<Utc>) -> Option<&SigningKey> {
        let started = self.keys.iter().filter(|key| key.signs_from <= now);
        started.max_by_key(|key| key.signs_from)
    }

    /// Schedules the next key to become active as soon as it has been published for `overlap`, adds `new_key`
    /// as the key after it, and removes the keys whose tokens have all expired.
    ///
    /// # Errors
    /// When a key is scheduled to become active within `overlap` already.
    pub fn rotate(&mut self, now: DateTime<Utc>, overlap: TimeDelta, new_key: NewKey) -> Result<Rotation> {
        let future_keys = self.keys.iter_mut().filter(|key| key.signs_from > now);
        let (next, signs_from) = match future_keys.min_by_key(|key| key.signs_from) {
            Some(next) if next.signs_from <= now + overlap => {
                bail!(
                    "a rotation is already in progress: {} becomes active at {}",
                    next.kid,
                    next.signs_from
                );
            }
            Some(next) => {
                next.signs_from = now.max(next.made_at + overlap);
                let scheduled = (next.kid.clone(), next.signs_from);
                self.keys
                    .push(new_key.into_signing_key(now, now + ROTATION_PERIOD.max(overlap)));
                scheduled
            }
            // There is no next key, so the new key becomes the next one after the full overlap.
            None => {
                let signs_from = now + overlap;
                let kid = new_key.kid.clone();
                self.keys.push(new_key.into_signing_key(now, signs_from));
                (kid, signs_from)
            }
        };
        Ok(Rotation {
            next,
            signs_from,
            removed: self.remove_retired(now),
        })
    }

    /// Removes the keys before the one that has been active for [`RETENTION`].
    fn remove_retired(&mut self, now: DateTime<Utc>) -> Vec<String> {
        let Some(retained_from) = self.active_key(now - RETENTION).map(|key| key.signs_from) else {
            return Vec::new();
        };
        let (retained, removed): (Vec<SigningKey>, Vec<SigningKey>) = self
            .keys
            .drain(..)
            .partition(|key| key.signs_from >= retained_from);
        self.keys = retained;
        removed.into_iter().map(|key| key.kid).collect()
    }
}

impl NewKey {
    fn into_signing_key(self, made_at: DateTime<Utc>, signs_from: DateTime<Utc>) -> SigningKey {
        SigningKey {
            kid: self.kid,
            private_key_pem: self.private_key_pem,
            signs_from,
            made_at,
        }
    }
}

impl std::fmt::Debug for SigningKey {
    /// Omits the private key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} from {}", self.kid, self.signs_from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OVERLAP: TimeDelta = TimeDelta::hours(3);

    fn new_key(kid: &str) -> NewKey {
        NewKey {
            kid: kid.to_owned(),
            private_key_pem: "secret".to_owned(),
        }
    }

    fn at(minutes: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::minutes(minutes)
    }

    fn active_kid(keys: &SigningKeys, minutes: i64) -> &str {
        &keys.active_key(at(minutes)).unwrap().kid
    }

    fn kids(keys: &SigningKeys) -> Vec<&str> {
        keys.keys.iter().map(|key| key.kid.as_str()).collect()
    }

    const DAY: i64 = 24 * 60;

    #[test]
    fn rotation_activates_the_next_key_at_once_and_retains_the_previous_one() {
        let mut keys = SigningKeys::initial(at(0), [new_key("a"), new_key("b")]);
        assert_eq!(active_kid(&keys, 0), "a");
        assert_eq!(
            active_kid(&keys, 90 * DAY),
            "b",
            "the next key becomes active even if no operator rotates the keys"
        );

        let rotation = keys.rotate(at(DAY), OVERLAP, new_key("c")).unwrap();
        assert_eq!((rotation.next.as_str(), rotation.signs_from), ("b", at(DAY)));
        assert!(rotation.removed.is_empty(), "a was active a moment ago");
        assert_eq!((active_kid(&keys, DAY - 1), active_kid(&keys, DAY)), ("a", "b"));

        let rotation = keys.rotate(at(2 * DAY), OVERLAP, new_key("d")).unwrap();
        assert_eq!(
            (rotation.next.as_str(), rotation.removed),
            ("c", vec!["a".to_owned()])
        );
        assert_eq!(kids(&keys), ["b", "c", "d"]);
    }

    /// A verifier may have fetched the JWKS just before the new key was published.
    #[test]
    fn a_key_signs_only_after_it_was_published_for_the_overlap() {
        let mut keys = SigningKeys::initial(at(0), [new_key("a"), new_key("b")]);
        keys.rotate(at(DAY), OVERLAP, new_key("c")).unwrap();
        let rotation = keys.rotate(at(DAY + 10), OVERLAP, new_key("d")).unwrap();
        assert_eq!(
            (rotation.next.as_str(), rotation.signs_from),
            ("c", at(DAY + 180))
        );
        assert_eq!(active_kid(&keys, DAY + 179), "b");
        let error = keys.rotate(at(DAY + 20), OVERLAP, new_key("e")).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("already in progress: c becomes active"),
            "{error}"
        );
        assert_eq!(kids(&keys), ["a", "b", "c", "d"]);
    }

    #[test]
    fn rotation_removes_a_key_half_an_hour_after_its_successor_became_active() {
        for (minutes, removed) in [(29, 0), (30, 1)] {
            let mut keys = SigningKeys::initial(at(0), [new_key("a"), new_key("b")]);
            keys.rotate(at(DAY), TimeDelta::zero(), new_key("c")).unwrap();
            let rotation = keys
                .rotate(at(DAY + minutes), TimeDelta::zero(), new_key("d"))
                .unwrap();
            assert_eq!(rotation.removed.len(), removed, "after {minutes} minutes");
        }
    }

    #[test]
    fn rotation_without_a_next_key_schedules_the_new_key() {
        let mut keys = SigningKeys {
            keys: vec![new_key("a").into_signing_key(at(0), at(0))],
        };
        let rotation = keys.rotate(at(DAY), OVERLAP, new_key("b")).unwrap();
        assert_eq!(
            (rotation.next.as_str(), rotation.signs_from),
            ("b", at(DAY + 180))
        );
        assert_eq!(
            (active_kid(&keys, DAY + 179), active_kid(&keys, DAY + 180)),
            ("a", "b")
        );
    }

    #[test]
    fn debug_omits_private_keys() {
        let keys = SigningKeys::initial(at(0), [new_key("a"), new_key("b")]);
        assert!(!format!("{keys:?}").contains("secret"));
    }
}
