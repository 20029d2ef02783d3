//! The product and its snapshot for events.

use domain::{Currency, ProductId, TaxRate, Timestamp};
use events::product::{ProductSnapshot, Translation};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::validation::{Category, Description, ImageUrl, Name, Price, Translations};

/// A product in the catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Product {
    pub id: ProductId,
    pub details: ProductDetails,
    /// Starts at 1 and increases by one with every change.
    pub version: i64,
    /// The time at which the product was added to the catalog.
    pub created_at: Timestamp,
    /// The time of the last change.
    pub updated_at: Timestamp,
}

/// The details of a product, which administrators maintain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewProduct, example = json!({
    "name": "Iron kettle, 1.2 l",
    "description": "Cast in one piece, for stove and charcoal.",
    "translations": {"ja": {"name": "鉄瓶 1.2L", "description": "コンロにも炭火にも使える一体鋳造の鉄瓶です。"}},
    "price": 16800,
    "tax_rate": "standard",
    "category": "tea-ware",
    "image_url": "https://images.example/iron-kettle.jpg",
}))]
pub struct ProductDetails {
    /// The English name.
    pub name: Name,
    /// The English description.
    pub description: Description,
    /// The texts in other languages, keyed by BCP 47 tag; at most 10.
    #[serde(default)]
    pub translations: Translations,
    /// The unit price in minor units of the currency (JPY), tax included.
    pub price: Price,
    /// The rate of the consumption tax that the price includes.
    #[serde(default)]
    #[schema(value_type = TaxRateSchema, default = "standard")]
    pub tax_rate: TaxRate,
    /// The slug of the category.
    pub category: Category,
    /// The URL of the product image.
    #[serde(default)]
    pub image_url: Option<ImageUrl>,
}

/// The rate of a product's consumption tax: `standard` is 10 percent, `reduced` is 8 percent.
#[derive(ToSchema)]
#[schema(as = TaxRate, rename_all = "snake_case")]
pub enum TaxRateSchema {
    Standard,
    Reduced,
}

impl Product {
    /// The currency of the price.
    #[must_use]
    pub fn currency(&self) -> Currency {
        self.details.price.money().currency()
    }

    /// The product as published in events.
    #[must_use]
    pub fn snapshot(&self) -> ProductSnapshot {
        let ProductDetails {
            name,
            description,
            translations,
            price,
            // No consumer of the events computes tax.
            tax_rate: _,
            category,
            image_url,
        } = &self.details;
        ProductSnapshot {
            product_id: self.id,
            version: self.version,
            name: name.as_str().to_owned(),
            description: description.as_str().to_owned(),
            translations: translations
                .iter()
                .map(|(language, texts)| {
                    let texts = Translation {
                        name: texts.name.as_str().to_owned(),
                        description: texts.description.as_str().to_owned(),
                    };
                    (language.as_str().to_owned(), texts)
                })
                .collect(),
            price: price.money().amount(),
            currency: price.money().currency(),
            category: category.as_str().to_owned(),
            image_url: image_url.as_ref().map(|url| url.as_str().to_owned()),
        }
    }
}
