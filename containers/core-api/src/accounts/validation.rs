//! What people may say of themselves. A value that exists is valid: serde refuses the rest and tells where it stood.

use http_server::JsonObject;
use serde::{Deserialize, Deserializer, Serialize};
use users::{AddressDetails, DisplayName, Language, Preferences};
use utoipa::ToSchema;

use crate::catalog::{InvalidText, validated_string};

/// Text on one line that is not only blanks.
fn is_single_line(text: &str, longest: usize) -> bool {
    (1..=longest).contains(&text.chars().count())
        && !text.contains(|c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}'))
        && !text.trim().is_empty()
}

validated_string!(
    /// A line of an address.
    #[schema(value_type = String, min_length = 1, max_length = 100)]
    AddressLine,
    "1 to 100 characters on one line",
    |text| is_single_line(text, 100)
);

validated_string!(
    /// A country.
    #[schema(value_type = String, pattern = "^[A-Z]{2}$", example = "JP")]
    Country,
    "a country of ISO 3166-1 in two capital letters",
    |text| text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_uppercase())
);

validated_string!(
    /// A postal code, in the country's own form.
    #[schema(value_type = String, pattern = "^[A-Za-z0-9 -]{1,16}$", example = "150-0001")]
    PostalCode,
    "1 to 16 letters, digits, blanks and hyphens",
    |text| is_single_line(text, 16)
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b' ' | b'-'))
);

validated_string!(
    /// A telephone number.
    #[schema(value_type = String, pattern = r"^\+?[0-9][0-9 ()-]{2,29}$", example = "+81 3-1234-5678")]
    Phone,
    "a telephone number of 3 to 30 digits, blanks, hyphens and brackets, after a plus or not",
    |text| {
        let number = text.strip_prefix('+').unwrap_or(text);
        (3..=30).contains(&number.len())
            && number.starts_with(|c: char| c.is_ascii_digit())
            && number.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b' ' | b'-' | b'(' | b')'))
    }
);

/// An address as somebody gives it.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewAddress, example = json!({
    "recipient": "山田花子", "country": "JP", "postal_code": "150-0001", "region": "東京都", "city": "渋谷区",
    "line1": "神宮前1-2-3", "line2": "まつり荘 301", "phone": "+81 3-1234-5678",
}))]
pub struct AddressRequest {
    /// To whom.
    recipient: AddressLine,
    /// Which country.
    country: Country,
    /// The postal code.
    postal_code: PostalCode,
    /// Prefecture, state or province.
    region: AddressLine,
    /// City or town.
    city: AddressLine,
    /// Street and number.
    line1: AddressLine,
    /// Building and floor.
    #[serde(default)]
    line2: Option<AddressLine>,
    /// Whom the carrier calls.
    #[serde(default)]
    phone: Option<Phone>,
}

impl From<AddressRequest> for AddressDetails {
    fn from(asked: AddressRequest) -> Self {
        Self {
            recipient: asked.recipient.as_str().to_owned(),
            country: asked.country.as_str().to_owned(),
            postal_code: asked.postal_code.as_str().to_owned(),
            region: asked.region.as_str().to_owned(),
            city: asked.city.as_str().to_owned(),
            line1: asked.line1.as_str().to_owned(),
            line2: asked.line2.map(|line| line.as_str().to_owned()),
            phone: asked.phone.map(|phone| phone.as_str().to_owned()),
        }
    }
}

/// In what language somebody is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MailLanguage {
    /// English.
    En,
    /// Japanese.
    Ja,
}

impl From<Language> for MailLanguage {
    fn from(language: Language) -> Self {
        match language {
            Language::En => Self::En,
            Language::Ja => Self::Ja,
        }
    }
}

impl From<MailLanguage> for Language {
    fn from(language: MailLanguage) -> Self {
        match language {
            MailLanguage::En => Self::En,
            MailLanguage::Ja => Self::Ja,
        }
    }
}

/// How somebody wants to be written to.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[schema(as = Preferences)]
pub struct PreferencesResponse {
    /// Whether mail about orders is sent.
    order_mails: bool,
    /// In what language.
    language: MailLanguage,
}

