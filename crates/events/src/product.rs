//! What happens to the catalogue.

use std::collections::BTreeMap;

use domain::{Currency, ProductId};
use serde::{Deserialize, Serialize};

use crate::EventData;

/// A product's texts in another language than English.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Translation {
    /// The name.
    pub name: String,
    /// The description.
    pub description: String,
}

/// A product as it stands after a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProductSnapshot {
    /// The product.
    pub product_id: ProductId,
    /// Its version, one more with every change: the newer of two snapshots is the one with the higher.
    pub version: i64,
    /// The English name.
    pub name: String,
    /// The English description.
    pub description: String,
    /// The texts in other languages, by BCP 47 tag.
    pub translations: BTreeMap<String, Translation>,
    /// The price of one piece in minor units.
    pub price: i64,
    /// What the price is in.
    pub currency: Currency,
    /// The category's slug.
    pub category: String,
    /// Where its picture is.
    pub image_url: Option<String>,
}

/// A product came into the catalogue.
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

/// A product left the catalogue. Orders that name it keep its name and price.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProductDeleted {
    /// The product.
    pub product_id: ProductId,
    /// The version that the deletion made.
    pub version: i64,
}

impl EventData for ProductDeleted {
    const SOURCE: &'static str = "core-api.products";
    const DETAIL_TYPE: &'static str = "ProductDeleted";
}
