//! Stripe API versions. One object model is rendered in the field places of the version asked for; only the train matters for that, the
//! label is echoed as it was given.

/// Where fields live. Ordered: a later train is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Train {
    /// Before 2025-03-31, for example `2023-10-16`: `invoice.subscription`, periods on the subscription.
    Classic,
    /// From `2025-03-31.basil` on: `invoice.parent.subscription_details`, periods on the items.
    Basil,
    /// From `2026-09-30.endive` on: billing schedules, the pause endpoint.
    Endive,
}

/// A version as named in `Stripe-Version` or on a webhook endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiVersion {
    label: String,
    train: Train,
}

/// The version used where nobody names one.
pub const NEWEST: &str = "2026-09-30.endive";

impl ApiVersion {
    /// Reads `YYYY-MM-DD` with an optional `.train`. Anything else is `None`.
    #[must_use]
    pub fn parse(label: &str) -> Option<Self> {
        let (date, name) = label.split_once('.').unwrap_or((label, "none"));
        let day = chrono::NaiveDate::parse_from_str(date, "%Y-%m-%d").ok()?;
        if date.len() != 10 || name.is_empty() || !name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') {
            return None;
        }
        let since =
            |year, month, dom| chrono::NaiveDate::from_ymd_opt(year, month, dom).is_some_and(|limit| day >= limit);
        let train = if since(2026, 9, 30) {
            Train::Endive
        } else if since(2025, 3, 31) {
            Train::Basil
        } else {
            Train::Classic
        };
        Some(Self {
            label: label.to_owned(),
            train,
        })
    }

    /// The newest version this simulator knows.
    #[must_use]
    pub fn newest() -> Self {
        Self {
            label: NEWEST.to_owned(),
            train: Train::Endive,
        }
    }

    /// The name as it was given.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The field places to use.
    #[must_use]
    pub const fn train(&self) -> Train {
        self.train
    }
}
