//! Connected accounts, their capabilities and the links by which they fill in what is due.

use serde_json::{Value, json};

use super::paging::Page;
use super::{Call, unknown};
use crate::error::{ApiError, ApiResult};
use crate::form::Params;
use crate::render;
use crate::state::World;
use crate::state::account::{Account, Capability, CapabilityStatus, Requirements};
use crate::state::customer::{Metadata, merge_metadata};
use crate::state::object::Object;

/// Accepted without effect.
const UNMODELLED: [&str; 9] = [
    "account_token",
    "business_profile",
    "company",
    "controller",
    "default_currency",
    "documents",
    "individual",
    "groups",
    "settings",
];

/// Which countries settle in which currency; all others in US dollars here.
fn currency_of(country: &str) -> &'static str {
    match country {
        "AT" | "BE" | "CY" | "DE" | "EE" | "ES" | "FI" | "FR" | "GR" | "HR" | "IE" | "IT" | "LT" | "LU" | "LV"
        | "MT" | "NL" | "PT" | "SI" | "SK" => "eur",
        "GB" => "gbp",
        "CH" => "chf",
        "JP" => "jpy",
        "CA" => "cad",
        "AU" => "aud",
        "HU" => "huf",
        "PL" => "pln",
        "SE" => "sek",
        "NO" => "nok",
        "DK" => "dkk",
        "CZ" => "czk",
        _ => "usd",
    }
}

pub(super) fn accounts(world: &mut World, call: &Call, first: &str, at: (&str, &[&str])) -> ApiResult<Value> {
    let p = &call.params;
    let show = |world: &World, id: &str| call.show(Object::Account(world.account(id, "id")?.clone().into()));
    match at {
        ("GET", []) if first == "account" => {
            p.finish()?;
            let owner = call.owner(world)?;
            owner.map_or_else(
                || Ok(json!({ "id": "acct_1SPlatform00001", "object": "account", "charges_enabled": true, "payouts_enabled": true, "livemode": false, "type": "standard" })),
                |id| show(world, &id),
            )
        }
        ("POST", []) => {
            let id = create(world, call)?;
            show(world, &id)
        }
        ("GET", []) => {
            let page = Page::read(call)?;
            p.finish()?;
            page.of(
                call,
                world.accounts.iter(),
                |one| one.created,
                |_| true,
                |one| render::object(&Object::Account(one.clone().into()), &call.version),
            )
        }
        ("GET", [id]) => {
            p.finish()?;
            show(world, id)
        }
        ("POST", [id]) => {
            update(world, call, id)?;
            show(world, id)
        }
        ("DELETE", [id]) => {
            p.finish()?;
            world.account(id, "id")?;
            world.accounts.remove(id);
            Ok(json!({ "id": id, "object": "account", "deleted": true }))
        }
        (_, [id, "capabilities", rest @ ..]) => capabilities(world, call, id, rest),
        _ => Err(unknown(call)),
    }
}

/// The bank account that a call brings, by its number or by a token that stands for one.
struct GivenBank {
    number: Option<String>,
    currency: Option<String>,
}

fn given_bank(p: &Params) -> ApiResult<Option<GivenBank>> {
    if let Some(bank) = p.child("external_account") {
        let number = bank.some("account_number")?;
        let currency = bank.some("currency")?;
        bank.ignore(&[
            "object",
            "country",
            "account_holder_name",
            "account_holder_type",
            "routing_number",
        ]);
        return Ok(Some(GivenBank { number, currency }));
    }
    let token = p.some("external_account")?;
    Ok(token.map(|token| {
        let number = match token.as_str() {
            "btok_us_verified_noAccount" => "000111111116",
            "btok_us_accountClosed" => "000111111113",
            "btok_us_insufficientFunds" => "000222222227",
            _ => "000123456789",
        };
        GivenBank {
            number: Some(number.to_owned()),
            currency: None,
        }
    }))
}

fn given_tos(p: &Params) -> ApiResult<Option<i64>> {
    let Some(tos) = p.child("tos_acceptance") else {
        return Ok(None);
    };
    tos.ignore(&["ip", "user_agent", "service_agreement"]);
    tos.int("date")
}

fn requested(p: &Params) -> ApiResult<Vec<(String, bool)>> {
    let Some(all) = p.child("capabilities") else {
        return Ok(Vec::new());
    };
    let mut out = Vec::new();
    for name in all.names() {
        if let Some(one) = all.child(&name) {
            out.push((name, one.flag("requested")?.unwrap_or(false)));
        }
    }
    Ok(out)
}

