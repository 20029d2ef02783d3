//! `cargo xtask mail`: writes every mail with sample data to files, or shows the mails that the local system
//! has sent.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::environment::Addresses;
use crate::instance::{self, Instance};
use crate::progress::{BOLD, DIM};
use crate::supervisor::InstanceLock;
use crate::{MailArgs, cargo, http, signals};

/// The executable that prints the mails.
const PREVIEWS: &str = "mail-previews";

/// The number of sent mails that are shown.
const MAX_SENT_MAILS: usize = 20;

/// # Errors
/// When the mails cannot be rendered or written, or the system whose mails are requested is not running.
pub fn run(arguments: &MailArgs) -> Result<ExitCode> {
    signals::restore_default_sigpipe()?;
    if arguments.sent {
        show_sent(arguments.json)?;
    } else {
        write_previews(arguments.json)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A mail as the executable prints it.
#[derive(Deserialize)]
struct Preview {
    name: String,
    subject: String,
    text: String,
    html: String,
}

/// The files of a mail.
#[derive(Serialize)]
struct PreviewFiles {
    name: String,
    subject: String,
    html: String,
    text: String,
}

fn write_previews(json: bool) -> Result<()> {
    let output = Command::new(cargo::build_executable(PREVIEWS)?)
        .output()
        .with_context(|| format!("cannot run {PREVIEWS}"))?;
    if !output.status.success() {
        bail!(
            "{PREVIEWS} failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    let previews: Vec<Preview> = serde_json::from_slice(&output.stdout)?;
    let directory = instance::local_dir().join("mail");
    // Files of mails that no longer exist would look current.
    if directory.exists() {
        fs::remove_dir_all(&directory)?;
    }
    fs::create_dir_all(&directory)?;
    let files: Vec<PreviewFiles> = previews
        .into_iter()
        .map(|preview| write_files(&directory, preview))
        .collect::<Result<_>>()?;
    if json {
        println!("{}", serde_json::to_string_pretty(&files)?);
        return Ok(());
    }
    for file in files {
        anstream::println!("{BOLD}{}{BOLD:#}", file.subject);
        anstream::println!("  {}\n  {DIM}{}{DIM:#}", file.html, file.text);
    }
    Ok(())
}

fn write_files(directory: &Path, preview: Preview) -> Result<PreviewFiles> {
    let write = |extension: &str, content: &str| {
        let path = directory.join(format!("{}.{extension}", preview.name));
        fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
        anyhow::Ok(path.display().to_string())
    };
    Ok(PreviewFiles {
        html: write("html", &preview.html)?,
        text: write("txt", &preview.text)?,
        name: preview.name,
        subject: preview.subject,
    })
}

/// A mail in the inspection API of the local AWS.
#[derive(Serialize, Deserialize)]
#[serde(rename_all(deserialize = "PascalCase"))]
struct SentMail {
    to: Vec<String>,
    subject: String,
    #[serde(rename(deserialize = "BodyText"))]
    text: String,
}

fn show_sent(json: bool) -> Result<()> {
    let mails = last_sent(&inspect_local_aws("ses/messages")?)?;
    if json {
        println!("{}", serde_json::to_string_pretty(&mails)?);
        return Ok(());
    }
    for mail in mails {
        anstream::println!(
            "{BOLD}{}{BOLD:#} {DIM}{}{DIM:#}",
            mail.subject,
            mail.to.join(", ")
        );
        println!("{}\n", indent(&mail.text));
    }
    Ok(())
}

/// Reads `path` of the inspection API of the local AWS.
///
/// # Errors
/// When the system is not running.
pub fn inspect_local_aws(path: &str) -> Result<Value> {
    let instance = Instance::from_env();
    if InstanceLock::holder(&instance).is_none() {
        bail!("the system is not running; `cargo xtask up` starts it");
    }
    let addresses = Addresses::from_last_run(&instance);
    http::get_json(
        &format!("{}/_ministack/{path}", addresses.aws_endpoint_url()),
        None,
    )
}

/// The last mails in a response of the inspection API, oldest first.
fn last_sent(response: &Value) -> Result<Vec<SentMail>> {
    let accounts = response["messages"]
        .as_object()
        .context("the local AWS reports no mails by account")?;
    let mut mails = Vec::new();
    for account in accounts.values() {
        mails.extend(Vec::<SentMail>::deserialize(account)?);
    }
    Ok(mails.split_off(mails.len().saturating_sub(MAX_SENT_MAILS)))
}

fn indent(text: &str) -> String {
    let lines = text.lines().map(|line| format!("  {line}"));
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn last_sent_keeps_the_newest_mails() {
        let mails: Vec<Value> = (0..MAX_SENT_MAILS + 2)
            .map(|number| {
                json!({"To": ["hanako@example.com"], "Subject": number.to_string(), "BodyText": "text"})
            })
            .collect();
        let sent = last_sent(&json!({"messages": {"000000000000": mails}})).unwrap();
        assert_eq!(sent.len(), MAX_SENT_MAILS);
        assert_eq!(sent[0].subject, "2");
        assert_eq!(
            serde_json::to_value(&sent[0]).unwrap()["to"],
            json!(["hanako@example.com"])
        );
        assert!(last_sent(&json!({})).is_err());
    }

    #[test]
    fn files_have_the_name_of_the_mail() {
        let directory = std::env::temp_dir().join(format!("xtask-mail-{}", uuid::Uuid::new_v4()));
        fs::create_dir(&directory).unwrap();
        let preview = Preview {
            name: "order-completed.ja".to_owned(),
            subject: "ご注文".to_owned(),
            text: "text".to_owned(),
            html: "<p>".to_owned(),
        };
        let files = write_files(&directory, preview).unwrap();
        assert!(files.html.ends_with("/order-completed.ja.html"), "{}", files.html);
        assert_eq!(fs::read_to_string(&files.html).unwrap(), "<p>");
        assert_eq!(fs::read_to_string(&files.text).unwrap(), "text");
        fs::remove_dir_all(directory).unwrap();
    }
}
