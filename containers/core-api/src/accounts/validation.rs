//! Validated account data. Deserialisation rejects invalid values, and the error names the field.

use domain::{QuietHours, text::is_single_line};
use http_server::JsonObject;
use phonenumber::{Mode, metadata::DATABASE};
use serde::{Deserialize, Deserializer, Serialize};
use users::{AddressDetails, DisplayName, Language, Preferences};
use utoipa::ToSchema;

use crate::catalog::{InvalidText, validated_string};

validated_string!(
    /// A line of a postal address.
    #[schema(value_type = String, min_length = 1, max_length = 100)]
    AddressLine,
    "1 to 100 characters on one line",
    |text| is_single_line(text, 100)
);

validated_string!(
    /// A country code (ISO 3166-1 alpha-2).
    #[schema(value_type = String, pattern = "^[A-Z]{2}$", example = "JP")]
    Country,
    "a country of ISO 3166-1 in two capital letters",
    |text| text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_uppercase())
);

validated_string!(
    /// A postal code in the format of the country.
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

validated_string!(
    /// The number of a mobile telephone in the format E.164: a plus, the country code and the number, without
    /// blanks. Numbers that can belong to a landline only, or that cost the caller more, are refused.
    #[schema(value_type = String, pattern = r"^\+[1-9][0-9]{6,14}$", example = "+819012345678")]
    MobileNumber,
    "the number of a mobile telephone with its country code and without blanks, such as +819012345678",
    is_mobile_number
);

fn is_mobile_number(text: &str) -> bool {
    use phonenumber::Type::{FixedLineOrMobile, Mobile};
    phonenumber::parse(None, text).is_ok_and(|number| {
        number.is_valid()
            && matches!(number.number_type(&DATABASE), Mobile | FixedLineOrMobile)
            // The parser also accepts other spellings of the number.
            && number.format().mode(Mode::E164).to_string() == text
    })
}

validated_string!(
    /// A code that was sent by SMS.
    #[schema(value_type = String, pattern = "^[0-9]{6}$", example = "271828")]
    VerificationCode,
    "6 digits",
    |text| text.len() == 6 && text.bytes().all(|byte| byte.is_ascii_digit())
);

/// A new or replaced postal address.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewAddress, example = json!({
    "recipient": "山田花子", "country": "JP", "postal_code": "150-0001", "region": "東京都", "city": "渋谷区",
    "line1": "神宮前1-2-3", "line2": "まつり荘 301", "phone": "+81 3-1234-5678",
}))]
pub struct AddressRequest {
    /// The name of the recipient.
    recipient: AddressLine,
    /// The country code (ISO 3166-1 alpha-2).
    country: Country,
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
    /// The telephone number for the carrier.
    #[serde(default)]
    phone: Option<Phone>,
}

impl From<AddressRequest> for AddressDetails {
    fn from(request: AddressRequest) -> Self {
        Self {
            recipient: request.recipient.as_str().to_owned(),
            country: request.country.as_str().to_owned(),
            postal_code: request.postal_code.as_str().to_owned(),
            region: request.region.as_str().to_owned(),
            city: request.city.as_str().to_owned(),
            line1: request.line1.as_str().to_owned(),
            line2: request.line2.map(|line| line.as_str().to_owned()),
            phone: request.phone.map(|phone| phone.as_str().to_owned()),
        }
    }
}

/// The language of mails.
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

/// Notification preferences.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[schema(as = Preferences)]
pub struct PreferencesResponse {
    /// Whether to send mails about orders. The receipt of a completed (paid) order is always sent, because
    /// the law requires it. A change applies to orders placed after it.
    order_mails: bool,
    /// Whether to send SMS about the end of orders to the account's telephone number. A change applies to
    /// orders placed after it.
    order_sms: bool,
    /// When SMS about orders wait; null if they are sent at any time. A change applies to orders placed after
    /// it.
    #[schema(required, value_type = Option<QuietHoursSchema>)]
    quiet_hours: Option<QuietHours>,
    /// The language of order mails and SMS. A change applies to orders placed after it.
    language: MailLanguage,
}

