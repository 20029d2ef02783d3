//! The keys that sign people's tokens, and how one takes over from another without anybody noticing.
//!
//! There is always a key more than is needed: it is published long before it signs, so that everybody who verifies
//! tokens knows it already when it takes over, API Gateway too, which reads keys every two hours. A key goes when the
//! last token that it signed has ended.

use anyhow::{Result, bail};
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

/// When a key takes over if nobody sees to it before.
const ROTATION_PERIOD: TimeDelta = TimeDelta::days(90);

/// For so long after another key has taken over, something signed by the one before may be around: functions learn of a
/// change within five minutes, a token lasts fifteen, and clocks differ.
const RETENTION: TimeDelta = TimeDelta::minutes(30);

/// What the secret `ecommerce/user-signing-keys` holds.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct SigningKeys {
    keys: Vec<SigningKey>,
}

/// A key with its place in time.
#[derive(Serialize, Deserialize)]
pub struct SigningKey {
    kid: String,
    /// The private half: RSA, PKCS #8, PEM.
    pub private_key_pem: String,
    signs_from: DateTime<Utc>,
    /// Since when it is published.
    made_at: DateTime<Utc>,
}

/// A key that was just made.
pub struct NewKey {
    /// The key's number.
    pub kid: String,
    /// The private half: RSA, PKCS #8, PEM.
    pub private_key_pem: String,
}

/// What came of a rotation.
#[derive(Debug, PartialEq, Eq)]
pub struct Rotation {
    /// The key that takes over.
    pub next: String,
    /// From when on.
    pub signs_from: DateTime<Utc>,
    /// The keys that are gone.
    pub removed: Vec<String>,
}

