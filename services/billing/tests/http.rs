//! Registering and showing clients: who may, what is refused and under which name.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod support;

use serde_json::{Value, json};
use service_kit::auth::Role;
use support::events::{Payer, T0};
use support::{World, in_shared_world, service_token, token, unique};

async fn member(world: &World, org: &str, role: &str) -> String {
    let user = unique("user");
    let sql = "INSERT INTO organizations (id) VALUES ($1) ON CONFLICT DO NOTHING";
    world.sql.execute(sql, &[&org]).await.unwrap();
    let sql = "INSERT INTO org_members (org_id, user_id, role) VALUES ($1, $2, $3)";
    world.sql.execute(sql, &[&org, &user, &role]).await.unwrap();
    token(&user, Role::User, 600)
}

fn code(answer: &(u16, Value)) -> (u16, &str) {
    assert!(answer.1["request_id"].is_string(), "{answer:?}");
    (answer.0, answer.1["code"].as_str().unwrap())
}

#[test]
fn callers_without_a_good_token_are_401_and_people_may_not_register() {
    in_shared_world(async |world| {
        let client = unique("closed");
        let body = json!({"org_id": "org_1", "payment_source": "STRIPE"});
        let path = format!("/api/clients/{client}");
        for (method, path) in [
            ("PUT", path.clone()),
            ("GET", path.clone()),
            ("GET", format!("{path}/timeline")),
        ] {
            let method = || reqwest::Method::from_bytes(method.as_bytes()).unwrap();
            let none = world
                .request(|http, base| http.request(method(), base + &path).json(&body))
                .await;
            assert_eq!(none.0, 401);
            code(&none);
            for bad in [
                "nonsense".to_owned(),
                token("shop", Role::Service, -10),
                format!("{}x", service_token()),
            ] {
                let answer = world
                    .request(|http, base| http.request(method(), base + &path).json(&body).bearer_auth(bad))
                    .await;
                assert_eq!(answer.0, 401, "{answer:?}");
            }
        }
        for user in [token("nobody", Role::User, 600), member(&world, "org_1", "admin").await] {
            let answer = world.put_as(&user, &client, &body).await;
            assert_eq!(answer.0, 403);
            code(&answer);
        }
        assert_eq!(
            world.count("client_billing", &format!("client_id = '{client}'")).await,
            0
        );
    });
}

#[test]
fn a_bad_registration_is_told_its_field() {
    in_shared_world(async |world| {
        let good = json!({"org_id": "org_1", "payment_source": "STRIPE"});
        let client = unique("field");
        let long = "x".repeat(256);
        let cases = [
            ("org_id", json!({"org_id": null})),
            ("org_id", json!({"org_id": ""})),
            ("org_id", json!({"org_id": "a,b"})),
            ("org_id", json!({"org_id": 7})),
            ("payment_source", json!({"payment_source": null})),
            ("payment_source", json!({"payment_source": "stripe"})),
            ("state", json!({"state": "ACTIVE"})),
            ("state", json!({"state": "CANCELED"})),
            ("stripe_customer_id", json!({"stripe_customer_id": "cus with blanks"})),
            ("stripe_customer_id", json!({"stripe_customer_id": long})),
            ("checkout_session_id", json!({"checkout_session_id": []})),
            ("contracted_price_id", json!({"contracted_price_id": "a\tb"})),
            ("contracted_currency", json!({"contracted_currency": "euro"})),
            ("version", json!({"version": 9})),
        ];
        for (field, change) in cases {
            let answer = world
                .put(&client, &support::events::merge(good.clone(), change.clone()))
                .await;
            assert_eq!(code(&answer), (400, "field_invalid"), "{change}");
            assert_eq!(answer.1["field"], field, "{change}");
            assert!(answer.1["detail"].as_str().unwrap().contains(field));
        }
        assert_eq!(code(&world.put("with%20blank", &good).await), (400, "field_invalid"));
        assert_eq!(code(&world.put(&long, &good).await), (400, "field_invalid"));
        assert_eq!(code(&world.put(&client, &json!([1])).await), (400, "body_malformed"));
        let path = format!("/api/clients/{client}");
        let put = |body: &'static str| {
            let path = path.clone();
            world.request(move |http, base| {
                http.put(base + &path)
                    .bearer_auth(service_token())
                    .header("content-type", "application/json")
                    .body(body)
            })
        };
        assert_eq!(code(&put("{").await), (400, "body_malformed"));
        assert_eq!(code(&put("").await), (400, "body_malformed"));
        assert_eq!(world.get(&path).await.0, 404, "nothing was registered");
    });
}

