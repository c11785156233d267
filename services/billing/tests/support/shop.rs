//! A simulated Stripe with a subscription in it, for what billing reads from Stripe.

use std::time::Duration;

use reqwest::Method;
use serde_json::Value;
use stripe_gateway::client::{ApiBase, Backoff, ClientConfig};
use stripe_sim::{SimConfig, SimHandle};

const KEY: &str = "sk_test_0123456789abcdef01234567";

pub struct Shop {
    sim: SimHandle,
    http: reqwest::Client,
    pub customer: String,
    pub subscription: String,
}

impl Shop {
    /// A simulator with one paid subscription.
    pub async fn open() -> Self {
        let mut shop = Self {
            sim: stripe_sim::start(SimConfig::default()).await.unwrap(),
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            customer: String::new(),
            subscription: String::new(),
        };
        let card = [("invoice_settings[default_payment_method]", "pm_card_visa")];
        shop.customer = id(&shop.post("/v1/customers", &card).await);
        let price = [
            ("currency", "eur"),
            ("unit_amount", "4900"),
            ("recurring[interval]", "month"),
            ("product_data[name]", "Plan"),
        ];
        let price = id(&shop.post("/v1/prices", &price).await);
        let form = [
            ("customer", shop.customer.as_str()),
            ("items[0][price]", price.as_str()),
        ];
        shop.subscription = id(&shop.post("/v1/subscriptions", &form).await);
        shop
    }

    /// How billing is told to reach it: without long waits between attempts.
    pub fn client_config(&self) -> ClientConfig {
        let base = ApiBase::parse(&self.sim.base_url).unwrap();
        ClientConfig {
            backoff: Backoff {
                base: Duration::from_millis(1),
                cap: Duration::from_millis(2),
            },
            ..ClientConfig::new(base, KEY.to_owned().into(), Duration::from_secs(5), 1)
        }
    }

    pub async fn post(&self, path: &str, form: &[(&str, &str)]) -> Value {
        self.call(Method::POST, path, form).await
    }

    pub async fn get(&self, path: &str) -> Value {
        self.call(Method::GET, path, &[]).await
    }

    /// Sets a fault up, in the simulator's own words.
    pub async fn fault(&self, fault: &Value) {
        let url = format!("{}/_sim/faults", self.sim.base_url);
        let response = self.http.post(url).json(fault).send().await.unwrap();
        assert!(response.status().is_success(), "{fault}");
    }

    async fn call(&self, method: Method, path: &str, form: &[(&str, &str)]) -> Value {
        let url = format!("{}{path}", self.sim.base_url);
        let request = self.http.request(method, url).bearer_auth(KEY);
        let request = if form.is_empty() { request } else { request.form(form) };
        let text = request.send().await.unwrap().text().await.unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        assert!(value.get("error").is_none(), "{path}: {text}");
        value
    }
}

fn id(object: &Value) -> String {
    object["id"].as_str().unwrap().to_owned()
}
