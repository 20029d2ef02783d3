//! The rules of texts that people write: single lines and e-mail addresses.

/// The longest e-mail address that SMTP carries (RFC 5321, 4.5.3.1.3, with its erratum).
const MAX_EMAIL_BYTES: usize = 254;

/// Whether the character starts a new line or is another control character.
#[must_use]
pub fn breaks_line(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

/// Whether the text is on one line, is not blank and has at most `max_chars` characters.
#[must_use]
pub fn is_single_line(text: &str, max_chars: usize) -> bool {
    text.chars().count() <= max_chars && !text.trim().is_empty() && !text.contains(breaks_line)
}

/// Whether the text is exactly one e-mail address: no list, no display name, no line break that would start
/// another header of a mail.
#[must_use]
pub fn is_email_address(text: &str) -> bool {
    let is_valid_part = |part: &str| {
        !part.is_empty()
            && part
                .chars()
                .all(|c| c.is_ascii_graphic() && !"@,;:<>()[]\\\"".contains(c))
    };
    text.len() <= MAX_EMAIL_BYTES
        && text
            .split_once('@')
            .is_some_and(|(local, host)| is_valid_part(local) && is_valid_part(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_line_has_text_and_no_line_break() {
        assert!(is_single_line("祭 花子", 5));
        assert!(is_single_line(&"祭".repeat(100), 100));
        for invalid in [
            "",
            "  ",
            "a\nb",
            "a\u{2028}b",
            "a\u{85}b",
            "a\0b",
            &"祭".repeat(101),
        ] {
            assert!(!is_single_line(invalid, 100), "{invalid:?}");
        }
    }

    #[test]
    fn email_address_is_exactly_one() {
        let longest = format!("{}@example.com", "a".repeat(242));
        for valid in ["hanako@example.com", "Hanako.M+tea@sub.example.com", &longest] {
            assert!(is_email_address(valid), "{valid}");
        }
        for invalid in [
            "",
            "hanako",
            "@example.com",
            "hanako@",
            "a@example.com,b@example.com",
            "a@b@example.com",
            "Hanako <hanako@example.com>",
            "hanako@example.com\r\nBcc: evil@example.com",
            "hanako @example.com",
            "花子@example.com",
            &format!("{}@example.com", "a".repeat(243)),
        ] {
            assert!(!is_email_address(invalid), "{invalid}");
        }
    }
}
