//! Opaque cursors: where a page of a list ended, in a form that only the same list takes back.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

/// How many bytes of the digest a cursor carries. It catches mistakes; it is no secret and guards nothing,
/// because a cursor opens only what its bearer may read anyway.
const DIGEST_BYTES: usize = 8;

/// Text that is not a cursor of this list.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor of this list")]
pub struct InvalidCursor;

/// A cursor to `position` in `list`, which is everything that tells this list from others: its kind, its
/// filter, its owner.
pub fn encode(list: &impl Serialize, position: &impl Serialize) -> String {
    let position = to_json(position);
    let mut cursor = digest(list, &position).to_vec();
    cursor.extend(position);
    BASE64_URL_SAFE_NO_PAD.encode(cursor)
}

/// The position in `list` that `cursor` was made of.
pub fn decode<P: DeserializeOwned>(list: &impl Serialize, cursor: &str) -> Result<P, InvalidCursor> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(cursor).map_err(|_| InvalidCursor)?;
    let (claimed, position) = bytes.split_at_checked(DIGEST_BYTES).ok_or(InvalidCursor)?;
    if claimed != digest(list, position) {
        return Err(InvalidCursor);
    }
    serde_json::from_slice(position).map_err(|_| InvalidCursor)
}

fn digest(list: &impl Serialize, position: &[u8]) -> [u8; DIGEST_BYTES] {
    let whole = Sha256::new()
        .chain_update(to_json(list))
        .chain_update(position)
        .finalize();
    std::array::from_fn(|i| whole[i])
}

fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("what a list is told by has string keys and finite numbers only")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_opens_its_own_list_only() {
        let cursor = encode(&("orders", 1), &42);
        assert_eq!(decode(&("orders", 1), &cursor), Ok(42));
        assert_eq!(decode::<i32>(&("orders", 2), &cursor), Err(InvalidCursor));
    }

    #[test]
    fn no_character_of_it_can_be_changed() {
        let cursor = encode(&"list", &"a position");
        for at in 0..cursor.len() {
            let other = if &cursor[at..=at] == "A" { "B" } else { "A" };
            let tampered = format!("{}{other}{}", &cursor[..at], &cursor[at + 1..]);
            assert_eq!(
                decode::<String>(&"list", &tampered),
                Err(InvalidCursor),
                "{tampered}"
            );
        }
        for odd in ["", "A", "!", "AAAA", &cursor[1..]] {
            assert_eq!(decode::<String>(&"list", odd), Err(InvalidCursor), "{odd}");
        }
    }
}
