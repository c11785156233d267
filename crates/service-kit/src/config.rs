//! Configuration from the environment, read in one place and judged as a whole.
//!
//! Protocol: a service describes what it reads as a function from [`Reader`] to `Option<Config>`. Each getter notes a
//! [`Problem`] and gives `None` when a value is missing or wrong, and the function goes on to the next one, so that
//! [`load`] can list every problem at once. A binary calls [`Problems::report`] and leaves with [`EXIT_CONFIG`] before it
//! opens a port. A problem names the variable, what is wrong and what is expected; it never repeats a secret's value.
//!
//! The values come through [`Source`], a map: tests give a `BTreeMap`, only [`ProcessEnv`] looks at the process.
//!
//! ```
//! use service_kit::config::{self, Reader, shape};
//! # use std::collections::BTreeMap;
//! struct Config { listen: std::net::SocketAddr, database_url: String }
//! fn read(r: &mut Reader<'_>) -> Option<Config> {
//!     let listen = r.or("HOLDFAST_LISTEN", "0.0.0.0:8080", shape::socket_addr());
//!     let database_url = r.required("DATABASE_URL", shape::url(&["postgres", "postgresql"]));
//!     Some(Config { listen: listen?, database_url: database_url? })
//! }
//! let empty = BTreeMap::new();
//! let problems = config::load(&empty, read).err().unwrap();
//! assert!(problems.to_string().contains("DATABASE_URL"));
//! ```

pub mod shape;
pub mod stripe;
pub mod token_keys;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::process::ExitCode;

pub use shape::Shape;
pub use stripe::StripeApi;
pub use token_keys::TokenKeys;

/// The exit code of a start that was refused because of its configuration (`EX_CONFIG` of sysexits).
pub const EXIT_CONFIG: u8 = 78;

/// Where values come from: a map from a variable's name to its text.
pub trait Source {
    /// The text of a variable, or `None` when it is not set.
    fn get(&self, name: &str) -> Option<String>;
}

/// The environment of this process. Text that is not UTF-8 comes with replacement characters, which the reader refuses.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProcessEnv;

impl Source for ProcessEnv {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the environment"
    )]
    fn get(&self, name: &str) -> Option<String> {
        std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
    }
}

impl Source for BTreeMap<String, String> {
    fn get(&self, name: &str) -> Option<String> {
        BTreeMap::get(self, name).cloned()
    }
}

impl Source for HashMap<String, String> {
    fn get(&self, name: &str) -> Option<String> {
        HashMap::get(self, name).cloned()
    }
}

/// One thing that is wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The variable's name.
    pub variable: String,
    /// What is wrong; never a secret's value.
    pub wrong: String,
    /// What would be right.
    pub expected: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}; expected {}", self.variable, self.wrong, self.expected)
    }
}

