//! The JSON merge patch (RFC 7396) of a product.

use http_server::{Json, Problem};
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{Object, ObjectBuilder, RefOr, Schema, Type, schema::SchemaType},
};

use crate::catalog::{Language, ProductDetails, Translation};

/// The changes to a product's details. Omitted fields stay as they are, and null removes a field.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub struct ProductPatch(Map<String, Value>);

impl ProductPatch {
    /// Applies the patch. The result must satisfy the same rules as a new product.
    pub fn apply_to(self, details: &ProductDetails) -> Result<ProductDetails, Problem> {
        let mut changed =
            serde_json::to_value(details).expect("product details have string keys and no floats");
        json_patch::merge(&mut changed, &Value::Object(self.0));
        Json::from_bytes(changed.to_string().as_bytes()).map(|Json(details)| details)
    }
}

impl PartialSchema for ProductPatch {
    /// The schema of a new product without required fields, in which each translation may be changed partly
    /// or be null.
    fn schema() -> RefOr<Schema> {
        let mut patch = without_required(ProductDetails::schema());
        patch.description = Some(
            "The changes to a product. Omitted fields stay as they are; null removes a field.".to_owned(),
        );
        patch.example = None;
        let mut translation = without_required(Translation::schema());
        translation.schema_type = SchemaType::from_iter([Type::Object, Type::Null]);
        let translations = ObjectBuilder::new()
            .property_names(Some(Schema::Object(without_required(Language::schema()))))
            .additional_properties(Some(Schema::Object(translation)))
            .build();
        patch
            .properties
            .insert("translations".to_owned(), translations.into());
        patch.into()
    }
}

/// The object schema without required fields.
fn without_required(schema: RefOr<Schema>) -> Object {
    let RefOr::T(Schema::Object(mut object)) = schema else {
        unreachable!("the schemas of a product, a translation and a language are inline objects");
    };
    object.required.clear();
    object
}

impl ToSchema for ProductPatch {}
