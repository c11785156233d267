//! A connected account. Events about it arrive in no order: re-read it before money depends on it.

use super::read::Object;
use super::words::CapabilityStatus;
use super::{Metadata, ViewError};

/// What escrow decides by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// `acct_...`.
    pub id: String,
    /// Whether it can charge cards itself.
    pub charges_enabled: bool,
    /// Whether its balance can go to its bank.
    pub payouts_enabled: bool,
    /// Whether it can receive transfers; none when that was never asked for.
    pub transfers: Option<CapabilityStatus>,
    /// What its owner must do.
    pub requirements: Requirements,
    /// Set by whoever made it.
    pub metadata: Metadata,
}

/// What Stripe still wants from the owner of an account.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Requirements {
    /// Needed by `current_deadline`.
    pub currently_due: Vec<String>,
    /// Needed already.
    pub past_due: Vec<String>,
    /// Why the account cannot be used.
    pub disabled_reason: Option<String>,
    /// When what is due becomes past due.
    pub current_deadline: Option<i64>,
}

impl Account {
    pub(super) fn read(object: &Object<'_>) -> Result<Self, ViewError> {
        let capabilities = object.object("capabilities")?;
        let requirements = match object.object("requirements")? {
            Some(requirements) => Requirements {
                currently_due: requirements.texts("currently_due")?,
                past_due: requirements.texts("past_due")?,
                disabled_reason: requirements.text("disabled_reason")?,
                current_deadline: requirements.time("current_deadline")?,
            },
            None => Requirements::default(),
        };
        Ok(Self {
            id: object.required("id", Object::id)?,
            charges_enabled: object.flag("charges_enabled")?.unwrap_or(false),
            payouts_enabled: object.flag("payouts_enabled")?.unwrap_or(false),
            transfers: capabilities.map_or(Ok(None), |capabilities| capabilities.word("transfers"))?,
            requirements,
            metadata: Metadata::read(object, "metadata")?,
        })
    }
}
