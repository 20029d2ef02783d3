//! Mails to users about their accounts, in English and Japanese.
//!
//! Anyone can register with any e-mail address, so these mails must not contain text that the sender of a
//! request chose. The only exception is a name that consists of letters.

use askama::Template;
use domain::OrderId;
use events::{AccountMail, AccountMailRequest, LinkToken};

use crate::mail::{Mail, MailError, validate_address};

/// A longer name is not used in the greeting.
const MAX_NAME_CHARS: usize = 40;

/// Builds the URLs of the storefront's pages.
#[derive(Clone, Debug)]
pub struct StorefrontLinks {
    /// The URL without a trailing slash.
    base_url: String,
}

#[derive(Template)]
#[template(path = "account.txt")]
struct TextBody<'a>(&'a MailContent);

#[derive(Template)]
#[template(path = "account.html")]
struct HtmlBody<'a>(&'a MailContent);

/// The template variables of both bodies.
struct MailContent {
    english: Section,
    japanese: Section,
    link: Option<String>,
}

/// The text of a mail in one language.
struct Section {
    greeting: String,
    /// What happened to the account.
    message: &'static str,
    /// What the user should do.
    advice: &'static str,
}

/// The fixed texts of a mail, and the URL of its link.
struct MailCopy {
    subject: &'static str,
    /// The message and the advice.
    english: (&'static str, &'static str),
    japanese: (&'static str, &'static str),
    link: Option<String>,
}

impl StorefrontLinks {
    /// The links to the storefront at `url`, with or without a trailing slash.
    #[must_use]
    pub fn new(url: &str) -> Self {
        Self {
            base_url: url.trim_end_matches('/').to_owned(),
        }
    }

    /// The page of an order.
    #[must_use]
    pub fn order_url(&self, order_id: OrderId) -> String {
        format!("{}/orders/{order_id}", self.base_url)
    }

    fn page_url(&self, page: &str) -> Option<String> {
        Some(format!("{}/{page}", self.base_url))
    }

    /// The URL of a page with a token in its query. Tokens are base64url, so they need no escaping; any other
    /// text is rejected.
    fn token_url(&self, page: &str, LinkToken(token): &LinkToken) -> Result<Option<String>, MailError> {
        let is_base64url = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if token.is_empty() || !token.bytes().all(is_base64url) {
            return Err(MailError::InvalidLinkToken);
        }
        Ok(Some(format!("{}/{page}?token={token}", self.base_url)))
    }
}

/// The requested mail. `None` for a decoy, which requests no mail.
pub fn render(request: &AccountMailRequest, links: &StorefrontLinks) -> Result<Option<Mail>, MailError> {
    let copy = match &request.mail {
        AccountMail::Decoy => return Ok(None),
        AccountMail::Welcome { token } => MailCopy {
            subject: "Welcome to Matsuri / Matsuriへようこそ",
            english: (
                "Welcome to Matsuri! Please confirm your e-mail address with this link within 24 hours.",
                "If you did not register at Matsuri, please ignore this mail.",
            ),
            japanese: (
                "Matsuriにご登録いただき、ありがとうございます。24時間以内に下のリンクを開き、メールアドレスをご確認ください。",
                "お心当たりのない場合は、このメールを破棄してください。",
            ),
            link: links.token_url("verify", token)?,
        },
        AccountMail::VerifyAddress { token } => MailCopy {
            subject: "Verify your address / メールアドレスのご確認",
            english: (
                "Please confirm your e-mail address with this link within 24 hours.",
                "If you did not request this mail, please ignore it.",
            ),
            japanese: (
                "24時間以内に下のリンクを開き、メールアドレスをご確認ください。",
                "お心当たりのない場合は、このメールを破棄してください。",
            ),
            link: links.token_url("verify", token)?,
        },
        AccountMail::RegistrationRepeated => MailCopy {
            subject: "You have an account at Matsuri / すでにご登録済みです",
            english: (
                "A person tried to register at Matsuri with this e-mail address, which already has an \
                 account.",
                "If it was you, sign in, or reset your password if you have forgotten it. If it was not you, \
                 please ignore this mail: your account has not changed.",
            ),
            japanese: (
                "このメールアドレスでMatsuriに新規登録しようとした方がいますが、すでにご登録いただいています。",
                "ご本人の場合は、そのままサインインするか、パスワードを再設定してください。\
                 お心当たりのない場合も、登録内容に変わりはありませんのでご安心ください。",
            ),
            link: links.page_url("login"),
        },
        AccountMail::ResetPassword { token } => MailCopy {
            subject: "Choose a new password / パスワードの再設定",
            english: (
                "A password reset was requested for your account. With this link you can choose a new \
                 password within one hour.",
                "If you did not request it, please ignore this mail: your password has not changed. Do not \
                 share the link.",
            ),
            japanese: (
                "パスワードの再設定が申し込まれました。1時間以内に下のリンクを開き、新しいパスワードを設定してください。",
                "お心当たりのない場合は、このメールを破棄してください。パスワードは変わりません。\
                 リンクは誰にも教えないでください。",
            ),
            link: links.token_url("reset", token)?,
        },
        AccountMail::PasswordChanged => MailCopy {
            subject: "Your password has changed / パスワードが変更されました",
            english: (
                "Your Matsuri password was changed, and you have been signed out on all devices.",
                "If you did not change it, reset your password now.",
            ),
            japanese: (
                "Matsuriのパスワードが変更されました。すべての端末からサインアウトしています。",
                "お心当たりのない場合は、すぐにパスワードを再設定してください。",
            ),
            link: links.page_url("forgot"),
        },
        AccountMail::SessionRevoked => MailCopy {
            subject: "We have ended one of your sessions / セッションを終了しました",
            english: (
                "One of your Matsuri sessions was used from two places at the same time, so we ended it.",
                "Please sign in again. If you do not recognise this activity, reset your password: this ends \
                 all your sessions.",
            ),
            japanese: (
                "お客様のセッションが二か所から使われたため、安全のため終了しました。",
                "あらためてサインインしてください。お心当たりのない場合は、パスワードを再設定してください。\
                 すべての端末からサインアウトします。",
            ),
            link: links.page_url("forgot"),
        },
    };
    let name = plain_name(&request.name);
    let content = MailContent {
        english: Section {
            greeting: name.map_or("Hello,".to_owned(), |name| format!("Hello {name},")),
            message: copy.english.0,
            advice: copy.english.1,
        },
        japanese: Section {
            greeting: name.map_or("お客様".to_owned(), |name| format!("{name} 様")),
            message: copy.japanese.0,
            advice: copy.japanese.1,
        },
        link: copy.link,
    };
    Ok(Some(Mail {
        to: validate_address(&request.to)?,
        subject: copy.subject.to_owned(),
        text: TextBody(&content).render()?,
        html: HtmlBody(&content).render()?,
        unsubscribe_url: None,
    }))
}

