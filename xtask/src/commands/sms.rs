//! `cargo xtask sms`: shows the SMS that the local system has sent.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::mail::inspect_local_aws;
use crate::progress::{BOLD, DIM};
use crate::{SmsArgs, signals};

/// # Errors
/// When the system is not running.
pub fn run(arguments: &SmsArgs) -> Result<ExitCode> {
    signals::restore_default_sigpipe()?;
    let sent = sent_sms(&inspect_local_aws("sns/sms-messages")?)?;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&sent)?);
        return Ok(ExitCode::SUCCESS);
    }
    for sms in sent {
        anstream::println!("{BOLD}{}{BOLD:#} {DIM}{}{DIM:#}", sms.to, sms.message_id);
        println!("  {}\n", sms.text);
    }
    Ok(ExitCode::SUCCESS)
}

/// An SMS in the inspection API of the local AWS.
#[derive(Serialize, Deserialize)]
struct SentSms {
    #[serde(rename(deserialize = "PhoneNumber"))]
    to: String,
    #[serde(rename(deserialize = "Message"))]
    text: String,
    #[serde(rename(deserialize = "MessageId"))]
    message_id: String,
}

/// The SMS in a response of the inspection API, by number, those to the same number oldest first. The API
/// keeps no times.
fn sent_sms(response: &Value) -> Result<Vec<SentSms>> {
    let by_number = BTreeMap::<String, Vec<SentSms>>::deserialize(&response["sms_messages"])
        .context("the local AWS reports no SMS by number")?;
    Ok(by_number.into_values().flatten().collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sent_sms_are_grouped_by_number() {
        let sms = |to: &str, text: &str| json!({"PhoneNumber": to, "Message": text, "MessageId": "id"});
        let response = json!({"sms_messages": {
            "+819012345679": [sms("+819012345679", "third")],
            "+819012345678": [sms("+819012345678", "first"), sms("+819012345678", "second")],
        }});
        let texts: Vec<String> = sent_sms(&response)
            .unwrap()
            .into_iter()
            .map(|sms| sms.text)
            .collect();
        assert_eq!(texts, ["first", "second", "third"]);
        let shown = serde_json::to_value(&sent_sms(&response).unwrap()[0]).unwrap();
        assert_eq!(
            shown,
            json!({"to": "+819012345678", "text": "first", "message_id": "id"})
        );
        assert!(sent_sms(&json!({})).is_err());
    }
}
