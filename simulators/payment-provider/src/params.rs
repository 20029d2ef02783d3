//! Form-encoded parameters. Each method removes the parameters that it reads; unread ones are rejected at the
//! end.

use std::{borrow::Cow, collections::BTreeMap};

use reqwest::Url;

use crate::{api_error::ApiError, resources::Metadata, test_payment_methods::Behaviour};

/// The parameters of a request: the query of a GET request, otherwise the body. The last value of a repeated
/// key counts, as with Stripe.
#[derive(Clone, Debug, Default)]
pub struct Params(BTreeMap<String, String>);

impl Params {
    /// Parses `application/x-www-form-urlencoded` bytes.
    #[must_use]
    pub fn parse(encoded: &[u8]) -> Self {
        Self(form_urlencoded::parse(encoded).into_owned().collect())
    }

    /// Returns the parameters in sorted order, so that equal requests have equal fingerprints.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        form_urlencoded::Serializer::new(String::new())
            .extend_pairs(&self.0)
            .finish()
    }

    /// Reads a string. Fails when it is empty or blank.
    pub fn optional_string(&mut self, name: &'static str) -> Result<Option<String>, ApiError> {
        match self.0.remove(name) {
            Some(value) if value.trim().is_empty() => Err(ApiError::invalid_param(
                name,
                "parameter_invalid_empty",
                format!("You passed an empty string for '{name}'."),
            )),
            value => Ok(value),
        }
    }

    /// Reads a required, non-empty string.
    pub fn required_string(&mut self, name: &'static str) -> Result<String, ApiError> {
        self.optional_string(name)?.ok_or_else(|| {
            ApiError::invalid_param(
                name,
                "parameter_missing",
                format!("Missing required param: {name}."),
            )
        })
    }

    /// Reads an integer.
    pub fn optional_integer(&mut self, name: &'static str) -> Result<Option<i64>, ApiError> {
        let parse = |text: String| {
            text.parse().map_err(|_| {
                ApiError::invalid_param(
                    name,
                    "parameter_invalid_integer",
                    format!("Invalid integer: '{name}'."),
                )
            })
        };
        self.optional_string(name)?.map(parse).transpose()
    }

    /// Reads `true` or `false`. The default is `false`.
    pub fn boolean(&mut self, name: &'static str) -> Result<bool, ApiError> {
        match self.optional_string(name)?.as_deref() {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(ApiError::invalid_param(
                name,
                "parameter_invalid_boolean",
                format!("Invalid boolean: '{name}'."),
            )),
        }
    }

    /// Reads an absolute http or https URL.
    pub fn url(&mut self, name: &'static str) -> Result<Option<String>, ApiError> {
        let is_valid =
            |text: &str| Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
        match self.optional_string(name)? {
            Some(text) if !is_valid(&text) => {
                Err(ApiError::invalid_param(name, "url_invalid", "Not a valid URL"))
            }
            url => Ok(url),
        }
    }

    /// Reads the name of a payment method. Fails when the method does not exist.
    pub fn payment_method(&mut self) -> Result<Option<String>, ApiError> {
        match self.optional_string("payment_method")? {
            Some(method) if Behaviour::for_payment_method(&method).is_none() => Err(
                ApiError::resource_missing("PaymentMethod", "payment_method", &method),
            ),
            method => Ok(method),
        }
    }

    /// Reads a list (`name[]`, or `name[0]`, `name[1]`, …).
    pub fn take_list(&mut self, name: &'static str) -> Vec<String> {
        self.take_entries(name).into_values().collect()
    }

    /// Reads the metadata within Stripe's limits: 50 entries, names of 40 and values of 500 characters.
    pub fn metadata(&mut self) -> Result<Metadata, ApiError> {
        let metadata = self.take_entries("metadata");
        let fits = |(name, value): (&String, &String)| {
            (1..=40).contains(&name.chars().count()) && value.chars().count() <= 500
        };
        if metadata.len() > 50 || !metadata.iter().all(fits) {
            return Err(ApiError::invalid_param(
                "metadata",
                "parameter_invalid_metadata",
                "Metadata can have at most 50 entries, with names of 40 and values of 500 characters.",
            ));
        }
        Ok(metadata)
    }

    /// Fails when a parameter was not read, because it is unknown.
    pub fn reject_unknown(self) -> Result<(), ApiError> {
        match self.0.into_keys().next() {
            None => Ok(()),
            Some(name) => {
                let name: String = name.chars().take(100).collect();
                let message = format!("Received unknown parameter: {name}");
                Err(ApiError::invalid_param(
                    Cow::Owned(name),
                    "parameter_unknown",
                    message,
                ))
            }
        }
    }

    /// Removes all parameters `name[key]=value` and returns them as key and value.
    fn take_entries(&mut self, name: &str) -> BTreeMap<String, String> {
        let mut entries = BTreeMap::new();
        self.0.retain(|key, value| {
            let inner = key
                .strip_prefix(name)
                .and_then(|rest| rest.strip_prefix('[')?.strip_suffix(']'));
            if let Some(inner) = inner {
                entries.insert(inner.to_owned(), std::mem::take(value));
            }
            inner.is_none()
        });
        entries
    }
}
