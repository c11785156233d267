//! `/v1` and `/v2`: which call goes where. Each aggregate has a file; a route reads its parameters, refuses those it does not know, and only then
//! changes something.

mod accounts;
mod balance;
mod catalog;
mod charges;
mod checkout;
mod customers;
mod disputes;
mod endpoints;
mod events;
mod invoices;
mod paging;
mod payment_intents;
mod payouts;
mod refunds;
mod search;
mod subscription_items;
mod subscriptions;
mod test_clocks;
mod transfers;
mod v2;

pub(crate) use endpoints::NewEndpoint;

use serde_json::Value;

use crate::error::{ApiError, ApiResult};
use crate::form::Params;
use crate::render;
use crate::state::World;
use crate::state::balance::Owner;
use crate::state::object::Object;
use crate::version::ApiVersion;

/// A call whose outer parts (key, version, body) are already read.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) params: Params,
    pub(crate) version: ApiVersion,
    /// The connected account in whose name the call is made.
    pub(crate) account: Option<String>,
}

impl Call {
    /// In whose name the call is made, if that is a connected account there is.
    fn owner(&self, world: &World) -> ApiResult<Owner> {
        match &self.account {
            Some(id) if world.accounts.get(id).is_none() => Err(ApiError::no_access(id)),
            owner => Ok(owner.clone()),
        }
    }

    fn show(&self, object: Object) -> ApiResult<Value> {
        Ok(render::object(&object, &self.version))
    }
}

/// Does what a call asks for.
pub(crate) fn dispatch(world: &mut World, call: &Call) -> ApiResult<Value> {
    if let Some(rest) = call.path.strip_prefix("/v2/") {
        return v2::dispatch(world, call, rest);
    }
    let expand = call.params.texts("expand")?;
    let rest = call.path.strip_prefix("/v1/").unwrap_or_default().trim_end_matches('/');
    let parts: Vec<&str> = rest.split('/').collect();
    let (first, tail) = parts.split_first().ok_or_else(|| unknown(call))?;
    let at = (call.method.as_str(), tail);
    let answer = match *first {
        "customers" => customers::customers(world, call, at),
        "payment_methods" => customers::payment_methods(world, call, at),
        "products" => catalog::products(world, call, at),
        "prices" => catalog::prices(world, call, at),
        "subscriptions" => subscriptions::subscriptions(world, call, at),
        "invoices" => invoices::invoices(world, call, at),
        "invoiceitems" => invoices::invoice_items(world, call, at),
        "invoice_payments" => invoices::invoice_payments(world, call, at),
        "checkout" => checkout::sessions(world, call, at),
        "payment_intents" => payment_intents::payment_intents(world, call, at),
        "charges" => charges::charges(world, call, at),
        "refunds" => refunds::refunds(world, call, at),
        "disputes" => disputes::disputes(world, call, at),
        "subscription_items" => subscription_items::subscription_items(world, call, at),
        "accounts" | "account" => accounts::accounts(world, call, first, at),
        "account_links" => accounts::links(world, call, at),
        "transfers" => transfers::transfers(world, call, at),
        "payouts" => payouts::payouts(world, call, at),
        "balance" => balance::balance(world, call, at),
        "balance_transactions" => balance::transactions(world, call, at),
        "events" => events::events(world, call, at),
        "webhook_endpoints" => endpoints::endpoints(world, call, at),
        "test_helpers" => test_clocks::test_clocks(world, call, at),
        _ => Err(unknown(call)),
    };
    let mut answer = answer?;
    render::expand(world, &mut answer, &expand, &call.version)?;
    Ok(answer)
}

fn unknown(call: &Call) -> ApiError {
    ApiError::unknown_route(&call.method, &call.path)
}
