//! Ways to damage bytes and JSON.

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::Value;

/// One to four cuts, flips and insertions.
#[derive(Debug, Clone)]
pub(crate) struct Damage(Vec<Step>);

#[derive(Debug, Clone)]
enum Step {
    Flip(Index, u8),
    Set(Index, u8),
    Truncate(Index),
    Remove(Index, usize),
    Repeat(Index, usize),
    Insert(Index, Vec<u8>),
}

pub(crate) fn bytes() -> impl Strategy<Value = Damage> {
    let telling = prop::sample::select(b"\"\\{}[],:=0-9.eEtfn \n\0\xff\xc3\xef,v1=t".to_vec());
    let step = prop_oneof![
        (any::<Index>(), 0_u8..8).prop_map(|(at, bit)| Step::Flip(at, 1 << bit)),
        (any::<Index>(), telling).prop_map(|(at, byte)| Step::Set(at, byte)),
        any::<Index>().prop_map(Step::Truncate),
        (any::<Index>(), 1_usize..40).prop_map(|(at, length)| Step::Remove(at, length)),
        (any::<Index>(), 1_usize..200).prop_map(|(at, length)| Step::Repeat(at, length)),
        (any::<Index>(), prop::collection::vec(any::<u8>(), 1..20)).prop_map(|(at, bytes)| Step::Insert(at, bytes)),
    ];
    prop::collection::vec(step, 1..5).prop_map(Damage)
}

impl Damage {
    pub(crate) fn apply(&self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for step in &self.0 {
            if bytes.is_empty() {
                break;
            }
            let end = |at: usize, length: usize, total: usize| (at + length).min(total);
            match step {
                Step::Flip(at, mask) => {
                    let at = at.index(bytes.len());
                    bytes[at] ^= mask;
                }
                Step::Set(at, byte) => {
                    let at = at.index(bytes.len());
                    bytes[at] = *byte;
                }
                Step::Truncate(at) => bytes.truncate(at.index(bytes.len())),
                Step::Remove(at, length) => {
                    let at = at.index(bytes.len());
                    bytes.drain(at..end(at, *length, bytes.len()));
                }
                Step::Repeat(at, length) => {
                    let at = at.index(bytes.len());
                    let piece = bytes[at..end(at, *length, bytes.len())].to_vec();
                    bytes.splice(at..at, piece);
                }
                Step::Insert(at, piece) => {
                    let at = at.index(bytes.len());
                    bytes.splice(at..at, piece.iter().copied());
                }
            }
        }
        bytes
    }
}

/// Values that stand where something else is expected; written as JSON, since some cannot be a [`Value`].
fn odd() -> impl Strategy<Value = String> {
    let fixed = [
        "null",
        "true",
        "0",
        "-1",
        "1.5",
        "1e3",
        "1e999",
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775809",
        "123456789012345678901234567890",
        "\"\"",
        "\"\\u0000\"",
        "\"\\ud800\"",
        "\"\u{1f600}\"",
        "[]",
        "{}",
        "[null]",
        "{\"id\":null}",
        "{\"id\":\"x\"}",
        "{\"id\":{\"id\":\"x\"}}",
        "{\"data\":7}",
        "{\"data\":[7]}",
        "{\"data\":[{\"period\":[]}]}",
        "\"active\"",
    ];
    prop_oneof![
        prop::sample::select(fixed.to_vec()).prop_map(str::to_owned),
        any::<i64>().prop_map(|number| number.to_string()),
        (250_usize..260).prop_map(|length| format!("\"{}\"", "x".repeat(length))),
        (1_usize..400).prop_map(|depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth))),
        any::<String>().prop_map(|text| Value::String(text).to_string()),
    ]
}

pub(crate) fn swaps() -> impl Strategy<Value = Vec<(Index, String)>> {
    prop::collection::vec((any::<Index>(), odd()), 1..4)
}

pub(crate) fn swap(body: &str, swaps: &[(Index, String)]) -> String {
    swaps
        .iter()
        .fold(body.to_owned(), |body, (at, odd)| match paths(&body) {
            0 => body,
            count => swap_one(&body, at.index(count), odd),
        })
}

/// How many values the body has below the outermost; 0 when it is no JSON any more.
pub(crate) fn paths(body: &str) -> usize {
    serde_json::from_str(body).map_or(0, |tree: Value| count(&tree) - 1)
}

fn count(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(count).sum::<usize>(),
        Value::Object(members) => 1 + members.values().map(count).sum::<usize>(),
        _ => 1,
    }
}

/// Puts `odd` in the place of the value with that number, in the order of the text.
pub(crate) fn swap_one(body: &str, number: usize, odd: &str) -> String {
    const MARK: &str = "@@the odd value@@";
    fn place(value: &mut Value, left: &mut usize) -> bool {
        if *left == 0 {
            *value = Value::String(MARK.to_owned());
            return true;
        }
        *left -= 1;
        match value {
            Value::Array(items) => items.iter_mut().any(|item| place(item, left)),
            Value::Object(members) => members.values_mut().any(|member| place(member, left)),
            _ => false,
        }
    }
    let mut tree: Value = serde_json::from_str(body).unwrap();
    assert!(place(&mut tree, &mut (number + 1)), "there is such a value");
    tree.to_string().replacen(&format!("\"{MARK}\""), odd, 1)
}

/// Removes or repeats one line of an indented body.
pub(crate) fn line(body: &str, at: Index, remove: bool) -> String {
    let lines: Vec<&str> = body.lines().collect();
    let chosen = at.index(lines.len());
    let kept = lines.iter().enumerate().flat_map(|(index, line)| {
        let times = match (index == chosen, remove) {
            (false, _) => 1,
            (true, true) => 0,
            (true, false) => 2,
        };
        std::iter::repeat_n(*line, times)
    });
    kept.collect::<Vec<_>>().join("\n")
}

/// Tokens of JSON in any order.
pub(crate) fn soup() -> impl Strategy<Value = String> {
    let tokens = [
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\"id\"",
        "\"object\"",
        "\"invoice\"",
        "\"subscription\"",
        "\"created\"",
        "1",
        "-",
        "1e5",
        "null",
        "true",
        "false",
        "\\u00",
        "\\",
        " ",
        "\n",
        "\u{feff}",
        "\"data\":",
        "\"object\":\"invoice\"",
    ];
    prop::collection::vec(prop::sample::select(tokens.to_vec()), 0..60).prop_map(|tokens| tokens.concat())
}
