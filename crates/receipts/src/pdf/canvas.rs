//! Draws text, lines and areas on a page. Positions are in points from the upper left corner.

use krilla::{
    color::rgb,
    geom::{PathBuilder, Point, Rect},
    paint::{Fill, Stroke},
    surface::Surface,
};

use super::typeface::Typeface;

/// The appearance of a text.
#[derive(Clone, Copy)]
pub(super) struct Style {
    /// In points.
    pub(super) size: f32,
    pub(super) color: Color,
    pub(super) is_bold: bool,
}

#[derive(Clone, Copy)]
pub(super) enum Color {
    Text,
    /// Labels and notes.
    Muted,
    /// Rules between the rows of a table.
    Rule,
    /// The background of the amount.
    Shade,
}

#[derive(Clone, Copy)]
pub(super) enum Align {
    /// The text starts at the position.
    Left,
    /// The text ends at the position.
    Right,
}

/// The width of the outline that makes a text bold, in relation to its size. The font has one weight.
const BOLD_OUTLINE: f32 = 0.03;

pub(super) struct Canvas<'a, 'page> {
    pub(super) surface: Surface<'page>,
    pub(super) face: &'a Typeface,
}

impl Style {
    pub(super) fn text(size: f32) -> Self {
        Self {
            size,
            color: Color::Text,
            is_bold: false,
        }
    }

    pub(super) fn bold(size: f32) -> Self {
        Self {
            is_bold: true,
            ..Self::text(size)
        }
    }

    pub(super) fn muted(size: f32) -> Self {
        Self {
            color: Color::Muted,
            ..Self::text(size)
        }
    }
}

impl Color {
    fn rgb(self) -> rgb::Color {
        match self {
            Self::Text => rgb::Color::new(28, 32, 36),
            Self::Muted => rgb::Color::new(100, 108, 116),
            Self::Rule => rgb::Color::new(208, 213, 218),
            Self::Shade => rgb::Color::new(243, 244, 246),
        }
    }

    fn fill(self) -> Fill {
        Fill {
            paint: self.rgb().into(),
            ..Fill::default()
        }
    }

    fn stroke(self, width: f32) -> Stroke {
        Stroke {
            paint: self.rgb().into(),
            width,
            ..Stroke::default()
        }
    }
}

impl Canvas<'_, '_> {
    /// Draws one line of text with its baseline at `y`.
    pub(super) fn text(&mut self, (x, y): (f32, f32), align: Align, style: Style, text: &str) {
        let text = self.face.printable(text);
        let x = match align {
            Align::Left => x,
            Align::Right => x - self.face.width(&text, style.size),
        };
        self.surface.set_fill(Some(style.color.fill()));
        let outline = style
            .is_bold
            .then(|| style.color.stroke(style.size * BOLD_OUTLINE));
        self.surface.set_stroke(outline);
        let glyphs = self.face.glyphs(&text);
        let start = Point::from_xy(x, y);
        self.surface
            .draw_glyphs(start, &glyphs, self.face.font(), &text, style.size, false);
    }

    /// Draws a horizontal line.
    pub(super) fn rule(&mut self, (left, right): (f32, f32), y: f32, color: Color, width: f32) {
        let mut path = PathBuilder::new();
        path.move_to(left, y);
        path.line_to(right, y);
        self.surface.set_fill(None);
        self.surface.set_stroke(Some(color.stroke(width)));
        let path = path.finish().expect("a line is a valid path");
        self.surface.draw_path(&path);
    }

    /// Fills a rectangle.
    pub(super) fn area(&mut self, (left, right): (f32, f32), (top, bottom): (f32, f32), color: Color) {
        let area = Rect::from_ltrb(left, top, right, bottom).expect("left and top come first");
        let mut path = PathBuilder::new();
        path.push_rect(area);
        self.surface.set_stroke(None);
        self.surface.set_fill(Some(color.fill()));
        let path = path.finish().expect("a rectangle is a valid path");
        self.surface.draw_path(&path);
    }
}