#[test]
fn a_bad_registration_is_told_all_its_fields_at_once() {
    in_shared_world(async |world| {
        let client = unique("fields");
        let bad = json!({"payment_source": "stripe", "state": "ACTIVE", "contracted_currency": "euro", "version": 9});
        let answer = world.put(&client, &bad).await;
        assert_eq!(code(&answer), (400, "field_invalid"));
        assert_eq!(answer.1["field"], "version");
        assert_eq!(answer.1["detail"], "version is not a field of a client.");
        assert_eq!(
            answer.1["errors"],
            json!({
                "version": "version is not a field of a client.",
                "org_id": "org_id is missing.",
                "payment_source": "payment_source has to be NONE, STRIPE or MANUAL.",
                "state": "state has to be TRIAL_PENDING or TRIAL_ACTIVE.",
                "contracted_currency": "contracted_currency is not a currency code of three letters.",
            })
        );
    });
}

#[test]
fn a_registration_is_new_once_and_keeps_what_it_is_not_told() {
    in_shared_world(async |world| {
        let payer = Payer::new("known");
        let org = unique("org_new");
        let full = json!({"org_id": org, "payment_source": "STRIPE", "state": "TRIAL_ACTIVE", "stripe_customer_id": payer.customer,
            "checkout_session_id": format!("cs_{}", payer.client), "contracted_price_id": "price_1", "contracted_currency": "EUR"});
        let (status, body) = world.put(&payer.client, &full).await;
        assert_eq!(
            (status, body["state"].as_str(), body["org_id"].as_str()),
            (201, Some("TRIAL_ACTIVE"), Some(org.as_str()))
        );
        assert_eq!(body["contracted_currency"], "eur");
        for name in [
            "client_id",
            "payment_source",
            "stripe_subscription_id",
            "current_period_end",
            "last_event",
            "version",
        ] {
            assert!(body.as_object().unwrap().contains_key(name), "{name}");
        }
        let (status, again) = world
            .put(
                &payer.client,
                &json!({"org_id": org, "payment_source": "STRIPE", "state": "TRIAL_PENDING"}),
            )
            .await;
        assert_eq!((status, &again), (200, &body), "the state counts for a new client only");
        let second = format!("{}_2", payer.customer);
        let (_, more) = world
            .put(
                &payer.client,
                &json!({"org_id": org, "payment_source": "STRIPE", "stripe_customer_id": second}),
            )
            .await;
        assert_eq!(more["stripe_customer_id"], second.as_str(), "the newest is shown");
        assert_eq!(
            world
                .count("billing_customers", &format!("client_id = '{}'", payer.client))
                .await,
            2,
            "and both count"
        );
        assert_eq!(world.client(&payer.client).await, more);
    });
}

#[test]
fn the_customer_that_was_added_last_is_shown_however_often_an_earlier_one_is_registered_again() {
    in_shared_world(async |world| {
        let payer = Payer::new("customers");
        let (first, second) = (payer.customer.clone(), payer.with_customer("second").customer);
        for (customer, shown) in [
            (Some(&first), &first),
            (Some(&second), &second),
            (Some(&first), &second),
            (None, &second),
        ] {
            world.register(&payer.client, customer.map(String::as_str)).await;
            assert_eq!(world.client(&payer.client).await["stripe_customer_id"], shown.as_str());
        }
    });
}

