//! The fields of a request that cannot be used, told in one answer: 400 `field_invalid`.
//!
//! `field` and `detail` are of the first, in the order in which fields are looked at; `errors` has all of them, each with its message.

use std::fmt::Display;

use serde_json::{Map, Value};

use crate::problem::Problem;

/// More are not told: an answer is not to grow with whatever was sent.
const MOST: usize = 100;

/// A field, and why it cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    field: String,
    detail: String,
}

impl FieldError {
    /// `why` is a sentence without its full stop.
    pub fn new(field: impl Into<String>, why: impl Display) -> Self {
        Self {
            field: field.into(),
            detail: format!("{why}."),
        }
    }
}

/// Alone.
impl From<FieldError> for Problem {
    fn from(error: FieldError) -> Self {
        let errors = Map::from_iter([(error.field.clone(), Value::from(error.detail.as_str()))]);
        Self::bad_request("field_invalid", error.detail)
            .with("field", error.field)
            .with("errors", errors)
    }
}

/// What is wrong with a body, as far as it was read.
#[derive(Debug, Default)]
pub struct FieldErrors {
    errors: Vec<FieldError>,
}

impl Extend<FieldError> for FieldErrors {
    fn extend<T: IntoIterator<Item = FieldError>>(&mut self, errors: T) {
        let left = MOST.saturating_sub(self.errors.len());
        self.errors.extend(errors.into_iter().take(left));
    }
}

impl FieldErrors {
    /// What was read, or `None` with its error noted.
    pub fn take<T>(&mut self, read: Result<T, FieldError>) -> Option<T> {
        read.map_err(|error| self.extend([error])).ok()
    }

    /// The whole, if nothing was wrong with any field.
    ///
    /// # Errors
    /// 400 with every field that was noted; of one that was noted twice the first message.
    pub fn finish<T>(self, whole: Option<T>) -> Result<T, Problem> {
        let Some(first) = self.errors.first().cloned() else {
            return whole.ok_or_else(Problem::internal);
        };
        let mut errors = Map::new();
        for error in self.errors {
            errors.entry(error.field).or_insert(Value::from(error.detail));
        }
        Err(Problem::bad_request("field_invalid", first.detail)
            .with("field", first.field)
            .with("errors", errors))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_first_speaks_and_all_are_told_once() {
        let mut wrong = FieldErrors::default();
        assert_eq!(wrong.take(Ok(1)), Some(1));
        for (field, why) in [("b", "b is missing"), ("a", "a is no text"), ("b", "b is odd")] {
            assert_eq!(wrong.take::<()>(Err(FieldError::new(field, why))), None);
        }
        let problem = wrong.finish(Some(())).unwrap_err();
        assert_eq!((problem.status, problem.code), (400, "field_invalid"));
        assert_eq!(problem.detail, "b is missing.");
        assert_eq!(
            problem.extensions,
            [
                ("field".to_owned(), json!("b")),
                ("errors".to_owned(), json!({"b": "b is missing.", "a": "a is no text."})),
            ]
        );
        let alone = Problem::from(FieldError::new("a", "a is odd"));
        assert_eq!(alone.extensions[1], ("errors".to_owned(), json!({"a": "a is odd."})));
    }

    #[test]
    fn nothing_wrong_is_the_whole_and_an_answer_has_an_end() {
        assert_eq!(FieldErrors::default().finish(Some(1)), Ok(1));
        let mut wrong = FieldErrors::default();
        wrong.extend((0..1_000).map(|n| FieldError::new(format!("f{n}"), "odd")));
        let problem = wrong.finish::<()>(None).unwrap_err();
        assert_eq!(problem.extensions[1].1.as_object().map(Map::len), Some(MOST));
    }
}
