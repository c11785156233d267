//! The OpenAPI 3.1 document of what a process serves, answered as `GET /openapi.json`.
//!
//! A service cannot register a route without an [`Operation`] that describes it ([`crate::http::Routes`]), and the document is
//! made of what was registered. So the two cannot drift apart: the document of `holdfast run billing` has billing's routes, and
//! the endpoint for connected accounts is in it if and only if it is served. Bodies are held against it by tests
//! ([`check_answer`]).

mod conform;
mod schema;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::problem;

pub use conform::check_answer;
pub use schema::{Field, Schema};

/// How an operation is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Reads.
    Get,
    /// Acts or adds.
    Post,
    /// Sets.
    Put,
}

impl Verb {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Post => "post",
            Self::Put => "put",
        }
    }
}

/// What a caller has to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Credential {
    /// `Authorization: Bearer` with a token.
    Token,
    /// `Authorization: Bearer` with `RECONCILE_SECRET`.
    ReconcileSecret,
    /// `Stripe-Signature` over the raw body.
    StripeSignature,
}

impl Credential {
    const fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::ReconcileSecret => "reconcileSecret",
            Self::StripeSignature => "stripeSignature",
        }
    }

    fn scheme(self) -> Value {
        match self {
            Self::Token => json!({
                "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
                "description": "Claims: sub, email, role (service or user), exp; nbf where it is there; iss and aud where \
                                AUTH_JWT_ISSUER and AUTH_JWT_AUDIENCE ask for them. Signed with AUTH_JWT_SECRET (HS256), or by a \
                                key that is published at AUTH_JWKS_URL. Roles in an \
                                organisation come from org_members, not from the token.",
            }),
            Self::ReconcileSecret => json!({
                "type": "http", "scheme": "bearer", "description": "The value of RECONCILE_SECRET, for schedulers.",
            }),
            Self::StripeSignature => json!({
                "type": "apiKey", "in": "header", "name": "Stripe-Signature",
                "description": "Stripe's signature (t=…,v1=…) over the raw body, with a secret of the endpoint.",
            }),
        }
    }
}

/// The codes of the problems that every token can meet.
const OF_CREDENTIALS: [&str; 4] = [
    "credential_missing",
    "credential_malformed",
    "credential_invalid",
    "credential_expired",
];

/// A route's description.
#[derive(Debug, Clone)]
pub struct Operation {
    verb: Verb,
    id: &'static str,
    summary: &'static str,
    callers: Option<&'static str>,
    credentials: Vec<Credential>,
    parameters: Vec<Value>,
    body: Option<Value>,
    answers: BTreeMap<u16, Value>,
    problems: BTreeMap<u16, Vec<&'static str>>,
    named: BTreeMap<&'static str, Value>,
}

impl Operation {
    /// An operation that everybody may ask for. `id` is unique in all services.
    #[must_use]
    pub fn open(verb: Verb, id: &'static str, summary: &'static str) -> Self {
        Self {
            verb,
            id,
            summary,
            callers: None,
            credentials: Vec::new(),
            parameters: Vec::new(),
            body: None,
            answers: BTreeMap::new(),
            problems: BTreeMap::new(),
            named: BTreeMap::new(),
        }
        .problem(500, &["internal_error"])
    }

    /// An operation for these callers, who show one of the credentials.
    #[must_use]
    pub fn of(
        verb: Verb,
        id: &'static str,
        summary: &'static str,
        callers: &'static str,
        credentials: &[Credential],
    ) -> Self {
        let mut operation = Self::open(verb, id, summary);
        operation.callers = Some(callers);
        operation.credentials = credentials.to_vec();
        if credentials.contains(&Credential::Token) {
            let refused = operation.problem(401, &OF_CREDENTIALS).problem(403, &["forbidden"]);
            return refused.problem(503, &["keys_unavailable"]);
        }
        operation
    }

    /// A part of the path.
    #[must_use]
    pub fn path(self, name: &'static str, schema: Schema) -> Self {
        self.parameter("path", name, true, schema)
    }

    /// An optional parameter after the question mark.
    #[must_use]
    pub fn query(self, name: &'static str, schema: Schema) -> Self {
        self.parameter("query", name, false, schema)
    }

    /// A header.
    #[must_use]
    pub fn header(self, name: &'static str, field: Field, schema: Schema) -> Self {
        self.parameter("header", name, field == Field::Always, schema)
    }

