//! Lays a receipt out on A4 pages, as PDF. The same receipt gives the same bytes.

mod canvas;
mod typeface;

use chrono::{Datelike, FixedOffset};
use domain::{TaxRate, Timestamp};
use krilla::{
    Document,
    metadata::{DateTime, Metadata},
    page::PageSettings,
};

use self::{
    canvas::{Align, Canvas, Color, Style},
    typeface::Typeface,
};
use crate::{Receipt, receipt::Line};

/// A4 in points.
const PAGE: (f32, f32) = (595.28, 841.89);
const LEFT: f32 = 56.0;
const RIGHT: f32 = PAGE.0 - 56.0;
/// The last baseline of a page's content; the footer is below.
const BOTTOM: f32 = 770.0;
const FOOTER: f32 = 804.0;

/// The left edge of the number, the date and the issuer.
const META: f32 = 314.0;
/// Enough for 80 Japanese characters.
const MAX_ISSUER_LINES: usize = 4;

/// The first row's upper edge, on the first page and on the others.
const FIRST_TABLE: f32 = 318.0;
const NEXT_TABLE: f32 = 112.0;

/// The columns of the table: the left edge of the names, and the right edges of the numbers.
const NAME: f32 = LEFT;
const NAME_WIDTH: f32 = 244.0;
const RATE: f32 = 346.0;
const QUANTITY: f32 = 394.0;
const UNIT_PRICE: f32 = 466.0;
const PRICE: f32 = RIGHT;

/// The table of totals.
const TOTALS_LEFT: f32 = META;
const TOTALS_AMOUNT: f32 = 458.0;
const TOTALS_ROW: f32 = 20.0;
/// From a baseline to the rule below it.
const TOTALS_RULE: f32 = 6.5;

const BODY: f32 = 9.0;
const LINE_HEIGHT: f32 = 13.0;
const ROW_PADDING: f32 = 6.0;
const MAX_NAME_LINES: usize = 2;

/// The mark of lines at the reduced rate.
const REDUCED_MARK: &str = "※";

/// krilla could not write the PDF.
#[derive(Debug, thiserror::Error)]
#[error("the PDF cannot be written: {0:?}")]
pub struct RenderError(krilla::error::KrillaError);

/// A line of the table with its name broken into lines of text.
struct Row<'a> {
    line: &'a Line,
    name: Vec<String>,
}

impl Row<'_> {
    fn height(&self) -> f32 {
        // A name of invisible characters leaves an empty line.
        let lines = u8::try_from(self.name.len().max(1)).expect("a name has at most MAX_NAME_LINES lines");
        f32::from(lines) * LINE_HEIGHT + 2.0 * ROW_PADDING
    }
}

impl Receipt {
    /// The receipt as PDF.
    pub fn to_pdf(&self) -> Result<Vec<u8>, RenderError> {
        let face = Typeface::new();
        let rows = self.lines.iter().map(|line| Row {
            name: face.wrap(&line.name, BODY, NAME_WIDTH, MAX_NAME_LINES),
            line,
        });
        let pages = self.paginate(rows.collect());
        let mut document = Document::new();
        document.set_metadata(self.metadata());
        for (number, rows) in pages.iter().enumerate() {
            let settings = PageSettings::from_wh(PAGE.0, PAGE.1).expect("A4 has a positive size");
            let mut page = document.start_page_with(settings);
            let mut canvas = Canvas {
                surface: page.surface(),
                face: &face,
            };
            let mut y = match number {
                0 => {
                    self.draw_head(&mut canvas);
                    FIRST_TABLE
                }
                _ => {
                    canvas.text((LEFT, 72.0), Align::Left, Style::bold(12.0), "領収書（続き）");
                    NEXT_TABLE
                }
            };
            if !rows.is_empty() {
                draw_table_head(&mut canvas, y);
            }
            for row in rows {
                draw_row(&mut canvas, row, y);
                y += row.height();
            }
            if number + 1 == pages.len() {
                self.draw_totals(&mut canvas, y);
            }
            self.draw_footer(&mut canvas, number + 1, pages.len());
        }
        document.finish().map_err(RenderError)
    }

