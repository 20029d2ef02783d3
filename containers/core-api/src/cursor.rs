//! Opaque pagination cursors: the position at which a page ended, bound to the list that it belongs to.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

/// The length of the digest in a cursor. It detects mistakes of clients and is not a security measure: a
/// cursor gives access only to data that the caller may read anyway.
const DIGEST_BYTES: usize = 8;

/// The text is not a cursor of this list.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid cursor")]
pub struct InvalidCursor;

/// Encodes `position` in `list` as a cursor. `list` is everything that identifies the list: its kind, filter
/// and owner.
pub fn encode(list: &impl Serialize, position: &impl Serialize) -> String {
    let position = to_json(position);
    let mut cursor = digest(list, &position).to_vec();
    cursor.extend(position);
    BASE64_URL_SAFE_NO_PAD.encode(cursor)
}

/// Decodes the position from a cursor that [`encode`] made for the same `list`.
pub fn decode<P: DeserializeOwned>(list: &impl Serialize, cursor: &str) -> Result<P, InvalidCursor> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(cursor).map_err(|_| InvalidCursor)?;
    let (expected, position) = bytes.split_at_checked(DIGEST_BYTES).ok_or(InvalidCursor)?;
    if expected != digest(list, position) {
        return Err(InvalidCursor);
    }
    serde_json::from_slice(position).map_err(|_| InvalidCursor)
}

fn digest(list: &impl Serialize, position: &[u8]) -> [u8; DIGEST_BYTES] {
    let digest = Sha256::new()
        .chain_update(to_json(list))
        .chain_update(position)
        .finalize();
    std::array::from_fn(|i| digest[i])
}

fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("lists and positions have string keys and finite numbers only")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursor_is_valid_only_for_its_list() {
        let cursor = encode(&("orders", 1), &42);
        assert_eq!(decode(&("orders", 1), &cursor), Ok(42));
        assert_eq!(decode::<i32>(&("orders", 2), &cursor), Err(InvalidCursor));
    }

    #[test]
    fn rejects_tampered_and_malformed_cursors() {
        let cursor = encode(&"list", &"a position");
        for index in 0..cursor.len() {
            let replacement = if &cursor[index..=index] == "A" { "B" } else { "A" };
            let tampered = format!("{}{replacement}{}", &cursor[..index], &cursor[index + 1..]);
            assert_eq!(
                decode::<String>(&"list", &tampered),
                Err(InvalidCursor),
                "{tampered}"
            );
        }
        for malformed in ["", "A", "!", "AAAA", &cursor[1..]] {
            assert_eq!(
                decode::<String>(&"list", malformed),
                Err(InvalidCursor),
                "{malformed}"
            );
        }
    }
}
