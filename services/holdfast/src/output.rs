//! How commands print: JSON for machines, aligned columns for people.
//!
//! Texts that came from outside (reasons, ids, bodies) may hold anything; control characters are replaced, so that nothing that
//! a stranger sent can steer a terminal.

use std::io::{ErrorKind, Write as _};

use serde::Serialize;

/// Writes a text to stdout. A reader that went away, such as `head`, is no error.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

/// One JSON document on stdout.
pub(crate) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    print(&text)
}

/// Rows with every column but the last as wide as its widest cell.
pub(crate) fn columns<const N: usize>(rows: impl IntoIterator<Item = [String; N]>) -> String {
    let rows: Vec<[String; N]> = rows.into_iter().map(|row| row.map(|cell| plain(&cell))).collect();
    let mut widths = [0; N];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in &rows {
        let line: String = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:width$}  "))
            .collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// The text without control characters.
pub(crate) fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

/// What a list leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum More {
    /// Nothing: it is whole.
    Nothing,
    /// Whatever comes after the first so many.
    After(i64),
}

impl More {
    /// Tells the reader on stderr, so that JSON on stdout stays one document.
    pub(crate) fn say(self) {
        match self {
            Self::Nothing => {}
            Self::After(limit) => eprintln!("There are more; these are the first {limit}. See --limit."),
        }
    }
}

/// Cuts what was read beyond the limit off a list.
pub(crate) fn cut<T>(list: &mut Vec<T>, limit: i64) -> More {
    let limit_here = usize::try_from(limit).unwrap_or(usize::MAX);
    if list.len() <= limit_here {
        return More::Nothing;
    }
    list.truncate(limit_here);
    More::After(limit)
}

/// A value that may be absent.
pub(crate) fn or_dash(value: Option<&str>) -> String {
    value.unwrap_or("-").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_was_cut_says_so() {
        let mut list = vec![1, 2, 3];
        assert_eq!((cut(&mut list, 3), list.len()), (More::Nothing, 3));
        assert_eq!((cut(&mut list, 2), list.len()), (More::After(2), 2));
    }

    #[test]
    fn columns_are_aligned_and_nothing_steers_the_terminal() {
        let rows = [["a", "bb", "c"], ["aaa", "b", "\u{1b}[31mred\nline"]].map(|row| row.map(str::to_owned));
        assert_eq!(columns(rows), "a    bb  c\naaa  b   \u{fffd}[31mred\u{fffd}line\n");
    }
}
