//! What people are told about their accounts, in English and in Japanese.
//!
//! Anybody may register with anybody's address, so nothing that a stranger chose stands in these mails, but for a
//! name that is plainly one.

use askama::Template;
use events::{AccountMail, AccountMailRequest, LinkToken};

use crate::order_mail::{Mail, MailError, validate_address};

/// A longer name is not used to greet with.
const MAX_NAME_CHARS: usize = 40;

/// The shop as people reach it, where the links of mails lead.
#[derive(Clone, Debug)]
pub struct StorefrontLinks {
    origin: String,
}

#[derive(Template)]
#[template(path = "account.txt")]
struct TextBody<'a>(&'a MailContent);

#[derive(Template)]
#[template(path = "account.html")]
struct HtmlBody<'a>(&'a MailContent);

/// What both forms of a mail say.
struct MailContent {
    english: MailCopy,
    japanese: MailCopy,
    link: Option<String>,
}

struct MailCopy {
    greeting: String,
    /// What happened.
    news: &'static str,
    /// What to do about it, or that there is nothing to do.
    advice: &'static str,
}

/// What a mail says, and where its link leads.
struct Draft {
    subject: &'static str,
    english: (&'static str, &'static str),
    japanese: (&'static str, &'static str),
    link: Option<String>,
}

impl StorefrontLinks {
    /// The shop at `url`, with or without a slash at its end.
    #[must_use]
    pub fn new(url: &str) -> Self {
        Self {
            origin: url.trim_end_matches('/').to_owned(),
        }
    }

    fn page_url(&self, page: &str) -> Option<String> {
        Some(format!("{}/{page}", self.origin))
    }

    /// Tokens are made of what may stand in a query as it is; whatever else came here would not be one.
    fn token_url(&self, page: &str, LinkToken(token): &LinkToken) -> Result<Option<String>, MailError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if token.is_empty() || !token.bytes().all(plain) {
            return Err(MailError::InvalidLinkToken);
        }
        Ok(Some(format!("{}/{page}?token={token}", self.origin)))
    }
}

/// The mail that is asked for; none where none is meant.
pub fn render(request: &AccountMailRequest, shop: &StorefrontLinks) -> Result<Option<Mail>, MailError> {
    let draft = match &request.mail {
        AccountMail::Decoy => return Ok(None),
        AccountMail::Welcome { token } => Draft {
            subject: "Welcome to Matsuri / Matsuriへようこそ",
            english: (
                "Welcome to Matsuri! Please follow this link within 24 hours, so that we know that this address is yours.",
                "If you have not registered with us, there is nothing for you to do.",
            ),
            japanese: (
                "Matsuriにご登録いただき、ありがとうございます。24時間以内に下のリンクを開き、メールアドレスをご確認ください。",
                "お心当たりのない場合は、このメールを破棄してください。",
            ),
            link: shop.token_url("verify", token)?,
        },
        AccountMail::VerifyAddress { token } => Draft {
            subject: "Verify your address / メールアドレスのご確認",
            english: (
                "Please follow this link within 24 hours, so that we know that this address is yours.",
                "If you have not asked for it, there is nothing for you to do.",
            ),
            japanese: (
                "24時間以内に下のリンクを開き、メールアドレスをご確認ください。",
                "お心当たりのない場合は、このメールを破棄してください。",
            ),
            link: shop.token_url("verify", token)?,
        },
        AccountMail::RegistrationRepeated => Draft {
            subject: "You have an account at Matsuri / すでにご登録済みです",
            english: (
                "Somebody, you perhaps, tried to register at Matsuri with this address, which has an account already.",
                "If it was you, sign in, or choose a new password if you have forgotten yours. If it was not, there is \
                 nothing for you to do: nothing has changed.",
            ),
            japanese: (
                "このメールアドレスでMatsuriに新規登録しようとした方がいますが、すでにご登録いただいています。",
                "ご本人の場合は、そのままサインインするか、パスワードを再設定してください。\
                 お心当たりのない場合も、登録内容に変わりはありませんのでご安心ください。",
            ),
            link: shop.page_url("login"),
        },
        AccountMail::ResetPassword { token } => Draft {
            subject: "Choose a new password / パスワードの再設定",
            english: (
                "Somebody, you perhaps, asked for a new password. With this link you can choose one within the next hour.",
                "If it was not you, there is nothing for you to do: your password is as it was. Give the link to nobody.",
            ),
            japanese: (
                "パスワードの再設定が申し込まれました。1時間以内に下のリンクを開き、新しいパスワードを設定してください。",
                "お心当たりのない場合は、このメールを破棄してください。パスワードは変わりません。\
                 リンクは誰にも教えないでください。",
            ),
            link: shop.token_url("reset", token)?,
        },
        AccountMail::PasswordChanged => Draft {
            subject: "Your password has changed / パスワードが変更されました",
            english: (
                "Your password at Matsuri has changed, and you have been signed out on all devices.",
                "If it was not you, choose a new password now.",
            ),
            japanese: (
                "Matsuriのパスワードが変更されました。すべての端末からサインアウトしています。",
                "お心当たりのない場合は、すぐにパスワードを再設定してください。",
            ),
            link: shop.page_url("forgot"),
        },
        AccountMail::SessionRevoked => Draft {
            subject: "We have ended one of your sessions / セッションを終了しました",
            english: (
                "One of your sessions at Matsuri was used from two places at once, so we have ended it.",
                "Sign in again. If you do not know how this came about, choose a new password: that ends all sessions.",
            ),
            japanese: (
                "お客様のセッションが二か所から使われたため、安全のため終了しました。",
                "あらためてサインインしてください。お心当たりのない場合は、パスワードを再設定してください。\
                 すべての端末からサインアウトします。",
            ),
            link: shop.page_url("forgot"),
        },
    };
    let name = plain_name(&request.name);
    let content = MailContent {
        english: MailCopy {
            greeting: name.map_or("Hello,".to_owned(), |name| format!("Hello {name},")),
            news: draft.english.0,
            advice: draft.english.1,
        },
        japanese: MailCopy {
            greeting: name.map_or("お客様".to_owned(), |name| format!("{name} 様")),
            news: draft.japanese.0,
            advice: draft.japanese.1,
        },
        link: draft.link,
    };
    Ok(Some(Mail {
        to: validate_address(&request.to)?,
        subject: draft.subject,
        text: TextBody(&content).render()?,
        html: HtmlBody(&content).render()?,
    }))
}

