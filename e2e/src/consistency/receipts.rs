//! Reads the bucket of receipts. A receipt never changes, so each version is downloaded once.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_s3::{Client, types::ObjectVersion};
use domain::OrderId;
use lopdf::Document;
use tokio::sync::Mutex;

use super::{CollectError, ReceiptContent, StoredReceipt, collector::aws_error};

const BUCKET: &str = "ecommerce-receipts";

#[derive(Debug)]
pub(super) struct ReceiptReader {
    s3: Client,
    /// What was read before, by the version's id.
    known: Mutex<HashMap<String, Option<ReceiptContent>>>,
}

impl ReceiptReader {
    pub(super) fn new(s3: Client) -> Self {
        Self {
            s3,
            known: Mutex::default(),
        }
    }

    pub(super) async fn read_all(&self) -> Result<Vec<StoredReceipt>, CollectError> {
        let mut by_key: BTreeMap<String, Vec<ObjectVersion>> = BTreeMap::new();
        for version in self.versions().await? {
            let key = version.key().unwrap_or_default().to_owned();
            by_key.entry(key).or_default().push(version);
        }
        let mut known = self.known.lock().await;
        let mut receipts = Vec::with_capacity(by_key.len());
        for (key, versions) in by_key {
            let newest = versions.iter().find(|version| version.is_latest() == Some(true));
            let content = match newest.and_then(ObjectVersion::version_id) {
                // The newest version is a mark of deletion.
                None => None,
                Some(id) => match known.get(id) {
                    Some(content) => *content,
                    None => *known
                        .entry(id.to_owned())
                        .or_insert(self.content(&key, id).await?),
                },
            };
            receipts.push(StoredReceipt {
                order_id: key.strip_suffix(".pdf").and_then(|id| id.parse().ok()),
                key,
                versions: versions.len(),
                content,
            });
        }
        Ok(receipts)
    }

    async fn versions(&self) -> Result<Vec<ObjectVersion>, CollectError> {
        let mut all = Vec::new();
        let (mut key_marker, mut version_marker) = (None, None);
        loop {
            let page = self
                .s3
                .list_object_versions()
                .bucket(BUCKET)
                .set_key_marker(key_marker)
                .set_version_id_marker(version_marker)
                .send()
                .await
                .map_err(aws_error)?;
            all.extend(page.versions.unwrap_or_default());
            if page.is_truncated != Some(true) {
                return Ok(all);
            }
            (key_marker, version_marker) = (page.next_key_marker, page.next_version_id_marker);
        }
    }

    async fn content(&self, key: &str, version: &str) -> Result<Option<ReceiptContent>, CollectError> {
        let get = self.s3.get_object().bucket(BUCKET).key(key).version_id(version);
        let object = get.send().await.map_err(aws_error)?;
        let pdf = object.body.collect().await.map_err(aws_error)?.into_bytes();
        Ok(parse(&pdf))
    }
}

/// Reads the number, the total and the tax from a receipt.
fn parse(pdf: &[u8]) -> Option<ReceiptContent> {
    let document = Document::load_mem(pdf).ok()?;
    let pages: Vec<u32> = document.get_pages().into_keys().collect();
    let text = document.extract_text(&pages).ok()?;
    find_content(&text.lines().map(str::trim).collect::<Vec<_>>())
}

/// `texts` are those that the PDF draws, in order.
fn find_content(texts: &[&str]) -> Option<ReceiptContent> {
    let position = |label: &str| texts.iter().position(|text| *text == label);
    // The number is aligned to the right margin, so it is drawn before its label.
    let number = texts.get(position("領収書番号")?.checked_sub(1)?)?;
    let sum = position("合計")?;
    let (total, tax) = (amount(texts.get(sum + 1)?)?, amount(texts.get(sum + 2)?)?);
    let paid = amount(texts.get(position("領収金額（税込）")? + 1)?)?;
    (paid == total).then_some(ReceiptContent {
        number: number.parse::<OrderId>().ok()?,
        total,
        tax,
    })
}

/// Parses an amount such as `¥12,159`.
fn amount(text: &str) -> Option<i64> {
    text.strip_prefix('¥')?.replace(',', "").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXTS: [&str; 9] = [
        "領収書",
        "01900000-0000-7000-8000-000000000001",
        "領収書番号",
        "領収金額（税込）",
        "¥12,159",
        "10％対象",
        "合計",
        "¥12,159",
        "¥1,069",
    ];

    #[test]
    fn number_and_amounts_are_read() {
        let content = find_content(&TEXTS);
        let content = content.map(|content| (content.number.to_string(), content.total, content.tax));
        assert_eq!(content, Some((TEXTS[1].to_owned(), 12_159, 1_069)));
    }

    #[test]
    fn contradictory_and_incomplete_receipts_have_no_content() {
        let changed = |position: usize, text: &'static str| {
            let mut texts = TEXTS;
            texts[position] = text;
            find_content(&texts)
        };
        for (position, text) in [
            (1, "1"),
            (2, "番号"),
            (3, "領収金額"),
            (4, "¥12,158"),
            (6, "小計"),
            (8, "1,069"),
        ] {
            assert_eq!(changed(position, text), None, "{text}");
        }
        assert_eq!(find_content(&TEXTS[..8]), None);
        assert_eq!(parse(b"%PDF-1.7"), None);
    }
}
