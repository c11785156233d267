//! Reading members of a JSON object one by one, with errors that name the path in words.
//!
//! An [`Object`] is a list of borrowed slices: its members are found in one pass ([`super::split`]) and their values are not parsed
//! until they are asked for, so that a field nobody needs can hold anything (a new shape in a future API version, a huge number, deep
//! nesting) without doing harm. `null` and absent are the same, except where [`Object::change`] tells them apart.

use serde_json::value::RawValue;

use super::split::{self, Member};
use super::{Problem, ViewError};

/// The longest id; what the database's columns are made for.
const MAX_ID_BYTES: usize = 255;

/// What an object held before, in `previous_attributes`: only what changed is there, and it may have been null.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Change<T> {
    /// Not mentioned: it did not change.
    #[default]
    Absent,
    /// It was null, or (for a key of the metadata) not there.
    Null,
    /// It was this.
    Value(T),
}

impl<T> Change<T> {
    /// Whether it changed at all.
    #[must_use]
    pub const fn is_present(&self) -> bool {
        !matches!(self, Self::Absent)
    }
}

/// The members of one JSON object, unparsed.
pub(super) struct Object<'a> {
    path: String,
    members: Vec<Member<'a>>,
}

impl<'a> Object<'a> {
    /// Lists the members of an object; `path` is what errors call it.
    pub(super) fn parse(raw: &'a RawValue, path: &str) -> Result<Self, ViewError> {
        Self::split(raw.get(), path.to_owned())
    }

    /// The same for a value within what was checked.
    fn split(json: &'a str, path: String) -> Result<Self, ViewError> {
        match split::members(json) {
            Some(members) => Ok(Self { path, members }),
            None => Err(ViewError::Field {
                path,
                problem: Problem::NotAnObject,
            }),
        }
    }

