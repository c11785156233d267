//! Form bodies and queries with Stripe's brackets (`items[0][price]=..`, `expand[]=..`), read strictly: every leaf must be asked for by the
//! route, or the request is refused as Stripe refuses unknown parameters. A parse is bounded in depth and number of pairs.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use serde_json::Value;

use crate::error::{ApiError, ApiResult};

const MAX_PAIRS: usize = 2_000;
const MAX_DEPTH: usize = 8;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    Leaf(String),
    Branch(BTreeMap<String, Node>),
}

/// Parameters, or a nested part of them. Clones share the record of what was used.
#[derive(Clone, Debug)]
pub(crate) struct Params {
    prefix: String,
    map: BTreeMap<String, Node>,
    used: Rc<RefCell<BTreeSet<String>>>,
}

/// Reads `a=b&c[d]=e`, later parts adding to earlier ones.
pub(crate) fn parse(parts: &[&str]) -> ApiResult<Params> {
    let mut map = BTreeMap::new();
    let mut pairs = 0;
    for pair in parts
        .iter()
        .flat_map(|part| part.split('&'))
        .filter(|pair| !pair.is_empty())
    {
        pairs += 1;
        if pairs > MAX_PAIRS {
            return Err(ApiError::invalid("", "", "Too many parameters."));
        }
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (key, value) = (decode(key)?, decode(value)?);
        let path = path_of(&key)?;
        insert(&mut map, &path, value).ok_or_else(|| {
            ApiError::invalid(
                &key,
                "",
                format!("Invalid parameters: {key} is given twice in different shapes"),
            )
        })?;
    }
    Ok(Params {
        prefix: String::new(),
        map,
        used: Rc::default(),
    })
}

/// Reads the JSON object of a call below `/v2/` into the same shape, so that routes read both alike. A query may add to it.
pub(crate) fn parse_json(query: &str, body: &str) -> ApiResult<Params> {
    let mut params = parse(&[query])?;
    if body.is_empty() {
        return Ok(params);
    }
    let invalid = || ApiError::invalid("", "", "The request body is no JSON object.");
    let value: Value = serde_json::from_str(body).map_err(|_| invalid())?;
    let Some(Node::Branch(given)) = node(&value, MAX_DEPTH) else {
        return Err(invalid());
    };
    params.map.extend(given);
    Ok(params)
}

/// `None` for what is null, and for what is nested too deep.
fn node(value: &Value, depth: usize) -> Option<Node> {
    match value {
        Value::Null => None,
        Value::Bool(flag) => Some(Node::Leaf(flag.to_string())),
        Value::Number(number) => Some(Node::Leaf(number.to_string())),
        Value::String(text) => Some(Node::Leaf(text.clone())),
        Value::Array(list) => {
            let inner = list.iter().enumerate();
            let inner = inner.filter_map(|(at, one)| Some((format!("{at:04}"), node(one, depth.checked_sub(1)?)?)));
            Some(Node::Branch(inner.collect()))
        }
        Value::Object(map) => {
            let inner = map.iter();
            let inner = inner.filter_map(|(name, one)| Some((pad(name), node(one, depth.checked_sub(1)?)?)));
            Some(Node::Branch(inner.collect()))
        }
    }
}

fn decode(text: &str) -> ApiResult<String> {
    let invalid = || ApiError::invalid("", "", "Invalid form encoding in the request.");
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let digits = [bytes.next().ok_or_else(invalid)?, bytes.next().ok_or_else(invalid)?];
                let digits = std::str::from_utf8(&digits).map_err(|_| invalid())?;
                out.push(u8::from_str_radix(digits, 16).map_err(|_| invalid())?);
            }
            other => out.push(other),
        }
    }
    String::from_utf8(out).map_err(|_| invalid())
}