impl From<Preferences> for PreferencesResponse {
    fn from(preferences: Preferences) -> Self {
        Self {
            order_mails: preferences.order_mails,
            language: preferences.language.into(),
        }
    }
}

/// What is to change of an account. What is not named stays, and a preference given as null is as at first.
/// Everything else that an account has is not its owner's to say, and refused.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "花子", "preferences": {"language": "ja"}}))]
pub struct ProfilePatch {
    /// How they want to be called. It cannot be removed.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, nullable = false, min_length = 1, max_length = 100)]
    name: Option<DisplayName>,
    /// How they want to be written to.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<PreferencesPatch>)]
    preferences: Option<Option<JsonObject<PreferencesPatch>>>,
}

/// What is to change of somebody's preferences.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PreferencesPatch {
    /// Whether mail about orders is sent.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<bool>)]
    order_mails: Option<Option<bool>>,
    /// In what language.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<MailLanguage>)]
    language: Option<Option<MailLanguage>>,
}

impl ProfilePatch {
    /// The name and the preferences as they are after the change.
    #[must_use]
    pub fn apply_to(self, name: &str, preferences: Preferences) -> (String, Preferences) {
        let name = self.name.map_or(name.to_owned(), |name| name.as_str().to_owned());
        let first = Preferences::default();
        let preferences = match self.preferences {
            None => preferences,
            Some(None) => first,
            Some(Some(JsonObject(patch))) => Preferences {
                order_mails: patch.order_mails.map_or(preferences.order_mails, |given| {
                    given.unwrap_or(first.order_mails)
                }),
                language: patch.language.map_or(preferences.language, |given| {
                    given.map_or(first.language, Language::from)
                }),
            },
        };
        (name, preferences)
    }

    /// What it names, for the audit log.
    #[must_use]
    pub fn changed_fields(&self) -> Vec<&'static str> {
        let named = [
            ("name", self.name.is_some()),
            ("preferences", self.preferences.is_some()),
        ];
        named
            .into_iter()
            .filter_map(|(member, given)| given.then_some(member))
            .collect()
    }
}

/// Tells what is given as null from what is not given.
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_changes_what_it_names_and_nothing_else() {
        let preferences = Preferences {
            order_mails: false,
            language: Language::Ja,
        };
        let patched = |patch: &str| {
            serde_json::from_str::<ProfilePatch>(patch)
                .unwrap()
                .apply_to("Hanako", preferences)
        };
        let with = |order_mails, language| Preferences {
            order_mails,
            language,
        };
        let hanako = |preferences| ("Hanako".to_owned(), preferences);
        assert_eq!(patched("{}"), hanako(preferences));
        assert_eq!(patched(r#"{"name": "花子"}"#), ("花子".to_owned(), preferences));
        assert_eq!(
            patched(r#"{"preferences": {"language": "en"}}"#),
            hanako(with(false, Language::En))
        );
        assert_eq!(
            patched(r#"{"preferences": {"order_mails": null}}"#),
            hanako(with(true, Language::Ja))
        );
        assert_eq!(
            patched(r#"{"preferences": null}"#),
            hanako(with(true, Language::En))
        );
    }

    #[test]
    fn each_text_keeps_to_its_rule() {
        let fits = |text: &str| Phone::try_from(text.to_owned()).is_ok();
        assert!(fits("+81 3-1234-5678") && fits("110") && fits("0(3)1234"));
        assert!(!fits("+") && !fits("call me") && !fits("+81\n110") && !fits(&"1".repeat(31)));
        let fits = |text: &str| AddressLine::try_from(text.to_owned()).is_ok();
        assert!(fits("神宮前1-2-3") && fits(&"あ".repeat(100)));
        assert!(!fits("") && !fits("  ") && !fits("a\nb") && !fits("a\u{2028}b") && !fits(&"あ".repeat(101)));
        let fits = |text: &str| PostalCode::try_from(text.to_owned()).is_ok();
        assert!(fits("150-0001") && fits("SW1A 1AA"));
        assert!(!fits("") && !fits(" ") && !fits("〒150") && !fits("12345678901234567"));
        let fits = |text: &str| Country::try_from(text.to_owned()).is_ok();
        assert!(fits("JP") && !fits("jp") && !fits("JPN") && !fits("日"));
    }
}
