//! Catalog events.

use std::collections::BTreeMap;

use domain::{Currency, ProductId};
use serde::{Deserialize, Serialize};

use crate::EventData;

/// A product's texts in a language other than English.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Translation {
    pub name: String,
    pub description: String,
}

/// The state of a product after a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProductSnapshot {
    pub product_id: ProductId,
    /// Increases by one with each change, so consumers keep the snapshot with the higher version.
    pub version: i64,
    /// The name in English.
    pub name: String,
    /// The description in English.
    pub description: String,
    /// Texts in other languages, keyed by BCP 47 tag.
    pub translations: BTreeMap<String, Translation>,
    /// The price of one unit, in minor units of `currency`.
    pub price: i64,
    pub currency: Currency,
    /// The category's slug.
    pub category: String,
    pub image_url: Option<String>,
}

/// A product was added to the catalog.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProductCreated(pub ProductSnapshot);

impl EventData for ProductCreated {
    const SOURCE: &'static str = "core-api.products";
    const DETAIL_TYPE: &'static str = "ProductCreated";
}

/// A product changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProductUpdated(pub ProductSnapshot);

impl EventData for ProductUpdated {
    const SOURCE: &'static str = "core-api.products";
    const DETAIL_TYPE: &'static str = "ProductUpdated";
}

/// A product was deleted from the catalog. Existing orders keep its name and price.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProductDeleted {
    pub product_id: ProductId,
    /// The version that the deletion created.
    pub version: i64,
}

impl EventData for ProductDeleted {
    const SOURCE: &'static str = "core-api.products";
    const DETAIL_TYPE: &'static str = "ProductDeleted";
}
