//! What payments said that were billed otherwise than was agreed, as JSON. The domain's types are not serialisable by design; this is their
//! form in the column `billed_otherwise`, and nowhere else.

use std::collections::BTreeMap;

use domain::billing::payment::{Billed, Evidence};
use domain::ids::PriceId;
use domain::money::Currency;
use domain::time::UnixSeconds;
use serde::{Deserialize, Serialize};
use tokio_postgres::types::Json;

/// What the payments of one kind said, as it is stored.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoredEvidence {
    prices: Vec<String>,
    currency: Option<String>,
    first_paid_at: Option<i64>,
    last_paid_at: Option<i64>,
    last_failed_at: Option<i64>,
}

/// For a parameter; null where there is nothing to tell.
pub(super) fn store(all: &BTreeMap<Billed, Evidence>) -> Option<Json<Vec<StoredEvidence>>> {
    let seconds = |time: Option<UnixSeconds>| time.map(|time| time.0);
    let stored = |(billed, said): (&Billed, &Evidence)| StoredEvidence {
        prices: billed.prices.iter().map(ToString::to_string).collect(),
        currency: billed.currency.map(|currency| currency.as_str().to_owned()),
        first_paid_at: seconds(said.first_paid()),
        last_paid_at: seconds(said.last_paid()),
        last_failed_at: seconds(said.last_failed()),
    };
    (!all.is_empty()).then(|| Json(all.iter().map(stored).collect()))
}

/// Reads the column back; `None` when it holds something that this version does not know.
pub(super) fn restore(stored: Vec<StoredEvidence>) -> Option<BTreeMap<Billed, Evidence>> {
    stored.into_iter().map(restore_one).collect()
}

fn restore_one(stored: StoredEvidence) -> Option<(Billed, Evidence)> {
    let prices = stored.prices.into_iter().map(PriceId::parse);
    let currency = match stored.currency {
        Some(code) => Some(Currency::parse(&code).ok()?),
        None => None,
    };
    let billed = Billed {
        prices: prices.collect::<Result<_, _>>().ok()?,
        currency,
    };
    let seconds = |at: Option<i64>| at.map(UnixSeconds);
    let said = Evidence::restore(
        seconds(stored.first_paid_at),
        seconds(stored.last_paid_at),
        seconds(stored.last_failed_at),
    );
    Some((billed, said))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::{Value, json};

    use super::*;

    fn read(value: Value) -> Option<BTreeMap<Billed, Evidence>> {
        restore(serde_json::from_value(value).unwrap())
    }

    #[test]
    fn what_was_stored_reads_back() {
        let billed = |prices: &[&str], currency| Billed {
            prices: prices.iter().map(|id| PriceId::parse(*id).unwrap()).collect(),
            currency,
        };
        let (paid, failed) = (
            Evidence::of_payment(UnixSeconds(5)),
            Evidence::of_failure(UnixSeconds(7)),
        );
        let all = BTreeMap::from([
            (billed(&["price_1", "price_2"], Some(Currency::EUR)), paid.merge(failed)),
            (
                billed(&["price_2"], None),
                paid.merge(Evidence::of_payment(UnixSeconds(9))),
            ),
            (billed(&[], Currency::parse("usd").ok()), failed),
        ]);
        let stored = serde_json::to_value(store(&all).unwrap().0).unwrap();
        assert_eq!(read(stored), Some(all));
        assert!(store(&BTreeMap::new()).is_none());
    }

    #[test]
    fn what_no_version_wrote_is_not_guessed() {
        for (prices, currency) in [(json!(["price\n1"]), json!("eur")), (json!(["price_1"]), json!("gold"))] {
            assert_eq!(read(json!([{"prices": prices, "currency": currency}])), None);
        }
    }
}
