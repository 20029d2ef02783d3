//! Validated product data. Deserialisation rejects invalid values, and the error names the field.

use std::collections::BTreeMap;

use domain::{Currency, Money, text::is_single_line};
use serde::{Deserialize, Serialize};
use url::Url;
use utoipa::ToSchema;

/// An invalid text. The message states the expected format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {0}")]
pub struct InvalidText(pub(crate) &'static str);

/// Defines a string type with a validation rule, in words and in code. Values from the database are not
/// validated again, because only validated values are written to it.
macro_rules! validated_string {
    ($(#[$meta:meta])* $name:ident, $rule:literal, $is_valid:expr) => {
        #[derive(
            Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema, sqlx::Type,
        )]
        $(#[$meta])*
        #[serde(try_from = "String")]
        #[sqlx(transparent)]
        pub struct $name(String);

        impl $name {
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidText;

            fn try_from(text: String) -> Result<Self, InvalidText> {
                let is_valid: fn(&str) -> bool = $is_valid;
                if is_valid(&text) { Ok(Self(text)) } else { Err(InvalidText($rule)) }
            }
        }
    };
}

pub(crate) use validated_string;

validated_string!(
    /// The name of a product.
    #[schema(as = ProductName, value_type = String, min_length = 1, max_length = 200,
             pattern = r"^[^\u0000-\u001F\u007F-\u009F\u2028\u2029]*$")]
    Name,
    "1 to 200 characters on one line",
    |text| is_single_line(text, 200)
);

validated_string!(
    /// The description of a product. It may have several lines.
    #[schema(as = ProductDescription, value_type = String, max_length = 4000,
             pattern = r"^[^\u0000-\u0009\u000B-\u001F\u007F-\u009F]*$")]
    Description,
    "at most 4000 characters, and no control characters but line feeds",
    |text| text.chars().count() <= 4000 && !text.contains(|c: char| c.is_control() && c != '\n')
);

validated_string!(
    /// The slug of a category.
    #[schema(as = CategorySlug, value_type = String, pattern = r"^[a-z0-9-]{1,40}$", example = "tea")]
    Category,
    "a slug of 1 to 40 lower-case letters, digits and hyphens",
    |text| (1..=40).contains(&text.len())
        && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
);

validated_string!(
    /// The URL of a product image.
    #[schema(value_type = String, format = "uri", max_length = 2048, pattern = r"^https://")]
    ImageUrl,
    "an https URL of at most 2048 characters, without a password",
    |text| {
        // The parser tolerates spaces and control characters, but the clients that load the image may not.
        text.len() <= 2048
            && text.bytes().all(|byte| byte.is_ascii_graphic())
            && Url::parse(text).is_ok_and(|url| {
                url.scheme() == "https" && url.username().is_empty() && url.password().is_none()
            })
    }
);

validated_string!(
    /// A BCP 47 language tag, for example `ja` or `pt-BR`.
    #[schema(value_type = String, pattern = r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}$")]
    Language,
    "a BCP 47 language tag such as ja or pt-BR",
    |text| {
        let mut subtags = text.split('-');
        let language = subtags.next().expect("a split has at least one part");
        (2..=3).contains(&language.len())
            && language.bytes().all(|byte| byte.is_ascii_lowercase())
            && text.matches('-').count() <= 3
            && subtags.all(|tag| {
                (2..=8).contains(&tag.len()) && tag.bytes().all(|byte| byte.is_ascii_alphanumeric())
            })
    }
);

/// The texts of a product in another language.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Translation {
    pub name: Name,
    pub description: Description,
}

/// The texts of a product in languages other than English, keyed by BCP 47 tag; at most 10.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "BTreeMap<Language, Translation>")]
pub struct Translations(BTreeMap<Language, Translation>);

impl Translations {
    /// The maximum number of languages besides English.
    pub const MAX: usize = 10;

    pub fn iter(&self) -> impl Iterator<Item = (&Language, &Translation)> {
        self.0.iter()
    }
}

impl TryFrom<BTreeMap<Language, Translation>> for Translations {
    type Error = InvalidText;

    fn try_from(texts: BTreeMap<Language, Translation>) -> Result<Self, InvalidText> {
        if texts.len() <= Self::MAX {
            Ok(Self(texts))
        } else {
            Err(InvalidText("at most 10 languages"))
        }
    }
}

/// A unit price in minor units of the currency (JPY). A product that costs more than the largest charge could
/// never be sold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "i64", into = "i64")]
#[schema(value_type = i64, minimum = 0, maximum = 99_999_999, example = 7500)]
pub struct Price(Money);

/// The amount is negative or exceeds [`Money::MAX_CHARGE`].
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a price is at least 0 and at most {} minor units", Money::MAX_CHARGE)]
pub struct InvalidPrice;

impl Price {
    #[must_use]
    pub fn money(self) -> Money {
        self.0
    }
}

impl TryFrom<i64> for Price {
    type Error = InvalidPrice;

    /// All prices are in yen.
    fn try_from(amount: i64) -> Result<Self, InvalidPrice> {
        match Money::new(amount, Currency::JPY) {
            Ok(money) if amount <= Money::MAX_CHARGE => Ok(Self(money)),
            _ => Err(InvalidPrice),
        }
    }
}

impl From<Price> for i64 {
    fn from(price: Price) -> Self {
        price.0.amount()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rejected<T: TryFrom<String>>(texts: &[&str]) -> Vec<String> {
        texts
            .iter()
            .filter(|text| T::try_from((**text).to_owned()).is_err())
            .map(|s| (*s).to_owned())
            .collect()
    }

    #[test]
    fn validates_product_fields() {
        let long = "あ".repeat(201);
        assert_eq!(
            rejected::<Name>(&["Tea bowl", "茶碗", "", "two\nlines", "nul\0", &long, &long[3..]]),
            ["", "two\nlines", "nul\0", &long]
        );
        let long = "x".repeat(4001);
        assert_eq!(
            rejected::<Description>(&["", "two\nlines", "bell\u{7}", &long, &long[1..]]),
            ["bell\u{7}", &long]
        );
        assert_eq!(
            rejected::<Category>(&["tea-ware", "Tea", "", "tea ware", &"a".repeat(41)]),
            ["Tea", "", "tea ware", &"a".repeat(41)]
        );
        assert_eq!(
            rejected::<ImageUrl>(&[
                "https://images.example/a.jpg",
                "http://images.example/a.jpg",
                "https://user:secret@images.example/a.jpg",
                "https://",
                "https://images.example/\ta.jpg",
                "javascript:alert(1)",
            ])
            .len(),
            5
        );
        assert_eq!(
            rejected::<Language>(&["ja", "pt-BR", "zh-Hant-TW", "J", "ja-", "ja_JP", "english"]),
            ["J", "ja-", "ja_JP", "english"]
        );
    }

    #[test]
    fn price_is_an_amount_that_can_be_charged() {
        assert_eq!(Price::try_from(-1), Err(InvalidPrice));
        assert_eq!(Price::try_from(Money::MAX_CHARGE + 1), Err(InvalidPrice));
        assert_eq!(
            i64::from(Price::try_from(Money::MAX_CHARGE).unwrap()),
            Money::MAX_CHARGE
        );
        assert_eq!(i64::from(Price::try_from(7500).unwrap()), 7500);
    }
}