    /// Distributes the rows over pages, of which the last has room for the totals.
    fn paginate<'a>(&self, rows: Vec<Row<'a>>) -> Vec<Vec<Row<'a>>> {
        let mut pages = vec![Vec::new()];
        let mut y = FIRST_TABLE;
        for row in rows {
            if y + row.height() > BOTTOM {
                pages.push(Vec::new());
                y = NEXT_TABLE;
            }
            y += row.height();
            pages.last_mut().expect("there is a first page").push(row);
        }
        if y + self.totals_height() > BOTTOM {
            pages.push(Vec::new());
        }
        pages
    }

    fn metadata(&self) -> Metadata {
        let date = jst(self.completed_at);
        let part = |value: u32| u8::try_from(value).expect("months and days are less than 256");
        let issued = DateTime::new(u16::try_from(date.year()).unwrap_or_default())
            .month(part(date.month()))
            .day(part(date.day()));
        Metadata::new()
            .title(format!("領収書 {}", self.order_id))
            .language("ja".to_owned())
            .creation_date(issued)
    }

    /// Draws the parts of the first page above the table: title, number, date, amount and issuer.
    fn draw_head(&self, canvas: &mut Canvas<'_, '_>) {
        canvas.text((LEFT, 84.0), Align::Left, Style::bold(26.0), "領収書");
        canvas.text((LEFT, 102.0), Align::Left, Style::muted(8.5), "適格簡易請求書");
        let number = self.order_id.to_string();
        for (y, label, value) in [
            (70.0, "領収書番号", number.as_str()),
            (86.0, "取引年月日", &date_text(self.completed_at)),
        ] {
            canvas.text((RIGHT, y), Align::Right, Style::text(8.5), value);
            canvas.text((META, y), Align::Left, Style::muted(8.5), label);
        }

        canvas.area((LEFT, RIGHT), (128.0, 180.0), Color::Shade);
        canvas.text(
            (LEFT + 16.0, 158.0),
            Align::Left,
            Style::text(10.0),
            "領収金額（税込）",
        );
        canvas.text(
            (RIGHT - 16.0, 163.0),
            Align::Right,
            Style::bold(24.0),
            &self.total.to_display(),
        );
        canvas.text(
            (LEFT, 202.0),
            Align::Left,
            Style::text(BODY),
            "ご注文の代金として、上記の金額を領収いたしました。",
        );

        let registration = format!("登録番号 {}", self.issuer.registration_number);
        let mut y = 230.0;
        for (style, text) in [
            (Style::bold(10.5), &self.issuer.name),
            (Style::text(8.5), &self.issuer.address),
            (Style::text(8.5), &registration),
        ] {
            for line in canvas.face.wrap(text, style.size, RIGHT - META, MAX_ISSUER_LINES) {
                canvas.text((META, y), Align::Left, style, &line);
                y += style.size + 5.0;
            }
        }
    }

    fn totals_height(&self) -> f32 {
        let rows = u8::try_from(self.tax_totals.len() + 2).expect("there are two tax rates");
        30.0 + f32::from(rows) * TOTALS_ROW
    }

    /// Draws the totals of each rate and the notes, below the table's lower edge at `top`.
    fn draw_totals(&self, canvas: &mut Canvas<'_, '_>, top: f32) {
        let columns = (TOTALS_LEFT, RIGHT);
        let mut y = top + 30.0;
        let mut row = |canvas: &mut Canvas<'_, '_>, style: Style, label: &str, amount: &str, tax: &str| {
            canvas.text((TOTALS_LEFT, y), Align::Left, style, label);
            canvas.text((TOTALS_AMOUNT, y), Align::Right, style, amount);
            canvas.text((RIGHT, y), Align::Right, style, tax);
            y += TOTALS_ROW;
            y
        };
        let mut below = row(canvas, Style::muted(8.0), "税率別内訳", "税込金額", "うち消費税");
        for part in &self.tax_totals {
            canvas.rule(columns, below - TOTALS_ROW + TOTALS_RULE, Color::Rule, 0.5);
            let mark = mark_of(part.rate);
            let label = format!("{}％対象{mark}", part.rate.percent());
            let (total, part_tax) = (part.total.to_display(), part.tax.to_display());
            below = row(canvas, Style::text(BODY), &label, &total, &part_tax);
        }
        canvas.rule(columns, below - TOTALS_ROW + TOTALS_RULE, Color::Text, 0.75);
        let (total, tax) = (self.total.to_display(), self.tax.to_display());
        row(canvas, Style::bold(10.5), "合計", &total, &tax);

        let mut notes = vec!["単価と金額は税込です。"];
        if self.tax_totals.iter().any(|part| part.rate == TaxRate::Reduced) {
            notes.push("※は軽減税率（8％）の対象です。");
        }
        for (note, y) in notes.iter().zip([top + 30.0, top + 44.0]) {
            canvas.text((LEFT, y), Align::Left, Style::muted(8.0), note);
        }
    }

    fn draw_footer(&self, canvas: &mut Canvas<'_, '_>, page: usize, pages: usize) {
        let number = format!("領収書番号 {}", self.order_id);
        canvas.text((LEFT, FOOTER), Align::Left, Style::muted(7.5), &number);
        let page = format!("{page} / {pages}");
        canvas.text((RIGHT, FOOTER), Align::Right, Style::muted(7.5), &page);
    }
}

