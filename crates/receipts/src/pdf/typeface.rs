//! The font, and what of a text it can show.

use krilla::text::{Font, GlyphId, KrillaGlyph};
use skrifa::{FontRef, MetadataProvider, charmap::Charmap, instance::Size, metrics::GlyphMetrics};
use unicode_normalization::UnicodeNormalization;

static FONT: &[u8] = include_bytes!("../../fonts/NotoSansJP-Regular.otf");

/// Shown for a character that the font lacks: the geta mark, Japanese printers' sign for a missing type.
const MISSING: char = '〓';

/// Ends a text that was cut.
const ELLIPSIS: char = '…';

/// Characters that must not start a line (行頭禁則).
const NOT_AT_LINE_START: &str = "、。，．・：；？！）］｝」』】〉》ー～…,.:;?!)]}";

/// The font of receipts with its metrics. Sizes and widths are in points.
pub(super) struct Typeface {
    font: Font,
    charmap: Charmap<'static>,
    metrics: GlyphMetrics<'static>,
    units_per_em: f32,
}

impl Typeface {
    pub(super) fn new() -> Self {
        let reference = FontRef::new(FONT).expect("the embedded font is valid");
        let font = Font::new(FONT.into(), 0).expect("the embedded font is valid");
        Self {
            charmap: reference.charmap(),
            metrics: reference.glyph_metrics(Size::unscaled(), skrifa::instance::LocationRef::default()),
            units_per_em: font.units_per_em(),
            font,
        }
    }

    pub(super) fn font(&self) -> Font {
        self.font.clone()
    }

    /// The text on one line, of characters that the font has, each on its own. Control characters and the
    /// characters that direct bidirectional text neither move nor hide others: they are dropped, or become a
    /// space. Scripts from right to left and combined characters without a precomposed form are not in the
    /// font.
    pub(super) fn printable(&self, text: &str) -> String {
        let shown: String = text
            .nfc()
            .filter(|c| !is_invisible(*c))
            .map(|c| match c {
                c if c.is_whitespace() || c.is_control() => ' ',
                c if self.charmap.map(c).is_some() => c,
                _ => MISSING,
            })
            .collect();
        shown
            .split(' ')
            .filter(|word| !word.is_empty())
            .collect::<Vec<_>>()
            .join(" ")
    }

    pub(super) fn width(&self, text: &str, size: f32) -> f32 {
        text.chars().map(|c| self.advance(c)).sum::<f32>() * size
    }

    /// The glyphs of a printable text.
    pub(super) fn glyphs(&self, text: &str) -> Vec<KrillaGlyph> {
        text.char_indices()
            .map(|(at, c)| {
                let glyph = self.charmap.map(c).map_or(0, |glyph| glyph.to_u32());
                let range = at..at + c.len_utf8();
                KrillaGlyph::new(GlyphId::new(glyph), self.advance(c), 0.0, 0.0, 0.0, range, None)
            })
            .collect()
    }

    /// Breaks an untrusted text into lines of at most this width. A text of more than `max_lines` is cut and
    /// ends with an ellipsis.
    pub(super) fn wrap(&self, text: &str, size: f32, width: f32, max_lines: usize) -> Vec<String> {
        let text = self.printable(text);
        let mut rest = text.as_str();
        let mut lines = Vec::new();
        while !rest.is_empty() && lines.len() < max_lines {
            let fitting = self.fitting_length(rest, size, width);
            if fitting == rest.len() {
                lines.push(rest.to_owned());
                rest = "";
            } else if lines.len() + 1 == max_lines {
                lines.push(self.cut(rest, size, width));
                rest = "";
            } else {
                let at = break_position(rest, fitting);
                lines.push(rest[..at].trim_end().to_owned());
                rest = rest[at..].trim_start();
            }
        }
        lines
    }

