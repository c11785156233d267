//! Lists: newest first, by cursor.

use serde_json::Value;

use super::Call;
use crate::error::{ApiError, ApiResult};
use crate::render;

/// A window of a list.
#[derive(Debug)]
pub(super) struct Page {
    limit: usize,
    starting_after: Option<String>,
    ending_before: Option<String>,
    created: Created,
}

#[derive(Debug, Default)]
struct Created {
    gt: Option<i64>,
    gte: Option<i64>,
    lt: Option<i64>,
    lte: Option<i64>,
}

impl Page {
    pub(super) fn read(call: &Call) -> ApiResult<Self> {
        let limit = call.params.int("limit")?.unwrap_or(10);
        let limit = usize::try_from(limit).ok().filter(|limit| (1..=100).contains(limit));
        let limit = limit.ok_or_else(|| {
            ApiError::invalid(
                "limit",
                "parameter_invalid_integer",
                "This value must be between 1 and 100.",
            )
        })?;
        let created = match call.params.child("created") {
            Some(range) => Created {
                gt: range.int("gt")?,
                gte: range.int("gte")?,
                lt: range.int("lt")?,
                lte: range.int("lte")?,
            },
            None => {
                let at = call.params.int("created")?;
                Created {
                    gte: at,
                    lte: at,
                    ..Created::default()
                }
            }
        };
        let page = Self {
            limit,
            starting_after: call.params.some("starting_after")?,
            ending_before: call.params.some("ending_before")?,
            created,
        };
        if page.starting_after.is_some() && page.ending_before.is_some() {
            return Err(ApiError::invalid(
                "ending_before",
                "",
                "You may only specify one of these parameters: ending_before, starting_after.",
            ));
        }
        Ok(page)
    }

    fn fits(&self, created: i64) -> bool {
        let range = &self.created;
        range.gt.is_none_or(|limit| created > limit)
            && range.gte.is_none_or(|limit| created >= limit)
            && range.lt.is_none_or(|limit| created < limit)
            && range.lte.is_none_or(|limit| created <= limit)
    }

    /// The window's objects out of all, which are given oldest first with id and time.
    pub(super) fn of<'a, T: 'a>(
        &self,
        call: &Call,
        all: impl DoubleEndedIterator<Item = (&'a str, &'a T)>,
        created: impl Fn(&T) -> i64,
        filter: impl Fn(&T) -> bool,
        show: impl Fn(&T) -> Value,
    ) -> ApiResult<Value> {
        let all: Vec<(&str, &T)> = all.collect();
        let place = |id: &Option<String>| match id {
            None => Ok(None),
            Some(id) => all
                .iter()
                .rposition(|(one, _)| one == id)
                .map(Some)
                .ok_or_else(|| ApiError::missing("object", id, "starting_after")),
        };
        let (before, after) = (place(&self.starting_after)?, place(&self.ending_before)?);
        let fits = |one: &&(&str, &T)| self.fits(created(one.1)) && filter(one.1);
        let window = all
            .get(after.map_or(0, |at| at + 1)..before.unwrap_or(all.len()))
            .unwrap_or_default();
        let mut found: Vec<Value> = Vec::new();
        let mut has_more = false;
        let mut take = |one: &(&str, &T)| {
            if found.len() < self.limit {
                found.push(show(one.1));
                true
            } else {
                has_more = true;
                false
            }
        };
        if after.is_some() {
            window.iter().filter(fits).all(&mut take);
            found.reverse();
        } else {
            window.iter().rev().filter(fits).all(take);
        }
        Ok(render::list(&call.path, found, has_more))
    }
}