/// Draws the names of the columns above the first row at `top`.
fn draw_table_head(canvas: &mut Canvas<'_, '_>, top: f32) {
    let y = top - 8.0;
    let style = Style::muted(8.0);
    canvas.text((NAME, y), Align::Left, style, "品名");
    for (x, name) in [
        (RATE, "税率"),
        (QUANTITY, "数量"),
        (UNIT_PRICE, "単価"),
        (PRICE, "金額"),
    ] {
        canvas.text((x, y), Align::Right, style, name);
    }
    canvas.rule((LEFT, RIGHT), top, Color::Text, 0.75);
}

/// Draws a line of the order with its upper edge at `top`.
fn draw_row(canvas: &mut Canvas<'_, '_>, row: &Row<'_>, top: f32) {
    let style = Style::text(BODY);
    let first = top + ROW_PADDING + BODY;
    let mut y = first;
    for name in &row.name {
        canvas.text((NAME, y), Align::Left, style, name);
        y += LINE_HEIGHT;
    }
    let rate = row.line.tax_rate;
    let rate = format!("{}{}％", mark_of(rate), rate.percent());
    for (x, text) in [
        (RATE, rate),
        (QUANTITY, row.line.quantity.to_string()),
        (UNIT_PRICE, row.line.unit_price.to_display()),
        (PRICE, row.line.price.to_display()),
    ] {
        canvas.text((x, first), Align::Right, style, &text);
    }
    canvas.rule((LEFT, RIGHT), top + row.height(), Color::Rule, 0.5);
}

fn mark_of(rate: TaxRate) -> &'static str {
    match rate {
        TaxRate::Standard => "",
        TaxRate::Reduced => REDUCED_MARK,
    }
}

/// The date in Japan, whose law the receipt follows. Japan has no daylight saving time.
fn jst(at: Timestamp) -> chrono::DateTime<FixedOffset> {
    let offset = FixedOffset::east_opt(9 * 3600).expect("nine hours are a valid offset");
    at.with_timezone(&offset)
}

fn date_text(at: Timestamp) -> String {
    let date = jst(at);
    format!("{}年{}月{}日", date.year(), date.month(), date.day())
}
