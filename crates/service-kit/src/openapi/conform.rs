//! Whether an answer is what the document says, for tests: a document that nobody holds against answers is a story.

use serde_json::{Map, Value};

/// Holds the body of an answer against the document. `path` is what was asked for, such as `/api/clients/c1?limit=2`.
///
/// # Errors
/// What the document does not say, and where.
pub fn check_answer(document: &Value, verb: &str, path: &str, status: u16, body: &Value) -> Result<(), String> {
    let Some(operation) = find_operation(document, verb, path) else {
        return Err(format!("{verb} {path} is not documented"));
    };
    let content = operation.pointer(&format!("/responses/{status}/content"));
    let mut schemas = content.and_then(Value::as_object).into_iter().flat_map(Map::values);
    let Some(media) = schemas.next() else {
        return Err(format!("{verb} {path} has no documented body for {status}"));
    };
    check(document, &media["schema"], body, "body")
}

/// The operation whose path fits; of several the one with the fewest names in it, as the server has it.
fn find_operation<'d>(document: &'d Value, verb: &str, path: &str) -> Option<&'d Value> {
    let path = path.split('?').next().unwrap_or_default();
    let fits = |template: &str| {
        let (mut asked, mut told) = (path.split('/'), template.split('/'));
        loop {
            match (asked.next(), told.next()) {
                (None, None) => return true,
                (Some(asked), Some(told)) if asked == told || told.starts_with('{') => {}
                _ => return false,
            }
        }
    };
    let paths = document["paths"].as_object()?.iter();
    let fitting = paths.filter(|(template, _)| fits(template));
    let (_, verbs) = fitting.min_by_key(|(template, _)| template.matches('{').count())?;
    verbs.get(verb.to_lowercase())
}

fn check(document: &Value, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    if let Some(place) = schema["$ref"].as_str() {
        let target = document.pointer(place.trim_start_matches('#'));
        return check(
            document,
            target.ok_or_else(|| format!("{place} is not there"))?,
            value,
            at,
        );
    }
    if let Some(all) = schema["allOf"].as_array() {
        return all.iter().try_for_each(|one| check(document, one, value, at));
    }
    if let Some(any) = schema["oneOf"].as_array() {
        let fitting = any.iter().filter(|one| check(document, one, value, at).is_ok()).count();
        return if fitting == 1 {
            Ok(())
        } else {
            Err(format!("{at} fits {fitting} of its forms: {value}"))
        };
    }
    let is_allowed = match &schema["type"] {
        Value::Null => true,
        Value::String(word) => is_of_type(value, word),
        words => words
            .as_array()
            .into_iter()
            .flatten()
            .any(|word| is_of_type(value, word.as_str().unwrap_or_default())),
    };
    if !is_allowed {
        return Err(format!("{at} is {value}, not {}", schema["type"]));
    }
    if let Some(words) = schema["enum"].as_array()
        && !words.contains(value)
    {
        return Err(format!("{at} is {value}, which is not among {}", schema["enum"]));
    }
    match value {
        Value::Object(fields) => check_object(document, schema, fields, at),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .try_for_each(|(place, item)| check(document, &schema["items"], item, &format!("{at}.{place}"))),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}

fn check_object(document: &Value, schema: &Value, fields: &Map<String, Value>, at: &str) -> Result<(), String> {
    for name in schema["required"].as_array().into_iter().flatten() {
        let name = name.as_str().unwrap_or_default();
        if !fields.contains_key(name) {
            return Err(format!("{at}.{name} is missing"));
        }
    }
    for (name, value) in fields {
        let property = schema.get("properties").and_then(|properties| properties.get(name));
        if let Some(property) = property {
            check(document, property, value, &format!("{at}.{name}"))?;
            continue;
        }
        match &schema["additionalProperties"] {
            Value::Bool(false) => return Err(format!("{at}.{name} is not documented")),
            other => check(document, other, value, &format!("{at}.{name}"))?,
        }
    }
    Ok(())
}

fn is_of_type(value: &Value, word: &str) -> bool {
    match value {
        Value::Null => word == "null",
        Value::Bool(_) => word == "boolean",
        Value::Number(number) => word == "number" || (word == "integer" && (number.is_i64() || number.is_u64())),
        Value::String(_) => word == "string",
        Value::Array(_) => word == "array",
        Value::Object(_) => word == "object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_answer_that_the_document_does_not_tell_is_found() {
        let document = json!({
            "paths": {"/{name}": {"put": {}}, "/x": {"get": {"responses": {"200": {"content": {"application/json": {
                "schema": {"$ref": "#/components/schemas/X"}}}}}}}},
            "components": {"schemas": {"X": {
                "type": "object", "additionalProperties": false, "required": ["a"],
                "properties": {"a": {"type": ["integer", "null"]}, "b": {"type": "string", "enum": ["on", "off"]},
                               "c": {"type": "object", "additionalProperties": {"type": "string"}}},
            }}},
        });
        let cases = [
            (json!({"a": 1}), Ok(())),
            (json!({"a": null, "b": "on"}), Ok(())),
            (json!({"b": "on"}), Err("body.a is missing")),
            (json!({"a": "1"}), Err("body.a is \"1\", not [\"integer\",\"null\"]")),
            (json!({"a": 1, "d": 1}), Err("body.d is not documented")),
            (
                json!({"a": 1, "b": "of"}),
                Err("body.b is \"of\", which is not among [\"on\",\"off\"]"),
            ),
            (json!({"a": 1, "c": {"x": "y"}}), Ok(())),
            (json!({"a": 1, "c": {"x": 1}}), Err("body.c.x is 1, not \"string\"")),
            (json!([]), Err("body is [], not \"object\"")),
        ];
        for (body, expect) in cases {
            let found = check_answer(&document, "GET", "/x", 200, &body);
            assert_eq!(found, expect.map_err(str::to_owned), "{body}");
        }
        assert!(check_answer(&document, "GET", "/x?y=1", 200, &json!({"a": 1})).is_ok());
        assert!(check_answer(&document, "PUT", "/x", 200, &json!({})).is_err());
        assert!(check_answer(&document, "GET", "/x", 201, &json!({})).is_err());
    }
}
