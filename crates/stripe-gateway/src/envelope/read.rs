//! The one pass over the body: what stands in the outermost object, not yet judged.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// A value of the envelope, not yet judged.
#[derive(Debug, Default)]
pub(super) enum Scalar<'a> {
    #[default]
    Absent,
    Null,
    Bool(bool),
    Integer(i64),
    Text(Cow<'a, str>),
    Other,
}

/// The envelope as it stands in the body. Judging comes after the last byte was read, so that a body that is no JSON is
/// always called that.
#[derive(Debug, Default)]
pub(super) struct Fields<'a> {
    pub(super) id: Scalar<'a>,
    pub(super) object: Scalar<'a>,
    pub(super) kind: Scalar<'a>,
    pub(super) created: Scalar<'a>,
    pub(super) account: Scalar<'a>,
    pub(super) context: Scalar<'a>,
    pub(super) livemode: Scalar<'a>,
    pub(super) api_version: Scalar<'a>,
    pub(super) data: Data<'a>,
    pub(super) duplicate: Option<&'static str>,
    /// Look into `data` on the way, and not only past it.
    pub(super) with_data: bool,
}

/// What stands under `data`.
#[derive(Debug, Default)]
pub(crate) enum Data<'a> {
    #[default]
    Absent,
    /// There, and not looked into.
    Skipped,
    Null,
    NotAnObject,
    Members(DataMembers<'a>),
}

/// The two members of `data` that are known, as they stand.
#[derive(Debug, Default)]
pub(crate) struct DataMembers<'a> {
    pub(crate) object: Option<&'a RawValue>,
    pub(crate) previous_attributes: Option<&'a RawValue>,
    /// The first of the two that is there more than once.
    pub(crate) repeated: Option<&'static str>,
}

impl<'a> Fields<'a> {
    fn slot(&mut self, name: Name) -> Option<(&'static str, &mut Scalar<'a>)> {
        Some(match name {
            Name::Id => ("id", &mut self.id),
            Name::Object => ("object", &mut self.object),
            Name::Type => ("type", &mut self.kind),
            Name::Created => ("created", &mut self.created),
            Name::Account => ("account", &mut self.account),
            Name::Context => ("context", &mut self.context),
            Name::Livemode => ("livemode", &mut self.livemode),
            Name::ApiVersion => ("api_version", &mut self.api_version),
            Name::Data | Name::Unknown => return None,
        })
    }
}

/// The name of a member of the outermost object.
#[derive(Clone, Copy)]
enum Name {
    Id,
    Object,
    Type,
    Created,
    Account,
    Context,
    Livemode,
    ApiVersion,
    Data,
    Unknown,
}

impl<'de> de::Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;
        impl Visitor<'_> for NameVisitor {
            type Value = Name;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a member name")
            }
            fn visit_str<E>(self, name: &str) -> Result<Name, E> {
                Ok(match name {
                    "id" => Name::Id,
                    "object" => Name::Object,
                    "type" => Name::Type,
                    "created" => Name::Created,
                    "account" => Name::Account,
                    "context" => Name::Context,
                    "livemode" => Name::Livemode,
                    "api_version" => Name::ApiVersion,
                    "data" => Name::Data,
                    _ => Name::Unknown,
                })
            }
        }
        deserializer.deserialize_identifier(NameVisitor)
    }
}

impl<'de> DeserializeSeed<'de> for &mut Fields<'de> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &mut Fields<'de> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(name) = members.next_key::<Name>()? {
            if matches!(name, Name::Data) {
                let repeated = !matches!(self.data, Data::Absent);
                self.data = if self.with_data {
                    members.next_value_seed(DataVisitor)?
                } else {
                    members.next_value::<IgnoredAny>()?;
                    Data::Skipped
                };
                if repeated {
                    self.duplicate = Some("data");
                }
                continue;
            }
            let Some((field, slot)) = self.slot(name) else {
                members.next_value::<IgnoredAny>()?;
                continue;
            };
            let repeated = !matches!(slot, Scalar::Absent);
            *slot = members.next_value_seed(ScalarVisitor)?;
            if repeated {
                self.duplicate = Some(field);
            }
        }
        Ok(())
    }
}

struct ScalarVisitor;

impl<'de> DeserializeSeed<'de> for ScalarVisitor {
    type Value = Scalar<'de>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Scalar<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Scalar<'de>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }
    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Scalar::Null)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Scalar::Bool(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Scalar::Integer(value))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(i64::try_from(value).map_or(Scalar::Other, Scalar::Integer))
    }
    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Scalar::Other)
    }
    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Self::Value, E> {
        Ok(Scalar::Text(Cow::Borrowed(value)))
    }
    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Scalar::Text(Cow::Owned(value.to_owned())))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other)
    }
}

struct DataVisitor;

impl<'de> DeserializeSeed<'de> for DataVisitor {
    type Value = Data<'de>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Data<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for DataVisitor {
    type Value = Data<'de>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }
    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Data::Null)
    }
    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Data::NotAnObject)
    }
    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Data::NotAnObject)
    }
    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Data::NotAnObject)
    }
    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Data::NotAnObject)
    }
    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(Data::NotAnObject)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Data::NotAnObject)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut found = DataMembers::default();
        while let Some(name) = members.next_key::<DataName>()? {
            let (name, slot) = match name {
                DataName::Object => ("object", &mut found.object),
                DataName::PreviousAttributes => ("previous_attributes", &mut found.previous_attributes),
                DataName::Unknown => {
                    members.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            if slot.replace(members.next_value()?).is_some() && found.repeated != Some("object") {
                found.repeated = Some(name);
            }
        }
        Ok(Data::Members(found))
    }
}

/// The name of a member of `data`.
#[derive(Clone, Copy, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
enum DataName {
    Object,
    PreviousAttributes,
    #[serde(other)]
    Unknown,
}