fn path_of(key: &str) -> ApiResult<Vec<String>> {
    let invalid = || ApiError::invalid(key, "", format!("Invalid parameter name: {key}"));
    let Some((first, rest)) = key.split_once('[') else {
        return if key.is_empty() || key.contains(']') {
            Err(invalid())
        } else {
            Ok(vec![key.to_owned()])
        };
    };
    let inner = rest.strip_suffix(']').ok_or_else(invalid)?;
    let mut path = vec![first.to_owned()];
    path.extend(inner.split("][").map(ToOwned::to_owned));
    if first.is_empty() || path.len() > MAX_DEPTH || path.iter().any(|part| part.contains(['[', ']'])) {
        return Err(invalid());
    }
    Ok(path)
}

fn insert(map: &mut BTreeMap<String, Node>, path: &[String], value: String) -> Option<()> {
    let (first, rest) = path.split_first()?;
    let name = if first.is_empty() {
        format!("{:04}", map.len())
    } else {
        pad(first)
    };
    if rest.is_empty() {
        return map.insert(name, Node::Leaf(value)).is_none().then_some(());
    }
    match map.entry(name).or_insert_with(|| Node::Branch(BTreeMap::new())) {
        Node::Branch(inner) => insert(inner, rest, value),
        Node::Leaf(_) => None,
    }
}

/// Indices sort as numbers.
fn pad(name: &str) -> String {
    if name.len() < 4 && name.bytes().all(|b| b.is_ascii_digit()) {
        format!("{name:0>4}")
    } else {
        name.to_owned()
    }
}

impl Params {
    fn path(&self, name: &str) -> String {
        if self.prefix.is_empty() {
            name.to_owned()
        } else {
            format!("{}[{name}]", self.prefix)
        }
    }

    fn get(&self, name: &str) -> Option<&Node> {
        self.used.borrow_mut().insert(self.path(name));
        self.map.get(name)
    }

    /// The text of a parameter; an empty one is `Some("")`, which unsets in updates.
    pub(crate) fn text(&self, name: &str) -> ApiResult<Option<String>> {
        match self.get(name) {
            None => Ok(None),
            Some(Node::Leaf(text)) => Ok(Some(text.clone())),
            Some(Node::Branch(_)) => Err(ApiError::invalid(
                &self.path(name),
                "",
                format!("Invalid string: {}", self.path(name)),
            )),
        }
    }

    /// As [`Params::text`], with an empty text counted as absent.
    pub(crate) fn some(&self, name: &str) -> ApiResult<Option<String>> {
        Ok(self.text(name)?.filter(|text| !text.is_empty()))
    }

    pub(crate) fn required(&self, name: &str) -> ApiResult<String> {
        self.some(name)?.ok_or_else(|| {
            let path = self.path(name);
            ApiError::invalid(&path, "parameter_missing", format!("Missing required param: {path}."))
        })
    }

    pub(crate) fn int(&self, name: &str) -> ApiResult<Option<i64>> {
        let Some(text) = self.some(name)? else { return Ok(None) };
        let path = self.path(name);
        text.parse()
            .map(Some)
            .map_err(|_| ApiError::invalid(&path, "parameter_invalid_integer", format!("Invalid integer: {text}")))
    }

    pub(crate) fn flag(&self, name: &str) -> ApiResult<Option<bool>> {
        match self.some(name)?.as_deref() {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(other) => Err(ApiError::invalid(
                &self.path(name),
                "",
                format!("Invalid boolean: {other}"),
            )),
        }
    }

