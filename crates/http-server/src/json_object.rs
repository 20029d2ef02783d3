//! JSON objects, and nothing that might be taken for one.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};

/// A value that was sent as an object. By itself serde takes a list for a struct as well, member by member.
#[derive(Clone, Copy, Debug)]
pub struct JsonObject<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for JsonObject<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(members))
            }
        }

        deserializer.deserialize_map(Members(PhantomData)).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Patch {
        #[serde(default)]
        name: Option<String>,
    }

    #[test]
    fn a_list_is_no_object() {
        let read = |text| serde_json::from_str::<JsonObject<Patch>>(text).map(|JsonObject(patch)| patch.name);
        assert_eq!(read(r#"{"name": "x"}"#).unwrap().as_deref(), Some("x"));
        assert_eq!(read("{}").unwrap(), None);
        for odd in ["[]", r#"["x"]"#, "null", "1", r#"{"role": "admin"}"#] {
            assert!(read(odd).is_err(), "{odd}");
        }
        assert!(
            serde_json::from_str::<Patch>(r#"["x"]"#).is_ok(),
            "which serde takes by itself"
        );
    }
}