fn create(world: &mut World, call: &Call) -> ApiResult<String> {
    let p = &call.params;
    let kind = p
        .choice("type", &["express", "custom", "standard"])?
        .unwrap_or("express");
    let country = p.some("country")?.unwrap_or_else(|| "US".to_owned());
    if country.len() != 2 || !country.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return Err(ApiError::invalid(
            "country",
            "country_unsupported",
            format!("Country '{country}' is unknown."),
        ));
    }
    let currency = currency_of(&country);
    let (email, business_type) = (p.some("email")?, p.some("business_type")?);
    let name = p
        .child("business_profile")
        .map(|one| one.some("name"))
        .transpose()?
        .flatten();
    let (bank, tos, capabilities) = (given_bank(p)?, given_tos(p)?, requested(p)?);
    let mut metadata = Metadata::new();
    merge_metadata(&mut metadata, p.dict("metadata")?);
    p.ignore(&UNMODELLED);
    p.finish()?;
    let bank = bank.map(|given| world.new_bank(given.number.as_deref(), given.currency.as_deref().unwrap_or(currency)));
    let wanted = capabilities.into_iter().filter(|(_, requested)| *requested);
    let account = Account {
        id: String::new(),
        created: 0,
        kind,
        country,
        email,
        default_currency: currency.to_owned(),
        business_type,
        business_name: name,
        capabilities: wanted.map(|(name, _)| (name, CapabilityStatus::Inactive)).collect(),
        requirements: Requirements::default(),
        details_submitted: false,
        tos_accepted: tos,
        bank,
        payouts_enabled: false,
        metadata,
    };
    Ok(world.create_account(account).id)
}

fn update(world: &mut World, call: &Call, id: &str) -> ApiResult<()> {
    let p = &call.params;
    let currency = world.account(id, "id")?.default_currency.clone();
    let (email, business_type) = (p.some("email")?, p.some("business_type")?);
    let (bank, tos, capabilities) = (given_bank(p)?, given_tos(p)?, requested(p)?);
    let metadata = p.dict("metadata")?;
    p.ignore(&UNMODELLED);
    p.finish()?;
    let bank =
        bank.map(|given| world.new_bank(given.number.as_deref(), given.currency.as_deref().unwrap_or(&currency)));
    world.change_account(id, |account| {
        merge_metadata(&mut account.metadata, metadata);
        account.email = email.or_else(|| account.email.take());
        account.business_type = business_type.or_else(|| account.business_type.take());
        let brings = bank.is_some() || tos.is_some() || !capabilities.is_empty();
        account.bank = bank.or_else(|| account.bank.take());
        account.tos_accepted = tos.or(account.tos_accepted);
        for (name, requested) in capabilities {
            request(account, name, requested);
        }
        if brings {
            account.settle();
        }
    })?;
    Ok(())
}

fn request(account: &mut Account, name: String, requested: bool) {
    if requested {
        account.capabilities.entry(name).or_insert(CapabilityStatus::Inactive);
    } else {
        account.capabilities.remove(&name);
    }
}

fn capabilities(world: &mut World, call: &Call, id: &str, rest: &[&str]) -> ApiResult<Value> {
    let p = &call.params;
    let show = |account: &Account, name: &str| {
        let capability = Capability {
            name: name.to_owned(),
            account: account.clone(),
        };
        render::object(&Object::Capability(capability.into()), &call.version)
    };
    match (call.method.as_str(), rest) {
        ("GET", []) => {
            p.finish()?;
            let account = world.account(id, "id")?;
            let all = account.capabilities.keys().map(|name| show(account, name)).collect();
            Ok(render::list(&call.path, all, false))
        }
        ("GET", [name]) => {
            p.finish()?;
            Ok(show(world.account(id, "id")?, name))
        }
        ("POST", [name]) => {
            let requested = p.flag("requested")?.unwrap_or(true);
            p.finish()?;
            let after = world.change_account(id, |account| {
                request(account, (*name).to_owned(), requested);
                account.settle();
            })?;
            Ok(show(&after, name))
        }
        _ => Err(unknown(call)),
    }
}

/// The page where an account's owner fills in what is due; doing that is `complete_onboarding` here.
pub(super) fn links(world: &mut World, call: &Call, at: (&str, &[&str])) -> ApiResult<Value> {
    let p = &call.params;
    if at != ("POST", &[][..]) {
        return Err(unknown(call));
    }
    let account = p.required("account")?;
    p.required("type")?;
    p.ignore(&["refresh_url", "return_url", "collect", "collection_options"]);
    p.finish()?;
    world.account(&account, "account")?;
    let (now, token) = (world.now(), world.ids.secret("account_link", 12));
    Ok(json!({
        "object": "account_link",
        "created": now,
        "expires_at": now + 300,
        "url": format!("https://connect.stripe.com/setup/e/{account}/{token}")
    }))
}