#[test]
fn what_belongs_to_another_is_409_and_nothing_of_it_stays() {
    in_shared_world(async |world| {
        let (owner, other) = (Payer::new("owner"), Payer::new("other"));
        let session = format!("cs_{}", owner.client);
        let body =
            |org: &str, more: Value| support::events::merge(json!({"org_id": org, "payment_source": "STRIPE"}), more);
        let mine = body(
            "org_1",
            json!({"stripe_customer_id": owner.customer, "checkout_session_id": session}),
        );
        assert_eq!(world.put(&owner.client, &mine).await.0, 201);
        let before = world.client(&owner.client).await;
        let cases = [
            (
                &owner.client,
                body("org_2", json!({})),
                "client_of_another_organization",
            ),
            (
                &other.client,
                body("org_1", json!({"stripe_customer_id": owner.customer})),
                "customer_of_another_client",
            ),
            (
                &other.client,
                body("org_1", json!({"checkout_session_id": session})),
                "checkout_session_of_another_client",
            ),
        ];
        for (client, body, reason) in cases {
            let answer = world.put(client, &body).await;
            assert_eq!(code(&answer), (409, "conflict"));
            assert_eq!(answer.1["reason"], reason);
        }
        assert_eq!(world.get(&format!("/api/clients/{}", other.client)).await.0, 404);
        assert_eq!(world.client(&owner.client).await, before);
        // At the same moment only one gets it.
        let contended = unique("cs_contended");
        let (a, b) = (Payer::new("a"), Payer::new("b"));
        let claim = body("org_1", json!({"checkout_session_id": contended}));
        let (a, b) = tokio::join!(world.put(&a.client, &claim), world.put(&b.client, &claim));
        let mut answers = [a.0, b.0];
        answers.sort_unstable();
        assert_eq!(answers, [201, 409]);
    });
}

#[test]
fn a_client_is_shown_to_its_members_to_admins_and_services_and_hidden_from_all_others() {
    in_shared_world(async |world| {
        let client = unique("shown");
        let org = unique("org_shown");
        assert_eq!(
            world
                .put(&client, &json!({"org_id": org, "payment_source": "NONE"}))
                .await
                .0,
            201
        );
        let may = [
            service_token(),
            member(&world, &org, "member").await,
            member(&world, "org_else", "admin").await,
        ];
        let may_not = [
            member(&world, "org_else", "member").await,
            token("stranger", Role::User, 600),
        ];
        for path in [
            format!("/api/clients/{client}"),
            format!("/api/clients/{client}/timeline"),
        ] {
            for token in &may {
                assert_eq!(world.get_as(token, &path).await.0, 200);
            }
            for token in &may_not {
                let hidden = world.get_as(token, &path).await;
                let missing = world.get_as(token, &path.replace(&client, "no_such_client")).await;
                assert_eq!(code(&hidden), (404, "not_found"));
                assert_eq!(code(&hidden), code(&missing));
                assert_eq!(
                    hidden.1["detail"], missing.1["detail"],
                    "nobody can tell that it exists"
                );
            }
        }
    });
}

#[test]
fn a_timeline_is_paged_newest_first_without_gaps() {
    in_shared_world(async |world| {
        let payer = Payer::new("paged");
        world.register(&payer.client, Some(&payer.customer)).await;
        let mut sent = Vec::new();
        for step in 0..6 {
            let event = payer.subscription("updated", T0 + step, if step % 2 == 0 { "active" } else { "past_due" });
            world.decide(&event).await;
            sent.insert(0, event.id);
        }
        let path = format!("/api/clients/{}/timeline", payer.client);
        for limit in [1, 2, 3, 4, 6, 7] {
            let (mut seen, mut pages, mut next) = (Vec::new(), 0, None);
            loop {
                let before = next.map(|id: String| format!("&before={id}")).unwrap_or_default();
                let (status, page) = world.get(&format!("{path}?limit={limit}{before}")).await;
                assert_eq!(status, 200);
                pages += 1;
                seen.extend(
                    page["decisions"]
                        .as_array()
                        .unwrap()
                        .iter()
                        .map(|d| d["event_id"].as_str().unwrap().to_owned()),
                );
                match page.get("next") {
                    Some(id) => next = Some(id.as_str().unwrap().to_owned()),
                    None => break,
                }
            }
            assert_eq!(seen, sent);
            assert_eq!(pages, 6_usize.div_ceil(limit), "no page is empty");
        }
        for bad in ["limit=0", "limit=201", "limit=-1"] {
            let answer = world.get(&format!("{path}?{bad}")).await;
            assert_eq!(
                (code(&answer), &answer.1["field"]),
                ((400, "field_invalid"), &json!("limit")),
                "{bad}"
            );
        }
        for bad in ["limit=many", "before=yesterday"] {
            assert_eq!(
                code(&world.get(&format!("{path}?{bad}")).await),
                (400, "query_malformed"),
                "{bad}"
            );
        }
    });
}
