//! A product, and what is told of it when it changes.

use domain::{Currency, ProductId, Timestamp};
use events::product::{ProductSnapshot, Translation};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::validation::{Category, Description, ImageUrl, Name, Price, Translations};

/// A product of the catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Product {
    /// Which.
    pub id: ProductId,
    /// What an administrator says of it.
    pub details: ProductDetails,
    /// One more with every change.
    pub version: i64,
    /// When it came into the catalogue.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// What an administrator says of a product.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewProduct, example = json!({
    "name": "Iron kettle, 1.2 l",
    "description": "Cast in one piece, for stove and charcoal.",
    "translations": {"ja": {"name": "鉄瓶 1.2L", "description": "コンロにも炭火にも使える一体鋳造の鉄瓶です。"}},
    "price": 16800,
    "category": "tea-ware",
    "image_url": "https://images.example/iron-kettle.jpg",
}))]
pub struct ProductDetails {
    /// The English name.
    pub name: Name,
    /// The English description.
    pub description: Description,
    /// The texts in other languages, by BCP 47 tag; at most ten.
    #[serde(default)]
    pub translations: Translations,
    /// What one piece costs, in minor units of the shop's currency.
    pub price: Price,
    /// The slug of its category.
    pub category: Category,
    /// Where its picture is.
    #[serde(default)]
    pub image_url: Option<ImageUrl>,
}

impl Product {
    /// What its price is in.
    #[must_use]
    pub fn currency(&self) -> Currency {
        self.details.price.0.currency()
    }

    /// The product as events tell of it.
    #[must_use]
    pub fn snapshot(&self) -> ProductSnapshot {
        let ProductDetails {
            name,
            description,
            translations,
            price,
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
            price: price.0.amount(),
            currency: price.0.currency(),
            category: category.as_str().to_owned(),
            image_url: image_url.as_ref().map(|url| url.as_str().to_owned()),
        }
    }
}