    fn parameter(mut self, place: &str, name: &str, required: bool, schema: Schema) -> Self {
        self.named.extend(schema.named);
        self.parameters
            .push(json!({"in": place, "name": name, "required": required, "schema": schema.value}));
        self
    }

    /// A body of JSON, with the refusals that go with it.
    #[must_use]
    pub fn body(mut self, field: Field, schema: Schema) -> Self {
        self.named.extend(schema.named);
        self.body = Some(json!({
            "required": field == Field::Always,
            "content": {"application/json": {"schema": schema.value}},
        }));
        self.problem(400, &["body_malformed"])
            .problem(408, &["request_timeout"])
            .problem(413, &["body_too_large"])
    }

    /// An answer with a body of JSON.
    #[must_use]
    pub fn answer(self, status: u16, words: &str, schema: Schema) -> Self {
        self.answer_as(status, words, "application/json", schema)
    }

    /// An answer with a body of another kind.
    #[must_use]
    pub fn answer_as(mut self, status: u16, words: &str, media_type: &str, schema: Schema) -> Self {
        self.named.extend(schema.named);
        let content = Map::from_iter([(media_type.to_owned(), json!({"schema": schema.value}))]);
        let headers = json!({"X-Request-Id": {"$ref": "#/components/headers/RequestId"}});
        let answer = json!({"description": words, "headers": headers, "content": content});
        self.answers.insert(status, answer);
        self
    }

    /// A header of an answer that was told before.
    #[must_use]
    pub fn answer_header(mut self, status: u16, name: &str, words: &str) -> Self {
        let headers = self
            .answers
            .get_mut(&status)
            .and_then(|answer| answer.get_mut("headers"));
        if let Some(headers) = headers.and_then(Value::as_object_mut) {
            let header = json!({"description": words, "schema": {"type": "string"}});
            headers.insert(name.to_owned(), header);
        }
        self
    }

    /// Problems that it may answer.
    #[must_use]
    pub fn problem(mut self, status: u16, codes: &[&'static str]) -> Self {
        self.problems.entry(status).or_default().extend(codes);
        self
    }

    pub(crate) const fn verb(&self) -> Verb {
        self.verb
    }

    fn describe(&self) -> Value {
        let mut responses = Map::new();
        for (status, answer) in &self.answers {
            responses.insert(status.to_string(), answer.clone());
        }
        for (status, codes) in &self.problems {
            let told = refusal(*status, codes);
            // `/readyz` tells in a problem what it tells in an answer; both are never of one status.
            responses.entry(status.to_string()).or_insert(told);
        }
        let mut parameters = self.parameters.clone();
        parameters.push(json!({"$ref": "#/components/parameters/RequestId"}));
        let mut described = Map::new();
        described.insert("operationId".to_owned(), json!(self.id));
        described.insert("summary".to_owned(), json!(self.summary));
        if let Some(callers) = self.callers {
            described.insert("description".to_owned(), json!(format!("For {callers}.")));
        }
        let credentials = self.credentials.iter().map(|of| json!({of.name(): []}));
        described.insert("security".to_owned(), credentials.collect());
        described.insert("parameters".to_owned(), json!(parameters));
        if let Some(body) = &self.body {
            described.insert("requestBody".to_owned(), body.clone());
        }
        described.insert("responses".to_owned(), Value::Object(responses));
        Value::Object(described)
    }
}

fn refusal(status: u16, codes: &[&'static str]) -> Value {
    let mut codes = codes.to_vec();
    codes.sort_unstable();
    codes.dedup();
    let request_id = json!({"$ref": "#/components/headers/RequestId"});
    let headers = if matches!(status, 429 | 503) {
        let words = "When it makes sense to ask again, in seconds.";
        let wait = json!({"description": words, "schema": {"type": "integer"}});
        json!({"X-Request-Id": request_id, "Retry-After": wait})
    } else {
        json!({"X-Request-Id": request_id})
    };
    let schema = json!({"allOf": [
        {"$ref": "#/components/schemas/Problem"},
        {"type": "object", "properties": {"code": {"type": "string", "enum": codes}}},
    ]});
    let content = Map::from_iter([(problem::MEDIA_TYPE.to_owned(), json!({"schema": schema}))]);
    json!({"description": codes.join(", "), "headers": headers, "content": content})
}

/// The document of what was registered.
#[must_use]
pub fn document(operations: &[(String, Operation)]) -> Value {
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    let mut schemas = BTreeMap::from([("Problem", problem_schema())]);
    let mut credentials = BTreeMap::new();
    for (path, operation) in operations {
        let verbs = paths.entry(path).or_default();
        verbs.insert(operation.verb.as_str().to_owned(), operation.describe());
        schemas.extend(operation.named.clone());
        credentials.extend(operation.credentials.iter().map(|of| (of.name(), of.scheme())));
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Holdfast",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The routes that this process serves. Errors are RFC 9457 problems with a stable code.",
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": credentials,
            "parameters": {"RequestId": {
                "in": "header", "name": "X-Request-Id", "required": false,
                "description": "1 to 128 letters, digits and -_.: are taken over; anything else is replaced.",
                "schema": {"type": "string"},
            }},
            "headers": {"RequestId": {
                "description": "The id of the request, in the logs and in every problem.", "schema": {"type": "string"},
            }},
        },
    })
}

