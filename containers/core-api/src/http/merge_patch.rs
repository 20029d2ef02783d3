//! JSON merge patches (RFC 7396) of products.

use http_server::{Json, Problem};
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{Object, ObjectBuilder, RefOr, Schema, Type, schema::SchemaType},
};

use crate::catalog::{Language, ProductDetails, Translation};

/// What is to change of a product's details: any of them, with null for what is to go.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub struct ProductPatch(Map<String, Value>);

impl ProductPatch {
    /// The details as they are after the change. They are held to the same rules as those of a new product.
    pub fn apply_to(self, details: &ProductDetails) -> Result<ProductDetails, Problem> {
        let mut changed = serde_json::to_value(details).expect("details have string keys and integers only");
        json_patch::merge(&mut changed, &Value::Object(self.0));
        Json::from_bytes(changed.to_string().as_bytes()).map(|Json(details)| details)
    }
}

impl PartialSchema for ProductPatch {
    /// That of a new product, with nothing required of it, and languages that may change in part or go.
    fn schema() -> RefOr<Schema> {
        let mut patch = partial(ProductDetails::schema());
        patch.description = Some("What is to change of a product; null removes.".to_owned());
        patch.example = None;
        let mut texts = partial(Translation::schema());
        texts.schema_type = SchemaType::from_iter([Type::Object, Type::Null]);
        let languages = ObjectBuilder::new()
            .property_names(Some(Schema::Object(partial(Language::schema()))))
            .additional_properties(Some(Schema::Object(texts)))
            .build();
        patch
            .properties
            .insert("translations".to_owned(), languages.into());
        patch.into()
    }
}

/// The schema of an object with nothing required of it.
fn partial(schema: RefOr<Schema>) -> Object {
    let RefOr::T(Schema::Object(mut object)) = schema else {
        return Object::new();
    };
    object.required.clear();
    object
}

impl ToSchema for ProductPatch {}