/// Hours of the day in which SMS about orders wait. At most 12 hours, which may contain midnight.
#[derive(ToSchema)]
#[schema(as = QuietHours)]
#[expect(
    dead_code,
    reason = "the OpenAPI schema of domain::QuietHours, whose crate does not depend on utoipa"
)]
pub struct QuietHoursSchema {
    /// When they start, as `HH:MM`.
    #[schema(pattern = "^([01][0-9]|2[0-3]):[0-5][0-9]$", example = "22:00")]
    start: String,
    /// When they end, as `HH:MM`.
    #[schema(pattern = "^([01][0-9]|2[0-3]):[0-5][0-9]$", example = "08:00")]
    end: String,
    /// The name of the time zone in the IANA database.
    #[schema(example = "Asia/Tokyo")]
    time_zone: String,
}

impl From<Preferences> for PreferencesResponse {
    fn from(preferences: Preferences) -> Self {
        Self {
            order_mails: preferences.order_mails,
            order_sms: preferences.order_sms,
            quiet_hours: preferences.quiet_hours,
            language: preferences.language.into(),
        }
    }
}

/// A change of the caller's account. Omitted fields stay as they are. A preference that is null is reset to
/// its default. Other fields are rejected.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "花子", "preferences": {"language": "ja"}}))]
pub struct ProfilePatch {
    /// The display name. It cannot be null.
    #[serde(default, deserialize_with = "deserialize_some")]
    #[schema(value_type = Option<String>, nullable = false, min_length = 1, max_length = 100)]
    name: Option<DisplayName>,
    /// Notification preferences.
    #[serde(default, deserialize_with = "deserialize_some")]
    #[schema(value_type = Option<PreferencesPatch>)]
    preferences: Option<Option<JsonObject<PreferencesPatch>>>,
}

/// A change of the notification preferences.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PreferencesPatch {
    /// Whether to send mails about orders. The receipt of a completed (paid) order is always sent, because
    /// the law requires it. A change applies to orders placed after it.
    #[serde(default, deserialize_with = "deserialize_some")]
    #[schema(value_type = Option<bool>)]
    order_mails: Option<Option<bool>>,
    /// Whether to send SMS about the end of orders. Needs a telephone number, see `PUT /v1/me/phone`. A
    /// change applies to orders placed after it.
    #[serde(default, deserialize_with = "deserialize_some")]
    #[schema(value_type = Option<bool>)]
    order_sms: Option<Option<bool>>,
    /// When SMS about orders wait. Replaces the present hours, so send all members. A change applies to
    /// orders placed after it.
    #[serde(default, deserialize_with = "deserialize_some")]
    #[schema(value_type = Option<QuietHoursSchema>)]
    quiet_hours: Option<Option<JsonObject<QuietHours>>>,
    /// The language of order mails and SMS. A change applies to orders placed after it.
    #[serde(default, deserialize_with = "deserialize_some")]
    #[schema(value_type = Option<MailLanguage>)]
    language: Option<Option<MailLanguage>>,
}

impl ProfilePatch {
    /// The name and the preferences after the change.
    #[must_use]
    pub fn apply_to(self, name: &str, preferences: Preferences) -> (String, Preferences) {
        let name = self.name.map_or(name.to_owned(), |name| name.as_str().to_owned());
        let defaults = Preferences::default();
        let preferences = match self.preferences {
            None => preferences,
            Some(None) => defaults,
            Some(Some(JsonObject(patch))) => Preferences {
                order_mails: patch.order_mails.map_or(preferences.order_mails, |value| {
                    value.unwrap_or(defaults.order_mails)
                }),
                order_sms: patch
                    .order_sms
                    .map_or(preferences.order_sms, |value| value.unwrap_or(defaults.order_sms)),
                quiet_hours: patch.quiet_hours.map_or(preferences.quiet_hours, |value| {
                    value.map(|JsonObject(quiet_hours)| quiet_hours)
                }),
                language: patch.language.map_or(preferences.language, |value| {
                    value.map_or(defaults.language, Language::from)
                }),
            },
        };
        (name, preferences)
    }

