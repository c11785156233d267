//! Schemas of bodies, as far as our routes need JSON Schema 2020-12.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// What a JSON value looks like, together with the named schemas that it refers to.
#[derive(Debug, Clone)]
pub struct Schema {
    pub(super) value: Value,
    pub(super) named: BTreeMap<&'static str, Value>,
}

/// Whether a field is always there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// Always.
    Always,
    /// It may be left out.
    Maybe,
}

impl Schema {
    fn plain(value: Value) -> Self {
        Self {
            value,
            named: BTreeMap::new(),
        }
    }

    /// A text.
    #[must_use]
    pub fn text() -> Self {
        Self::plain(json!({"type": "string"}))
    }

    /// A whole number of at most 64 bits.
    #[must_use]
    pub fn integer() -> Self {
        Self::plain(json!({"type": "integer", "format": "int64"}))
    }

    /// `true` or `false`.
    #[must_use]
    pub fn boolean() -> Self {
        Self::plain(json!({"type": "boolean"}))
    }

    /// A time by RFC 3339.
    #[must_use]
    pub fn time() -> Self {
        Self::plain(json!({"type": "string", "format": "date-time"}))
    }

    /// A UUID.
    #[must_use]
    pub fn uuid() -> Self {
        Self::plain(json!({"type": "string", "format": "uuid"}))
    }

    /// One word out of a fixed list.
    #[must_use]
    pub fn one_of(words: &[&str]) -> Self {
        Self::plain(json!({"type": "string", "enum": words}))
    }

    /// An object whose fields depend on its subject.
    #[must_use]
    pub fn any_object() -> Self {
        Self::plain(json!({"type": "object"}))
    }

    /// A list.
    #[must_use]
    pub fn list(of: Self) -> Self {
        Self {
            value: json!({"type": "array", "items": of.value}),
            named: of.named,
        }
    }

    /// One of several.
    #[must_use]
    pub fn either(of: impl IntoIterator<Item = Self>) -> Self {
        let (mut values, mut named) = (Vec::new(), BTreeMap::new());
        for schema in of {
            values.push(schema.value);
            named.extend(schema.named);
        }
        Self {
            value: json!({"oneOf": values}),
            named,
        }
    }

    /// An object with these fields and no others.
    #[must_use]
    pub fn object(fields: impl IntoIterator<Item = (&'static str, Field, Self)>) -> Self {
        let (mut properties, mut required, mut named) = (Map::new(), Vec::new(), BTreeMap::new());
        for (name, field, schema) in fields {
            if field == Field::Always {
                required.push(name);
            }
            properties.insert(name.to_owned(), schema.value);
            named.extend(schema.named);
        }
        Self {
            value: json!({
                "type": "object",
                "properties": properties,
                "required": required,
                "additionalProperties": false,
            }),
            named,
        }
    }

    /// The same schema, kept once in the document under a name.
    #[must_use]
    pub fn named(self, name: &'static str) -> Self {
        let mut named = self.named;
        named.insert(name, self.value);
        Self {
            value: json!({"$ref": format!("#/components/schemas/{name}")}),
            named,
        }
    }

    /// The same, or `null`.
    #[must_use]
    pub fn or_null(mut self) -> Self {
        let word = self.value.get("type").and_then(Value::as_str).map(str::to_owned);
        match (word, self.value.as_object_mut()) {
            (Some(word), Some(fields)) => {
                fields.insert("type".to_owned(), json!([word, "null"]));
                if let Some(Value::Array(words)) = fields.get_mut("enum") {
                    words.push(Value::Null);
                }
                self
            }
            _ => Self {
                value: json!({"oneOf": [self.value, {"type": "null"}]}),
                named: self.named,
            },
        }
    }

    /// The same with words for people.
    #[must_use]
    pub fn note(self, words: &str) -> Self {
        self.with("description", json!(words))
    }

    /// The same with a further keyword.
    #[must_use]
    pub fn with(mut self, keyword: &str, value: Value) -> Self {
        if let Some(fields) = self.value.as_object_mut() {
            fields.insert(keyword.to_owned(), value);
        }
        self
    }
}