    /// The start of a text that is too long, with an ellipsis.
    fn cut(&self, text: &str, size: f32, width: f32) -> String {
        let room = width - self.advance(ELLIPSIS) * size;
        let mut cut = text[..self.fitting_length(text, size, room)]
            .trim_end()
            .to_owned();
        cut.push(ELLIPSIS);
        cut
    }

    /// The length in bytes of the start of `text` that fits into `width`: at least one character.
    fn fitting_length(&self, text: &str, size: f32, width: f32) -> usize {
        let mut used = 0.0;
        for (at, c) in text.char_indices() {
            used += self.advance(c) * size;
            if used > width && at > 0 {
                return at;
            }
        }
        text.len()
    }

    /// The advance width at a size of one point.
    fn advance(&self, c: char) -> f32 {
        let glyph = self.charmap.map(c).unwrap_or_default();
        self.metrics.advance_width(glyph).unwrap_or(self.units_per_em) / self.units_per_em
    }
}

/// Where to break a text of which the first `fitting` bytes fit: at a space or between Japanese characters.
fn break_position(text: &str, fitting: usize) -> usize {
    let may_break = |at: usize| {
        let (before, after) = (text[..at].chars().next_back(), text[at..].chars().next());
        match (before, after) {
            (Some(before), Some(after)) => {
                after == ' '
                    || before == ' '
                    || !(before.is_ascii() && after.is_ascii() || NOT_AT_LINE_START.contains(after))
            }
            _ => false,
        }
    };
    (1..=fitting)
        .rev()
        .filter(|at| text.is_char_boundary(*at))
        .find(|at| may_break(*at))
        .unwrap_or(fitting)
}

/// Characters without a shape of their own: they direct bidirectional text, join or separate others, or
/// select a variant.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{00AD}' | '\u{034F}' | '\u{061C}' | '\u{180E}' | '\u{FEFF}'
        | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}'
        | '\u{FE00}'..='\u{FE0F}' | '\u{FFF9}'..='\u{FFFB}' | '\u{E0000}'..='\u{E0FFF}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn untrusted_text_stays_one_line_of_visible_characters() {
        let face = Typeface::new();
        for (text, expected) in [
            ("宇治新茶 浅蒸し煎茶 80g", "宇治新茶 浅蒸し煎茶 80g"),
            ("Tea\r\nTotal: ¥0\u{2028}x\u{85}y", "Tea Total: ¥0 x y"),
            ("  a\t\u{3000} b ", "a b"),
            ("¥1\u{202E}000,9¥\u{202C}\u{200F}\u{2066}", "¥1000,9¥"),
            // A decomposed character has a precomposed form.
            ("か\u{3099}", "が"),
            ("emoji 🍵, שלום", "emoji 〓, 〓〓〓〓"),
            ("z\u{0}ero\u{7}", "z ero"),
        ] {
            assert_eq!(face.printable(text), expected, "{text:?}");
        }
    }

    #[test]
    fn long_text_is_broken_at_words_and_cut_with_an_ellipsis() {
        let face = Typeface::new();
        let name = "Ceremonial Matcha for Thick Tea, 30 g Tin";
        assert_eq!(
            face.wrap(name, 10.0, 120.0, 3),
            ["Ceremonial Matcha for", "Thick Tea, 30 g Tin"]
        );
        let cut = face.wrap(name, 10.0, 60.0, 2);
        assert_eq!(cut, ["Ceremonial", "Matcha for…"]);
        for line in face.wrap(&"鉄".repeat(200), 9.0, 200.0, 2) {
            assert!(face.width(&line, 9.0) <= 200.0, "{line}");
        }
        assert_eq!(face.wrap("", 9.0, 200.0, 2), [""; 0]);
    }

    #[test]
    fn line_does_not_start_with_punctuation() {
        let face = Typeface::new();
        // Four characters fit, and the fifth is a full stop.
        assert_eq!(face.wrap("祭の提灯。赤", 10.0, 41.0, 2), ["祭の提", "灯。赤"]);
    }
}