fn problem_schema() -> Value {
    let text = json!({"type": "string"});
    json!({
        "type": "object",
        "description": "An error by RFC 9457. Further members say more, such as reason or missing.",
        "required": ["type", "title", "status", "code", "detail", "request_id"],
        "properties": {
            "type": text, "title": text, "status": {"type": "integer"}, "detail": text, "request_id": text,
            "code": {"type": "string", "description": "The stable name of the problem; decide by it."},
            "field": {"type": "string", "description": "Of field_invalid: the first field that cannot be used; detail is about it."},
            "errors": {
                "type": "object", "additionalProperties": text,
                "description": "Of field_invalid: every field that cannot be used, as far as they could be looked at, with its message.",
            },
        },
    })
}

/// One document out of those of several processes: the paths and components of all.
#[must_use]
pub fn merge(documents: impl IntoIterator<Item = Value>) -> Option<Value> {
    documents.into_iter().reduce(|mut whole, next| {
        add(&mut whole, next);
        whole
    })
}

/// Adds what is not there yet; what is there stays.
fn add(whole: &mut Value, next: Value) {
    let (Value::Object(whole), Value::Object(next)) = (whole, next) else {
        return;
    };
    for (name, value) in next {
        match whole.get_mut(&name) {
            Some(there) => add(there, value),
            None => drop(whole.insert(name, value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operations() -> Vec<(String, Operation)> {
        let thing = Schema::object([("id", Field::Always, Schema::text())]).named("Thing");
        let get = Operation::of(
            Verb::Get,
            "getThing",
            "Shows a thing.",
            "a service",
            &[Credential::Token],
        )
        .path("id", Schema::text())
        .answer(200, "The thing.", thing)
        .problem(404, &["not_found"]);
        let hook = Operation::of(
            Verb::Post,
            "hook",
            "Takes an event.",
            "Stripe",
            &[Credential::StripeSignature],
        )
        .body(Field::Always, Schema::any_object());
        vec![("/things/{id}".to_owned(), get), ("/hook".to_owned(), hook)]
    }

    #[test]
    fn a_document_has_what_was_registered_and_refers_to_nothing_else() {
        let document = document(&operations());
        let get = &document["paths"]["/things/{id}"]["get"];
        assert_eq!(get["security"], json!([{"token": []}]));
        let refused = &get["responses"]["401"]["content"][problem::MEDIA_TYPE]["schema"]["allOf"][1];
        assert_eq!(refused["properties"]["code"]["enum"].as_array().map(Vec::len), Some(4));
        assert_eq!(
            document["components"]["securitySchemes"]
                .as_object()
                .map(|all| all.keys().cloned().collect::<Vec<_>>()),
            Some(vec!["stripeSignature".to_owned(), "token".to_owned()])
        );
        let text = document.to_string();
        for place in text
            .split("\"$ref\":\"#")
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
        {
            assert!(document.pointer(place).is_some(), "{place}");
        }
    }

    #[test]
    fn documents_of_several_processes_become_one() {
        let mut operations = operations();
        let other = operations.split_off(1);
        let merged = merge([document(&operations), document(&other)]).unwrap();
        operations.extend(other);
        assert_eq!(merged, document(&operations));
        assert_eq!(merge([]), None);
    }
}
