//! Finding the members of an object, and the items of a list, in text that is known to be JSON.
//!
//! The whole body is checked once, where an event or an answer is taken in; a [`RawValue`](serde_json::value::RawValue) is the
//! proof of it. Below that nothing is checked again: a value ends where its text or its brackets do. On anything that is no JSON
//! after all the answer is none, never a panic; nesting, however deep, uses no stack.

use std::borrow::Cow;

use memchr::memchr2;

/// A member's name, and its value as it stands.
pub(super) type Member<'a> = (Cow<'a, str>, &'a str);

/// The members of an object in their order; none where it is no object, or a name has half a surrogate pair.
pub(super) fn members(object: &str) -> Option<Vec<Member<'_>>> {
    let mut rest = Rest { text: object, at: 0 };
    let mut members = Vec::with_capacity(24);
    rest.take(b'{')?;
    if rest.take(b'}').is_some() {
        return Some(members);
    }
    loop {
        let name = name(rest.value()?)?;
        rest.take(b':')?;
        members.push((name, rest.value()?));
        if rest.take(b',').is_none() {
            rest.take(b'}')?;
            return Some(members);
        }
    }
}

/// The items of a list as they stand; none where it is no list.
pub(super) fn items(list: &str) -> Option<Vec<&str>> {
    let mut rest = Rest { text: list, at: 0 };
    let mut items = Vec::new();
    rest.take(b'[')?;
    if rest.take(b']').is_some() {
        return Some(items);
    }
    loop {
        items.push(rest.value()?);
        if rest.take(b',').is_none() {
            rest.take(b']')?;
            return Some(items);
        }
    }
}

/// The text between the quotes, where it means what it says: without escapes. A text that is JSON has no U+0000 outside of them.
pub(super) fn plain_text(value: &str) -> Option<&str> {
    let text = value.strip_prefix('"')?.strip_suffix('"')?;
    memchr::memchr(b'\\', text.as_bytes()).is_none().then_some(text)
}

fn name(quoted: &str) -> Option<Cow<'_, str>> {
    match plain_text(quoted) {
        Some(name) => Some(Cow::Borrowed(name)),
        None => serde_json::from_str(quoted).map(Cow::Owned).ok(),
    }
}

/// What has not been looked at yet.
struct Rest<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Rest<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Bodies are indented: a third of them is blanks, most of them in a row.
    fn skip_blanks(&mut self) {
        const INDENT: &[u8; 8] = b"        ";
        loop {
            let ahead = self.text.as_bytes().get(self.at..self.at + INDENT.len());
            if ahead.is_some_and(|ahead| ahead == INDENT) {
                self.at += INDENT.len();
            } else if matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
                self.at += 1;
            } else {
                return;
            }
        }
    }

    /// Takes one sign that stands next.
    fn take(&mut self, sign: u8) -> Option<()> {
        self.skip_blanks();
        (self.peek()? == sign).then(|| self.at += 1)
    }

    /// Takes a value, and gives it without the blanks around it.
    fn value(&mut self) -> Option<&'a str> {
        self.skip_blanks();
        let begin = self.at;
        match self.peek()? {
            b'"' => self.pass_text()?,
            b'{' | b'[' => self.pass_nested()?,
            _ => {
                while !matches!(
                    self.peek(),
                    None | Some(b',' | b'}' | b']' | b':' | b' ' | b'\n' | b'\r' | b'\t')
                ) {
                    self.at += 1;
                }
            }
        }
        self.text.get(begin..self.at).filter(|value| !value.is_empty())
    }

    /// From the opening quote to after the closing one.
    fn pass_text(&mut self) -> Option<()> {
        self.at += 1;
        loop {
            let rest = self.text.as_bytes().get(self.at..)?;
            let found = memchr2(b'"', b'\\', rest)?;
            let is_end = rest.get(found) == Some(&b'"');
            // After a backslash one more byte belongs to the escape; it may be a quote.
            self.at += found + if is_end { 1 } else { 2 };
            if is_end {
                return Some(());
            }
        }
    }

    /// From an opening bracket to after its closing one.
    fn pass_nested(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            match self.peek()? {
                b'"' => {
                    self.pass_text()?;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth = depth.checked_sub(1)?,
                b'\n' => {
                    self.skip_blanks();
                    continue;
                }
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return Some(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde_json::value::RawValue;

    use super::*;

    #[test]
    fn values_are_given_as_they_stand() {
        let object = " { \"a\" : 1.50e3 ,\"b\\u0041\":\"x\\\"}\" , \"c\":[ {\"]\":[]} , null ] ,\"d\":{},\"\":true} ";
        let found = members(object).unwrap();
        let found: Vec<(&str, &str)> = found.iter().map(|(name, value)| (name.as_ref(), *value)).collect();
        let list = "[ {\"]\":[]} , null ]";
        assert_eq!(
            found,
            [
                ("a", "1.50e3"),
                ("bA", "\"x\\\"}\""),
                ("c", list),
                ("d", "{}"),
                ("", "true")
            ]
        );
        assert_eq!(items(list).unwrap(), ["{\"]\":[]}", "null"]);
        assert_eq!(items(" [ ] ").unwrap(), Vec::<&str>::new());
        assert_eq!(members("{\n}").unwrap(), Vec::new());
    }

    #[test]
    fn what_is_no_json_is_none_and_no_panic() {
        for text in [
            "",
            "{",
            "}",
            "[",
            "{\"",
            "{\"a",
            "{\"a\"",
            "{\"a\":",
            "{\"a\":1",
            "{\"a\":[",
            "{\"a\":\"\\",
            "{\"a\":,}",
            "{:1}",
            "{\"\\ud800\":1}",
            "\u{e9}",
            "{\"a\":}]",
        ] {
            assert!(members(text).is_none(), "{text}");
        }
        assert!(items("[1,").is_none());
        assert!(items("[,]").is_none());
    }

    #[test]
    fn deep_nesting_uses_no_stack() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(500_000), "]".repeat(500_000));
        assert_eq!(members(&deep).unwrap().len(), 1);
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<f64>().prop_map(Into::into),
            any::<String>().prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 64, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
                prop::collection::vec((any::<String>(), inner), 0..6)
                    .prop_map(|members| members.into_iter().collect::<serde_json::Map<_, _>>().into()),
            ]
        })
    }

    proptest! {
        /// serde_json, which checks everything again, is the oracle.
        #[test]
        fn finds_what_a_checking_reader_finds(value in json(), pretty: bool) {
            let text = if pretty { format!("{value:#}") } else { value.to_string() };
            let checked = serde_json::from_str::<BTreeMap<String, &RawValue>>(&text).ok();
            let found = members(&text).map(|members| {
                members.into_iter().map(|(name, value)| (name.into_owned(), value)).collect::<BTreeMap<_, _>>()
            });
            prop_assert_eq!(found, checked.map(|all| all.into_iter().map(|(name, raw)| (name, raw.get())).collect()));
            let checked = serde_json::from_str::<Vec<&RawValue>>(&text).ok();
            prop_assert_eq!(items(&text), checked.map(|all| all.into_iter().map(RawValue::get).collect()));
        }
    }
}