/// The name, if it consists of letters and a few punctuation characters. Other names could be used to send
/// advertisements or links to people who are not our users.
fn plain_name(name: &str) -> Option<&str> {
    let is_plain = |c: char| c.is_alphabetic() || matches!(c, ' ' | '\u{3000}' | '-' | '\'' | '・' | 'ー');
    let short = name.chars().count() <= MAX_NAME_CHARS;
    (short && !name.trim().is_empty() && name.chars().all(is_plain)).then(|| name.trim())
}

#[cfg(test)]
mod tests {
    use domain::Timestamp;
    use events::TraceParent;

    use super::*;

    fn request(mail: AccountMail) -> AccountMailRequest {
        let at = Timestamp::UNIX_EPOCH;
        AccountMailRequest::new(mail, "hanako@example.com", "花子", TraceParent::root(at), at)
    }

    fn token() -> LinkToken {
        LinkToken("se-cr_et".to_owned())
    }

    fn rendered(mail: AccountMail) -> Mail {
        let links = StorefrontLinks::new("https://shop.test/");
        render(&request(mail), &links).unwrap().unwrap()
    }

    #[test]
    fn welcome_mail_text() {
        let mail = rendered(AccountMail::Welcome { token: token() });
        assert_eq!(mail.to, "hanako@example.com");
        insta::assert_snapshot!(mail.text, @r"
        Hello 花子,

        Welcome to Matsuri! Please confirm your e-mail address with this link within 24 hours.
        If you did not register at Matsuri, please ignore this mail.

        花子 様

        Matsuriにご登録いただき、ありがとうございます。24時間以内に下のリンクを開き、メールアドレスをご確認ください。
        お心当たりのない場合は、このメールを破棄してください。

        ----------------------------------------
        https://shop.test/verify?token=se-cr_et
        ----------------------------------------

        Matsuri
        ");
        assert!(
            mail.html
                .contains(r#"href="https://shop.test/verify?token=se-cr_et""#),
            "{}",
            mail.html
        );
    }

    #[test]
    fn each_mail_links_to_its_page() {
        for (mail, link) in [
            (
                AccountMail::VerifyAddress { token: token() },
                "https://shop.test/verify?token=se-cr_et",
            ),
            (
                AccountMail::ResetPassword { token: token() },
                "https://shop.test/reset?token=se-cr_et",
            ),
            (AccountMail::RegistrationRepeated, "https://shop.test/login"),
            (AccountMail::PasswordChanged, "https://shop.test/forgot"),
            (AccountMail::SessionRevoked, "https://shop.test/forgot"),
        ] {
            let mail = rendered(mail);
            assert!(mail.text.lines().any(|line| line == link), "{}", mail.text);
        }
    }

    #[test]
    fn decoy_renders_no_mail() {
        let decoy = request(AccountMail::Decoy);
        assert!(
            render(&decoy, &StorefrontLinks::new("https://shop.test"))
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn suspicious_name_is_left_out_of_the_greeting() {
        for invalid in [
            "",
            " ",
            "Win now: evil.example",
            "<b>Hanako</b>",
            "a\r\nBcc: x",
            &"a".repeat(41),
        ] {
            let mut request = request(AccountMail::PasswordChanged);
            request.name = invalid.to_owned();
            let mail = render(&request, &StorefrontLinks::new("https://shop.test"))
                .unwrap()
                .unwrap();
            assert!(mail.text.starts_with("Hello,\n"), "{}", mail.text);
            assert!(mail.text.contains("お客様\n"), "{}", mail.text);
        }
    }

    #[test]
    fn invalid_token_or_address_is_rejected() {
        let links = StorefrontLinks::new("https://shop.test");
        let token = LinkToken("x\"><script>".to_owned());
        let result = render(&request(AccountMail::ResetPassword { token }), &links);
        assert!(matches!(result, Err(MailError::InvalidLinkToken)));
        let mut two_addresses = request(AccountMail::PasswordChanged);
        two_addresses.to = "a@example.com,b@example.com".to_owned();
        assert!(matches!(
            render(&two_addresses, &links),
            Err(MailError::InvalidAddress)
        ));
    }
}