impl SigningKeys {
    /// The first two keys of a system: one signs, the other waits.
    pub fn initial(now: DateTime<Utc>, [one, other]: [NewKey; 2]) -> Self {
        Self {
            keys: vec![
                one.into_signing_key(now, now),
                other.into_signing_key(now, now + ROTATION_PERIOD),
            ],
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The key that signs: the newest whose time has come.
    pub fn active_key(&self, now: DateTime<Utc>) -> Option<&SigningKey> {
        let here = self.keys.iter().filter(|key| key.signs_from <= now);
        here.max_by_key(|key| key.signs_from)
    }

    /// Lets the key that waits take over as soon as it has been published for `overlap`, has `made` wait in its place, and
    /// removes those of which no token can be around.
    ///
    /// # Errors
    /// When a key is about to take over already.
    pub fn rotate(&mut self, now: DateTime<Utc>, overlap: TimeDelta, made: NewKey) -> Result<Rotation> {
        let waiting = self.keys.iter_mut().filter(|key| key.signs_from > now);
        let (next, from) = match waiting.min_by_key(|key| key.signs_from) {
            Some(next) if next.signs_from <= now + overlap => {
                bail!("{} takes over already, at {}", next.kid, next.signs_from);
            }
            Some(next) => {
                next.signs_from = now.max(next.made_at + overlap);
                let taken = (next.kid.clone(), next.signs_from);
                self.keys
                    .push(made.into_signing_key(now, now + ROTATION_PERIOD.max(overlap)));
                taken
            }
            // None waits: the new one does, for as long as it must.
            None => {
                let from = now + overlap;
                let kid = made.kid.clone();
                self.keys.push(made.into_signing_key(now, from));
                (kid, from)
            }
        };
        Ok(Rotation {
            next,
            signs_from: from,
            removed: self.remove_retired(now),
        })
    }

    /// Removes the keys before the one that has signed for long enough.
    fn remove_retired(&mut self, now: DateTime<Utc>) -> Vec<String> {
        let Some(since) = self.active_key(now - RETENTION).map(|key| key.signs_from) else {
            return Vec::new();
        };
        let (kept, gone) = self.keys.drain(..).partition(|key| key.signs_from >= since);
        self.keys = kept;
        let gone: Vec<SigningKey> = gone;
        gone.into_iter().map(|key| key.kid).collect()
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
    /// Without what is secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} from {}", self.kid, self.signs_from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OVERLAP: TimeDelta = TimeDelta::hours(3);

    fn key(kid: &str) -> NewKey {
        NewKey {
            kid: kid.to_owned(),
            private_key_pem: "secret".to_owned(),
        }
    }

    fn at(minutes: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::minutes(minutes)
    }

    fn signing(keys: &SigningKeys, minutes: i64) -> &str {
        &keys.active_key(at(minutes)).unwrap().kid
    }

    fn kids(keys: &SigningKeys) -> Vec<&str> {
        keys.keys.iter().map(|key| key.kid.as_str()).collect()
    }

    const DAY: i64 = 24 * 60;

    #[test]
    fn the_key_that_waits_takes_over_at_once_and_the_old_one_stays_until_its_tokens_have_ended() {
        let mut keys = SigningKeys::initial(at(0), [key("a"), key("b")]);
        assert_eq!(signing(&keys, 0), "a");
        assert_eq!(
            signing(&keys, 90 * DAY),
            "b",
            "by itself, should nobody see to it"
        );

        let done = keys.rotate(at(DAY), OVERLAP, key("c")).unwrap();
        assert_eq!((done.next.as_str(), done.signs_from), ("b", at(DAY)));
        assert!(done.removed.is_empty(), "a has signed a moment ago");
        assert_eq!((signing(&keys, DAY - 1), signing(&keys, DAY)), ("a", "b"));

        let done = keys.rotate(at(2 * DAY), OVERLAP, key("d")).unwrap();
        assert_eq!((done.next.as_str(), done.removed), ("c", vec!["a".to_owned()]));
        assert_eq!(kids(&keys), ["b", "c", "d"]);
    }

    /// Whoever verifies may have read the keys just before the new one was published.
    #[test]
    fn no_key_signs_before_everybody_knows_it() {
        let mut keys = SigningKeys::initial(at(0), [key("a"), key("b")]);
        keys.rotate(at(DAY), OVERLAP, key("c")).unwrap();
        let done = keys.rotate(at(DAY + 10), OVERLAP, key("d")).unwrap();
        assert_eq!((done.next.as_str(), done.signs_from), ("c", at(DAY + 180)));
        assert_eq!(signing(&keys, DAY + 179), "b");
        let refused = keys.rotate(at(DAY + 20), OVERLAP, key("e")).unwrap_err();
        assert!(
            refused.to_string().starts_with("c takes over already"),
            "{refused}"
        );
        assert_eq!(kids(&keys), ["a", "b", "c", "d"]);
    }

    #[test]
    fn a_key_goes_half_an_hour_after_another_has_taken_over() {
        for (minutes, removed) in [(29, 0), (30, 1)] {
            let mut keys = SigningKeys::initial(at(0), [key("a"), key("b")]);
            keys.rotate(at(DAY), TimeDelta::zero(), key("c")).unwrap();
            let done = keys
                .rotate(at(DAY + minutes), TimeDelta::zero(), key("d"))
                .unwrap();
            assert_eq!(done.removed.len(), removed, "after {minutes} minutes");
        }
    }

    #[test]
    fn where_no_key_waits_the_new_one_does() {
        let mut keys = SigningKeys {
            keys: vec![key("a").into_signing_key(at(0), at(0))],
        };
        let done = keys.rotate(at(DAY), OVERLAP, key("b")).unwrap();
        assert_eq!((done.next.as_str(), done.signs_from), ("b", at(DAY + 180)));
        assert_eq!((signing(&keys, DAY + 179), signing(&keys, DAY + 180)), ("a", "b"));
    }

    #[test]
    fn debug_shows_no_key() {
        let keys = SigningKeys::initial(at(0), [key("a"), key("b")]);
        assert!(!format!("{keys:?}").contains("secret"));
    }
}
