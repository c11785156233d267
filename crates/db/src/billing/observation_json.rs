//! The observations of a subscription's register as JSON. The domain's types are not serialisable by design; this is their form
//! in the columns `observations` and `at_other_prices`, and nowhere else.

use std::collections::BTreeSet;

use domain::billing::subscription::{Before, Observation, Rank, Snapshot, Snapshots, Status};
use domain::ids::PriceId;
use domain::money::Currency;
use domain::time::UnixSeconds;
use serde::{Deserialize, Deserializer, Serialize};
use tokio_postgres::types::Json;

/// A register as it is stored in one column.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoredRegister {
    rank: i16,
    at: i64,
    observations: Vec<Stored>,
}

impl StoredRegister {
    /// For a parameter.
    pub(super) fn of(register: &Snapshots) -> Json<Self> {
        Json(Self {
            rank: register.rank().number(),
            at: register.at().0,
            observations: register.tied().iter().map(store).collect(),
        })
    }

    /// Reads the column back; `None` when it holds something that this version does not know.
    pub(super) fn restore(self) -> Option<Snapshots> {
        let tied = from_json(Json(self.observations))?;
        Snapshots::restore(Rank::from_number(self.rank)?, UnixSeconds(self.at), tied)
    }
}

/// An observation as it is stored.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Stored {
    status: String,
    collection_paused: bool,
    cancel_at_period_end: bool,
    start: i64,
    current_period_end: Option<i64>,
    trial_end: Option<i64>,
    price: Option<String>,
    currency: Option<String>,
    before: StoredBefore,
}

/// A field that is absent says nothing; one that is `null` says that there was nothing.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct StoredBefore {
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    collection_paused: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cancel_at_period_end: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    current_period_end: Option<Option<i64>>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    trial_end: Option<Option<i64>>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    price: Option<Option<String>>,
}

fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(deserializer).map(Some)
}

/// For a parameter: written as it is sent, without a tree in between.
pub(super) fn to_json(tied: &BTreeSet<Observation>) -> Json<Vec<Stored>> {
    Json(tied.iter().map(store).collect())
}

/// Reads the column back; `None` when it holds something that this version does not know.
pub(super) fn from_json(Json(stored): Json<Vec<Stored>>) -> Option<BTreeSet<Observation>> {
    stored.into_iter().map(restore).collect()
}

fn store(observation: &Observation) -> Stored {
    let Observation { snapshot, before } = observation;
    let seconds = |time: UnixSeconds| time.0;
    Stored {
        status: snapshot.status.as_str().to_owned(),
        collection_paused: snapshot.collection_paused,
        cancel_at_period_end: snapshot.cancel_at_period_end,
        start: snapshot.start.0,
        current_period_end: snapshot.current_period_end.map(seconds),
        trial_end: snapshot.trial_end.map(seconds),
        price: snapshot.price.as_ref().map(ToString::to_string),
        currency: snapshot.currency.map(|currency| currency.as_str().to_owned()),
        before: StoredBefore {
            status: before.status.map(|status| status.as_str().to_owned()),
            collection_paused: before.collection_paused,
            cancel_at_period_end: before.cancel_at_period_end,
            current_period_end: before.current_period_end.map(|end| end.map(seconds)),
            trial_end: before.trial_end.map(|end| end.map(seconds)),
            price: before
                .price
                .as_ref()
                .map(|price| price.as_ref().map(ToString::to_string)),
        },
    }
}

fn restore(stored: Stored) -> Option<Observation> {
    let price = |text: Option<String>| {
        text.map(|text| PriceId::parse(text).ok())
            .map_or(Some(None), |id| id.map(Some))
    };
    let Stored { before, .. } = stored;
    let status_before = match before.status {
        Some(text) => Some(Status::parse(&text)?),
        None => None,
    };
    let price_before = match before.price {
        Some(text) => Some(price(text)?),
        None => None,
    };
    let currency = match stored.currency {
        Some(text) => Some(Currency::parse(&text).ok()?),
        None => None,
    };
    Some(Observation {
        snapshot: Snapshot {
            status: Status::parse(&stored.status)?,
            collection_paused: stored.collection_paused,
            cancel_at_period_end: stored.cancel_at_period_end,
            start: UnixSeconds(stored.start),
            current_period_end: stored.current_period_end.map(UnixSeconds),
            trial_end: stored.trial_end.map(UnixSeconds),
            price: price(stored.price)?,
            currency,
        },
        before: Before {
            status: status_before,
            collection_paused: before.collection_paused,
            cancel_at_period_end: before.cancel_at_period_end,
            current_period_end: before.current_period_end.map(|end| end.map(UnixSeconds)),
            trial_end: before.trial_end.map(|end| end.map(UnixSeconds)),
            price: price_before,
        },
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::Value;

    use super::*;

    fn written(tied: &BTreeSet<Observation>) -> Value {
        serde_json::to_value(to_json(tied).0).unwrap()
    }

    fn read(value: Value) -> Option<BTreeSet<Observation>> {
        from_json(Json(serde_json::from_value(value).unwrap()))
    }

    fn observation(before: Before) -> Observation {
        Observation {
            snapshot: Snapshot {
                status: Status::PastDue,
                collection_paused: true,
                cancel_at_period_end: false,
                start: UnixSeconds(5),
                current_period_end: Some(UnixSeconds(7)),
                trial_end: None,
                price: PriceId::parse("price_1").ok(),
                currency: Some(Currency::EUR),
            },
            before,
        }
    }

    #[test]
    fn what_was_stored_reads_back_and_absent_is_not_null() {
        let told = Before {
            status: Some(Status::Active),
            trial_end: Some(None),
            price: Some(PriceId::parse("price_0").ok()),
            ..Before::default()
        };
        let tied = BTreeSet::from([observation(told), observation(Before::default())]);
        assert_eq!(read(written(&tied)), Some(tied));
    }

    #[test]
    fn an_unknown_status_is_not_guessed() {
        let mut value = written(&BTreeSet::from([observation(Before::default())]));
        value[0]["status"] = "sleeping".into();
        assert_eq!(read(value), None);
    }
}