    /// A parameter out of a closed set.
    pub(crate) fn choice(&self, name: &str, allowed: &[&'static str]) -> ApiResult<Option<&'static str>> {
        let Some(text) = self.some(name)? else { return Ok(None) };
        let found = allowed.iter().find(|one| **one == text).copied();
        found.map(Some).ok_or_else(|| {
            let message = format!("Invalid {name}: must be one of {}", allowed.join(", "));
            ApiError::invalid(&self.path(name), "", message)
        })
    }

    /// A flat map such as `metadata`; an empty value deletes the key in updates.
    pub(crate) fn dict(&self, name: &str) -> ApiResult<Option<BTreeMap<String, String>>> {
        match self.get(name) {
            None => Ok(None),
            Some(Node::Leaf(text)) if text.is_empty() => Ok(Some(BTreeMap::new())),
            Some(Node::Leaf(_)) => Err(ApiError::invalid(
                &self.path(name),
                "",
                format!("Invalid object: {}", self.path(name)),
            )),
            Some(Node::Branch(inner)) => {
                let Some(child) = self.child(name) else { return Ok(None) };
                inner
                    .keys()
                    .map(|key| Ok((key.clone(), child.text(key)?.unwrap_or_default())))
                    .collect::<ApiResult<_>>()
                    .map(Some)
            }
        }
    }

    /// A nested object.
    pub(crate) fn child(&self, name: &str) -> Option<Self> {
        match self.get(name) {
            Some(Node::Branch(inner)) => Some(Self {
                prefix: self.path(name),
                map: inner.clone(),
                used: Rc::clone(&self.used),
            }),
            _ => None,
        }
    }

    /// The nested objects of a list.
    pub(crate) fn children(&self, name: &str) -> Vec<Self> {
        self.child(name).map_or_else(Vec::new, |list| {
            list.map.keys().filter_map(|key| list.child(key)).collect()
        })
    }

    /// The names of what is given.
    pub(crate) fn names(&self) -> Vec<String> {
        self.map.keys().cloned().collect()
    }

    /// The texts of a list; a single text counts as a list of one.
    pub(crate) fn texts(&self, name: &str) -> ApiResult<Vec<String>> {
        let Some(list) = self.child(name) else {
            return Ok(self.some(name)?.into_iter().collect());
        };
        list.map.keys().filter_map(|key| list.some(key).transpose()).collect()
    }

    /// Accepts parameters that the simulator does not model.
    pub(crate) fn ignore(&self, names: &[&str]) {
        for name in names {
            if let Some(node) = self.get(name) {
                leaves(&self.path(name), node, &mut |path| {
                    self.used.borrow_mut().insert(path);
                });
            }
        }
    }

    /// Refuses what no accessor asked for. To be called before anything is changed.
    pub(crate) fn finish(&self) -> ApiResult<()> {
        let used = self.used.borrow();
        let mut unknown = None;
        for (name, node) in &self.map {
            leaves(&self.path(name), node, &mut |path| {
                if !used.contains(&path) {
                    unknown.get_or_insert(path);
                }
            });
        }
        unknown.map_or(Ok(()), |path| {
            Err(ApiError::invalid(
                &path,
                "parameter_unknown",
                format!("Received unknown parameter: {path}"),
            ))
        })
    }
}

fn leaves(path: &str, node: &Node, visit: &mut dyn FnMut(String)) {
    match node {
        Node::Leaf(_) => visit(path.to_owned()),
        Node::Branch(inner) => {
            for (name, child) in inner {
                leaves(&format!("{path}[{name}]"), child, visit);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn brackets_make_objects_and_lists_in_order() {
        let params = parse(&[
            "items[10][price]=c&items[2][price]=b&items[0][price]=a%20x&metadata[client_id]=7&expand[]=x&expand[]=y",
        ])
        .unwrap();
        let prices: Vec<_> = params
            .children("items")
            .iter()
            .map(|item| item.required("price").unwrap())
            .collect();
        assert_eq!(prices, ["a x", "b", "c"]);
        assert_eq!(params.dict("metadata").unwrap().unwrap().get("client_id").unwrap(), "7");
        assert_eq!(params.texts("expand").unwrap(), ["x", "y"]);
        params.finish().unwrap();
    }

    #[test]
    fn what_is_not_asked_for_or_not_well_formed_is_refused() {
        let unknown = parse(&["a=1&b[c]=2"]).unwrap();
        unknown.text("a").unwrap();
        assert_eq!(unknown.finish().unwrap_err().param.as_deref(), Some("b[c]"));
        for bad in [
            "a%2",
            "a%zz=1",
            "[a]=1",
            "a[b=1",
            "a]=1",
            "a=1&a[b]=2",
            "a[b][c][d][e][f][g][h][i]=1",
            "a=%ff",
            "a=1&a=2",
        ] {
            assert!(parse(&[bad]).is_err(), "{bad}");
        }
    }
}
