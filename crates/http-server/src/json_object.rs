//! Deserialises structs from JSON objects only.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};

/// A value that was sent as a JSON object. Without this wrapper, serde also accepts an array for a struct and
/// reads its fields by position.
#[derive(Clone, Copy, Debug)]
pub struct JsonObject<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for JsonObject<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }

        deserializer.deserialize_map(ObjectVisitor(PhantomData)).map(Self)
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
    fn rejects_arrays_and_scalars_for_a_struct() {
        let parse =
            |text| serde_json::from_str::<JsonObject<Patch>>(text).map(|JsonObject(patch)| patch.name);
        assert_eq!(parse(r#"{"name": "x"}"#).unwrap().as_deref(), Some("x"));
        assert_eq!(parse("{}").unwrap(), None);
        for invalid in ["[]", r#"["x"]"#, "null", "1", r#"{"role": "admin"}"#] {
            assert!(parse(invalid).is_err(), "{invalid}");
        }
        assert!(
            serde_json::from_str::<Patch>(r#"["x"]"#).is_ok(),
            "serde accepts an array without JsonObject"
        );
    }
}
