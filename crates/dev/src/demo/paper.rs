//! How text looks: colours where a terminal shows them, and tables whose columns stand straight.

use std::io::IsTerminal;

/// The width that everything fits in.
pub(super) const WIDTH: usize = 110;

/// What a piece of text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ink {
    Bold,
    Dim,
    Good,
    Bad,
    Notable,
    Accent,
}

impl Ink {
    const fn code(self) -> &'static str {
        match self {
            Self::Bold => "1",
            Self::Dim => "2",
            Self::Good => "32",
            Self::Bad => "1;31",
            Self::Notable => "33",
            Self::Accent => "36",
        }
    }
}

/// Colours text, or leaves it as it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Paper {
    colours: bool,
}

impl Paper {
    /// Of standard output; the variable `NO_COLOR` turns colours off.
    pub(super) fn of_stdout() -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self {
            colours: wanted && std::io::stdout().is_terminal(),
        }
    }

    /// The text in this ink.
    pub(super) fn ink(self, ink: Ink, text: &str) -> String {
        if self.colours {
            format!("\x1b[{}m{text}\x1b[0m", ink.code())
        } else {
            text.to_owned()
        }
    }
}

/// One cell: its text, and the ink that it is written in.
#[derive(Debug, Clone)]
pub(super) struct Cell {
    text: String,
    ink: Option<Ink>,
    right: bool,
}

/// A cell in plain ink.
pub(super) fn cell(text: impl Into<String>) -> Cell {
    Cell {
        text: text.into(),
        ink: None,
        right: false,
    }
}

impl Cell {
    /// In this ink.
    pub(super) fn ink(mut self, ink: Ink) -> Self {
        self.ink = Some(ink);
        self
    }

    /// Flush right, for numbers.
    pub(super) fn right(mut self) -> Self {
        self.right = true;
        self
    }

    /// The text in its ink, followed by spaces up to this width.
    pub(super) fn padded(&self, paper: Paper, width: usize) -> String {
        let inked = self
            .ink
            .map_or_else(|| self.text.clone(), |ink| paper.ink(ink, &self.text));
        inked + &" ".repeat(width.saturating_sub(self.width()))
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

/// Rows in straight columns, indented by two, two spaces between; what is too long for the width is cut in the last column.
pub(super) fn table(paper: Paper, rows: &[Vec<Cell>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or_default();
    let widths: Vec<usize> = (0..count)
        .map(|column| {
            rows.iter()
                .filter_map(|row| row.get(column))
                .map(Cell::width)
                .max()
                .unwrap_or_default()
        })
        .collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::from("  ");
        let mut used = 2;
        for (index, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let is_last = index + 1 == row.len();
            let room = WIDTH.saturating_sub(used);
            let shown = if is_last {
                cut(&cell.text, room)
            } else {
                cell.text.clone()
            };
            let gap = " ".repeat(width.saturating_sub(cell.width()));
            let inked = cell.ink.map_or_else(|| shown.clone(), |ink| paper.ink(ink, &shown));
            match (cell.right, is_last) {
                (true, _) => line.extend([gap.as_str(), inked.as_str()]),
                (false, true) => line.push_str(&inked),
                (false, false) => line.extend([inked.as_str(), gap.as_str()]),
            }
            line.push_str("  ");
            used += width + 2;
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// The text, with an ellipsis where it is longer than the room.
pub(super) fn cut(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.to_owned();
    }
    let mut shown: String = text.chars().take(room.saturating_sub(1)).collect();
    shown.push('…');
    shown
}

/// `1 event`, `12 events`, `1 234 events`.
pub(super) fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", grouped(number))
}

/// With a space between thousands.
pub(super) fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_straight_and_the_last_one_is_cut() {
        let paper = Paper { colours: false };
        let long = "x".repeat(200);
        let rows = [
            vec![cell("a"), cell("1").right(), cell("ä")],
            vec![cell("bcd"), cell("234").right(), cell(long)],
        ];
        let text = table(paper, &rows);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.first(), Some(&"  a      1  ä"));
        assert!(lines.iter().all(|line| line.chars().count() <= WIDTH));
        assert!(
            lines
                .get(1)
                .is_some_and(|line| line.starts_with("  bcd  234  xxx") && line.ends_with('…'))
        );
    }

    #[test]
    fn numbers_are_readable() {
        assert_eq!(
            [grouped(7), grouped(1234), grouped(1_234_567)],
            ["7", "1 234", "1 234 567"].map(str::to_owned)
        );
        assert_eq!(count(1, "event"), "1 event");
        assert_eq!(count(2000, "event"), "2 000 events");
    }
}