/// The name, if it is one: letters and little else, so that nobody sends advertisements in it.
fn plain_name(name: &str) -> Option<&str> {
    let plain = |c: char| c.is_alphabetic() || matches!(c, ' ' | '\u{3000}' | '-' | '\'' | '・' | 'ー');
    let short = name.chars().count() <= MAX_NAME_CHARS;
    (short && !name.trim().is_empty() && name.chars().all(plain)).then(|| name.trim())
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
        let shop = StorefrontLinks::new("https://shop.test/");
        render(&request(mail), &shop).unwrap().unwrap()
    }

    #[test]
    fn a_welcome_reads_well() {
        let mail = rendered(AccountMail::Welcome { token: token() });
        assert_eq!(mail.to, "hanako@example.com");
        insta::assert_snapshot!(mail.text, @r"
        Hello 花子,

        Welcome to Matsuri! Please follow this link within 24 hours, so that we know that this address is yours.
        If you have not registered with us, there is nothing for you to do.

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
    fn each_mail_leads_where_it_says() {
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
    fn a_mail_of_nothing_is_none() {
        let nothing = request(AccountMail::Decoy);
        assert!(
            render(&nothing, &StorefrontLinks::new("https://shop.test"))
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn a_name_that_is_none_is_left_out() {
        for wrong in [
            "",
            " ",
            "Win now: evil.example",
            "<b>Hanako</b>",
            "a\r\nBcc: x",
            &"a".repeat(41),
        ] {
            let mut request = request(AccountMail::PasswordChanged);
            request.name = wrong.to_owned();
            let mail = render(&request, &StorefrontLinks::new("https://shop.test"))
                .unwrap()
                .unwrap();
            assert!(mail.text.starts_with("Hello,\n"), "{}", mail.text);
            assert!(mail.text.contains("お客様\n"), "{}", mail.text);
        }
    }

    #[test]
    fn what_is_no_token_makes_no_link_and_what_is_no_address_no_mail() {
        let shop = StorefrontLinks::new("https://shop.test");
        let odd = LinkToken("x\"><script>".to_owned());
        let odd = render(&request(AccountMail::ResetPassword { token: odd }), &shop);
        assert!(matches!(odd, Err(MailError::InvalidLinkToken)));
        let mut nobody = request(AccountMail::PasswordChanged);
        nobody.to = "a@example.com,b@example.com".to_owned();
        assert!(matches!(render(&nobody, &shop), Err(MailError::InvalidAddress)));
    }
}
