//! Stripe's search language, as far as finding an object again needs it: `metadata['key']:'value'` and `field:'value'`, joined by `AND`.
//! Stripe's index is up to a minute behind; this one never is.

use serde_json::{Value, json};

use super::Call;
use crate::error::{ApiError, ApiResult};
use crate::form::Params;
use crate::state::customer::Metadata;

#[derive(Debug)]
pub(super) struct Query {
    /// Key of the metadata, or a field; and the value.
    clauses: Vec<(Term, String)>,
    limit: usize,
}

#[derive(Debug)]
enum Term {
    Metadata(String),
    Field(String),
}

impl Query {
    pub(super) fn read(p: &Params) -> ApiResult<Self> {
        let text = p.required("query")?;
        let limit = p
            .int("limit")?
            .and_then(|limit| usize::try_from(limit).ok())
            .unwrap_or(10);
        p.ignore(&["page"]);
        let clauses = text.split(" AND ").map(|clause| {
            clause_of(clause.trim()).ok_or_else(|| {
                ApiError::invalid(
                    "query",
                    "",
                    format!("We were unable to parse your search query: {clause}"),
                )
            })
        });
        Ok(Self {
            clauses: clauses.collect::<ApiResult<_>>()?,
            limit: limit.clamp(1, 100),
        })
    }

    /// `field` gives the value of a field that can be searched for.
    pub(super) fn fits(&self, metadata: &Metadata, field: impl Fn(&str) -> Option<String>) -> bool {
        self.clauses.iter().all(|(term, value)| match term {
            Term::Metadata(key) => metadata.get(key) == Some(value),
            Term::Field(name) => field(name).as_ref() == Some(value),
        })
    }

    pub(super) fn page(&self, call: &Call, found: impl Iterator<Item = Value>) -> Value {
        let mut data: Vec<Value> = found.take(self.limit + 1).collect();
        let has_more = data.len() > self.limit;
        data.truncate(self.limit);
        json!({ "object": "search_result", "data": data, "has_more": has_more, "next_page": null, "url": call.path })
    }
}

fn clause_of(clause: &str) -> Option<(Term, String)> {
    let (term, value) = clause.rsplit_once(':')?;
    let value = unquote(value)?.to_owned();
    if let Some(key) = term.strip_prefix("metadata[").and_then(|rest| rest.strip_suffix(']')) {
        return Some((Term::Metadata(unquote(key)?.to_owned()), value));
    }
    let plain = !term.is_empty() && term.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    plain.then(|| (Term::Field(term.to_owned()), value))
}

fn unquote(text: &str) -> Option<&str> {
    let quoted = |mark: char| text.strip_prefix(mark).and_then(|rest| rest.strip_suffix(mark));
    quoted('\'').or_else(|| quoted('"'))
}