/// Every problem of one configuration, in the order in which the variables are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// Writes the list to stderr and gives the exit code to leave with.
    #[must_use]
    pub fn report(&self) -> ExitCode {
        eprintln!("{self}");
        ExitCode::from(EXIT_CONFIG)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let noun = if self.0.len() == 1 { "problem" } else { "problems" };
        write!(f, "the configuration has {} {noun}:", self.0.len())?;
        for problem in &self.0 {
            write!(f, "\n  - {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Reads variables and collects what is wrong with them.
pub struct Reader<'a> {
    source: &'a dyn Source,
    problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    /// A reader without problems so far.
    #[must_use]
    pub fn new(source: &'a dyn Source) -> Self {
        Self {
            source,
            problems: Vec::new(),
        }
    }

    /// A value that must be there.
    pub fn required<T>(&mut self, name: &str, shape: Shape<T>) -> Option<T> {
        match self.source.get(name) {
            None => self.refuse(name, "is missing", &shape.expected),
            Some(text) if text.trim().is_empty() => self.refuse(name, "is set but empty", &shape.expected),
            Some(text) => self.parse(name, &text, &shape),
        }
    }

    /// A value that may be absent; an empty one counts as absent. The outer `None` is a problem, the inner one absence.
    pub fn optional<T>(&mut self, name: &str, shape: Shape<T>) -> Option<Option<T>> {
        match self.set(name) {
            None => Some(None),
            Some(text) => self.parse(name, &text, &shape).map(Some),
        }
    }

    /// A value with a default, given as the text that one would set.
    pub fn or<T>(&mut self, name: &str, default: &str, shape: Shape<T>) -> Option<T> {
        let text = self.set(name).unwrap_or_else(|| default.to_owned());
        self.parse(name, &text, &shape)
    }

    /// Whether a variable is set to something.
    #[must_use]
    pub fn is_set(&self, name: &str) -> bool {
        self.set(name).is_some()
    }

    /// Notes a problem that spans variables. Gives `None`, so that it can end a getter.
    pub fn refuse<T>(&mut self, name: &str, wrong: impl Into<String>, expected: &str) -> Option<T> {
        let problem = Problem {
            variable: name.to_owned(),
            wrong: wrong.into(),
            expected: expected.to_owned(),
        };
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
        None
    }

    fn set(&self, name: &str) -> Option<String> {
        self.source.get(name).filter(|text| !text.trim().is_empty())
    }

    fn parse<T>(&mut self, name: &str, text: &str, shape: &Shape<T>) -> Option<T> {
        if text.contains(['\u{fffd}', '\0']) {
            return self.refuse(name, "is not UTF-8 text", &shape.expected);
        }
        match shape.read(text) {
            Ok(value) => Some(value),
            Err(wrong) => self.refuse(name, wrong, &shape.expected),
        }
    }
}

/// Reads a whole configuration: the value, or every problem with it.
///
/// # Errors
/// [`Problems`] when any getter noted one.
pub fn load<T>(source: &dyn Source, read: impl FnOnce(&mut Reader<'_>) -> Option<T>) -> Result<T, Problems> {
    let mut reader = Reader::new(source);
    match read(&mut reader) {
        Some(value) if reader.problems.is_empty() => Ok(value),
        None if reader.problems.is_empty() => Err(Problems(vec![Problem {
            variable: "the configuration".to_owned(),
            wrong: "was refused without a reason".to_owned(),
            expected: "a reason".to_owned(),
        }])),
        _ => Err(Problems(reader.problems)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn source(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    fn problems_of<T>(pairs: &[(&str, &str)], read: impl FnOnce(&mut Reader<'_>) -> Option<T>) -> Vec<String> {
        match load(&source(pairs), read) {
            Ok(_) => Vec::new(),
            Err(problems) => problems.0.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn every_problem_is_reported_at_once_and_in_order() {
        let found = problems_of(&[("PORT", "eighty"), ("EMPTY", " ")], |r| {
            let a = r.required("MISSING", shape::text());
            let b = r.required("EMPTY", shape::text());
            let c = r.or("PORT", "1", shape::integer(1..=65535));
            Some((a?, b?, c?))
        });
        assert_eq!(
            found,
            [
                "MISSING is missing; expected some text",
                "EMPTY is set but empty; expected some text",
                "PORT is not a whole number; expected a whole number from 1 to 65535",
            ]
        );
    }

    #[test]
    fn a_problem_that_two_services_see_is_listed_once() {
        let found = problems_of(&[], |r| {
            let a = r.required("DATABASE_URL", shape::text());
            let b = r.required("DATABASE_URL", shape::text());
            Some((a?, b?))
        });
        assert_eq!(found.len(), 1);
    }

    #[test]
    fn an_optional_value_may_be_absent_or_empty_but_not_wrong() {
        let read = |pairs: &[(&str, &str)]| load(&source(pairs), |r| r.optional("D", shape::seconds(1..=10)));
        assert_eq!(read(&[]).unwrap(), None);
        assert_eq!(read(&[("D", "")]).unwrap(), None);
        assert_eq!(read(&[("D", "7")]).unwrap(), Some(Duration::from_secs(7)));
        assert!(read(&[("D", "11")]).is_err());
    }

    #[test]
    fn text_that_is_not_utf8_is_refused() {
        let found = problems_of(&[("S", "whsec_\u{fffd}")], |r| r.required("S", shape::text()));
        assert_eq!(found, ["S is not UTF-8 text; expected some text"]);
    }

    #[test]
    fn a_refusal_without_a_reason_is_still_a_refusal() {
        assert!(load(&source(&[]), |_| None::<()>).is_err());
    }

    #[test]
    fn the_report_counts_and_lists() {
        let problems = load(&source(&[]), |r| r.required("X", shape::text())).unwrap_err();
        assert_eq!(
            problems.to_string(),
            "the configuration has 1 problem:\n  - X is missing; expected some text"
        );
    }
}