    /// The value as it stands, `null` included.
    fn find(&self, name: &str) -> Result<Option<&'a str>, ViewError> {
        let mut found = self.members.iter().filter(|(member, _)| member == name);
        let first = found.next();
        if found.next().is_some() {
            return Err(self.error(name, Problem::Repeated));
        }
        Ok(first.map(|(_, value)| *value))
    }

    /// The value, unless it is absent or null.
    pub(super) fn value(&self, name: &str) -> Result<Option<&'a str>, ViewError> {
        Ok(self.find(name)?.filter(|value| *value != "null"))
    }

    /// Tells absent from null, and reads a value by `read`, which gets the name.
    pub(super) fn change<T>(
        &self,
        name: &str,
        read: impl FnOnce(&Self, &str) -> Result<Option<T>, ViewError>,
    ) -> Result<Change<T>, ViewError> {
        match self.find(name)? {
            None => Ok(Change::Absent),
            Some(_) => Ok(read(self, name)?.map_or(Change::Null, Change::Value)),
        }
    }

    /// Turns an absent or null value into an error.
    pub(super) fn required<T>(
        &self,
        name: &str,
        read: impl FnOnce(&Self, &str) -> Result<Option<T>, ViewError>,
    ) -> Result<T, ViewError> {
        read(self, name)?.ok_or_else(|| self.error(name, Problem::Missing))
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<String>, ViewError> {
        self.value(name)?.map(|raw| self.text_of(raw, name)).transpose()
    }

    /// A text that becomes one of a list of known words.
    pub(super) fn word<T: From<String>>(&self, name: &str) -> Result<Option<T>, ViewError> {
        Ok(self.text(name)?.map(T::from))
    }

    /// An id, be it plain or inside the object that it stands for (expanded, also when that object was deleted).
    pub(super) fn id(&self, name: &str) -> Result<Option<String>, ViewError> {
        let Some(raw) = self.value(name)? else { return Ok(None) };
        if raw.starts_with('{') {
            let expanded = Object::split(raw, self.path_of(name))?;
            return expanded.required("id", Object::plain_id).map(Some);
        }
        self.plain_id(name)
    }

    /// Does not look into objects, so that an object within an object within an object costs one step, not a stack.
    fn plain_id(&self, name: &str) -> Result<Option<String>, ViewError> {
        let Some(raw) = self.value(name)? else { return Ok(None) };
        if !raw.starts_with('"') {
            return Err(self.error(name, Problem::NotAnId));
        }
        let id = self.text_of(raw, name)?;
        if id.is_empty() || id.len() > MAX_ID_BYTES {
            return Err(self.error(name, Problem::NotAnId));
        }
        Ok(Some(id))
    }

    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, ViewError> {
        match self.value(name)? {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(_) => Err(self.error(name, Problem::NotAFlag)),
        }
    }

    /// Money in minor units.
    pub(super) fn amount(&self, name: &str) -> Result<Option<i64>, ViewError> {
        self.integer(name, Problem::NotMinorUnits)
    }

    /// A time in unix seconds.
    pub(super) fn time(&self, name: &str) -> Result<Option<i64>, ViewError> {
        self.integer(name, Problem::NotUnixSeconds)
    }

    pub(super) fn count(&self, name: &str) -> Result<Option<i64>, ViewError> {
        self.integer(name, Problem::NotAnInteger)
    }

    fn integer(&self, name: &str, otherwise: Problem) -> Result<Option<i64>, ViewError> {
        let Some(raw) = self.value(name)? else { return Ok(None) };
        let digits = raw.strip_prefix('-').unwrap_or(raw);
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(self.error(name, otherwise));
        }
        raw.parse().map(Some).map_err(|_| self.error(name, Problem::TooLarge))
    }

    pub(super) fn object(&self, name: &str) -> Result<Option<Object<'a>>, ViewError> {
        self.value(name)?
            .map(|raw| Object::split(raw, self.path_of(name)))
            .transpose()
    }

    /// The objects of a list, be it bare (`[..]`) or Stripe's list object (`{"object": "list", "data": [..]}`).
    pub(super) fn list(&self, name: &str) -> Result<Vec<Object<'a>>, ViewError> {
        match self.object_if_one(name)? {
            Some(wrapper) => wrapper.bare_list("data"),
            None => self.bare_list(name),
        }
    }

    /// The object of that name; none when it is anything else.
    pub(super) fn object_if_one(&self, name: &str) -> Result<Option<Object<'a>>, ViewError> {
        let raw = self.value(name)?.filter(|raw| raw.starts_with('{'));
        raw.map(|raw| Object::split(raw, self.path_of(name))).transpose()
    }

    fn bare_list(&self, name: &str) -> Result<Vec<Object<'a>>, ViewError> {
        let Some(raw) = self.value(name)? else {
            return Ok(Vec::new());
        };
        let path = self.path_of(name);
        let items = self.array_of(raw, name)?.into_iter().enumerate();
        items
            .map(|(index, item)| Object::split(item, format!("{path}[{index}]")))
            .collect()
    }

    /// The items of a bare list, unparsed.
    pub(super) fn raw_items(&self, name: &str) -> Result<Option<Vec<&'a RawValue>>, ViewError> {
        let Some(raw) = self.value(name)? else { return Ok(None) };
        let items = serde_json::from_str(raw).map_err(|_| self.error(name, Problem::NotAList))?;
        Ok(Some(items))
    }

    /// The texts of a bare list.
    pub(super) fn texts(&self, name: &str) -> Result<Vec<String>, ViewError> {
        let Some(raw) = self.value(name)? else {
            return Ok(Vec::new());
        };
        self.array_of(raw, name)?
            .into_iter()
            .map(|item| self.text_of(item, name))
            .collect()
    }

    /// Every name in this object whose value is a text; what [`super::Metadata`] is made of.
    pub(super) fn all_texts(&self) -> Result<Vec<(String, String)>, ViewError> {
        let mut texts = Vec::with_capacity(self.members.len());
        for (name, _) in &self.members {
            if let Some(text) = self.text(name)? {
                if name.contains('\0') {
                    return Err(self.error("(a key)", Problem::HasNul));
                }
                texts.push((name.clone().into_owned(), text));
            }
        }
        Ok(texts)
    }

    fn array_of(&self, raw: &'a str, name: &str) -> Result<Vec<&'a str>, ViewError> {
        split::items(raw).ok_or_else(|| self.error(name, Problem::NotAList))
    }

    fn text_of(&self, raw: &str, name: &str) -> Result<String, ViewError> {
        if let Some(text) = split::plain_text(raw) {
            return Ok(text.to_owned());
        }
        let text: String = serde_json::from_str(raw).map_err(|_| self.error(name, Problem::NotAText))?;
        if text.contains('\0') {
            Err(self.error(name, Problem::HasNul))
        } else {
            Ok(text)
        }
    }

    fn path_of(&self, name: &str) -> String {
        format!("{}.{name}", self.path)
    }

    fn error(&self, name: &str, problem: Problem) -> ViewError {
        ViewError::Field {
            path: self.path_of(name),
            problem,
        }
    }
}