    /// The names of the fields in the patch, for the audit log.
    #[must_use]
    pub fn changed_fields(&self) -> Vec<&'static str> {
        let fields = [
            ("name", self.name.is_some()),
            ("preferences", self.preferences.is_some()),
        ];
        fields
            .into_iter()
            .filter_map(|(field, is_present)| is_present.then_some(field))
            .collect()
    }
}

/// Distinguishes null (`Some(None)`) from an omitted field (`None`, by `serde(default)`).
fn deserialize_some<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patch_changes_only_the_given_fields() {
        let preferences = Preferences {
            order_mails: false,
            order_sms: true,
            quiet_hours: Some(QuietHours::new("22:00", "08:00", "Asia/Tokyo").unwrap()),
            language: Language::Ja,
        };
        let patched = |patch: &str| {
            serde_json::from_str::<ProfilePatch>(patch)
                .unwrap()
                .apply_to("Hanako", preferences)
        };
        let preferences_with = |order_mails, language| Preferences {
            order_mails,
            language,
            ..preferences
        };
        let hanako = |preferences| ("Hanako".to_owned(), preferences);
        assert_eq!(patched("{}"), hanako(preferences));
        assert_eq!(patched(r#"{"name": "花子"}"#), ("花子".to_owned(), preferences));
        assert_eq!(
            patched(r#"{"preferences": {"language": "en"}}"#),
            hanako(preferences_with(false, Language::En))
        );
        assert_eq!(
            patched(r#"{"preferences": {"order_mails": null}}"#),
            hanako(preferences_with(true, Language::Ja))
        );
        assert_eq!(
            patched(r#"{"preferences": {"order_sms": null, "quiet_hours": null}}"#),
            hanako(Preferences {
                order_sms: false,
                quiet_hours: None,
                ..preferences
            })
        );
        assert_eq!(
            patched(r#"{"preferences": null}"#),
            hanako(Preferences::default())
        );
    }

    #[test]
    fn accepts_mobile_numbers_in_e164_only() {
        let is_valid = |text: &str| MobileNumber::try_from(text.to_owned()).is_ok();
        for valid in [
            "+819012345678",
            "+817012345678",
            "+447911123456",
            "+12025550123",
            "+8613812345678",
        ] {
            assert!(is_valid(valid), "{valid}");
        }
        for invalid in [
            "",
            "+",
            "090-1234-5678",
            "09012345678",
            "819012345678",
            "+8109012345678",
            "+81 90-1234-5678",
            "+819012345678 ",
            "+819012345678;ext=5",
            "tel:+819012345678",
            "＋819012345678",
            "+８１９０１２３４５６７８",
            "+81901234567",
            "+8190123456789",
            "+999123456789",
            "+81312345678",
            "+81120123456",
            "+81990123456",
            "+19002345678",
            "+815012345678",
            "+819012345678,+819012345679",
            "arn:aws:sns:ap-northeast-1:000000000000:order-notifications",
        ] {
            assert!(!is_valid(invalid), "{invalid}");
        }
    }

    #[test]
    fn validates_address_fields() {
        let is_valid = |text: &str| Phone::try_from(text.to_owned()).is_ok();
        assert!(is_valid("+81 3-1234-5678") && is_valid("110") && is_valid("0(3)1234"));
        assert!(
            !is_valid("+") && !is_valid("call me") && !is_valid("+81\n110") && !is_valid(&"1".repeat(31))
        );
        let is_valid = |text: &str| AddressLine::try_from(text.to_owned()).is_ok();
        assert!(is_valid("神宮前1-2-3") && is_valid(&"あ".repeat(100)));
        assert!(
            !is_valid("")
                && !is_valid("  ")
                && !is_valid("a\nb")
                && !is_valid("a\u{2028}b")
                && !is_valid(&"あ".repeat(101))
        );
        let is_valid = |text: &str| PostalCode::try_from(text.to_owned()).is_ok();
        assert!(is_valid("150-0001") && is_valid("SW1A 1AA"));
        assert!(!is_valid("") && !is_valid(" ") && !is_valid("〒150") && !is_valid("12345678901234567"));
        let is_valid = |text: &str| Country::try_from(text.to_owned()).is_ok();
        assert!(is_valid("JP") && !is_valid("jp") && !is_valid("JPN") && !is_valid("日"));
    }
}
