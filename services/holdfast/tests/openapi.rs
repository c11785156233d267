//! The document of the whole system against its routes.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod common;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use common::{Running, environment};
use reqwest::{Client, Method};
use serde_json::Value;
use service_kit::problem::MEDIA_TYPE;
use testkit::{TestBroker, TestDb};

/// An id that nothing has, and that every route can read.
const NOBODY: &str = "0";

#[tokio::test(flavor = "multi_thread")]
async fn every_documented_route_is_served_and_every_id_is_unique() {
    let (db, broker) = (TestDb::create().await, TestBroker::create().await);
    let mut env = environment(&db.service_url(), &broker.amqp_url());
    env.push(("STRIPE_CONNECT_WEBHOOK_SECRET", "whsec_connect_0123456789".to_owned()));
    let running = Running::start(&env, &["all"]).await;
    let (status, text) = running.get("/openapi.json").await;
    assert_eq!(status, 200);
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    let paths = document["paths"].as_object().unwrap();
    for needed in [
        "/api/admin/billing-alerts",
        "/api/clients/{client_id}",
        "/api/escrows/{id}/release",
        "/api/retry/transfers",
        "/healthz",
        "/metrics",
        "/openapi.json",
        "/webhooks/stripe",
        "/webhooks/stripe/connect",
    ] {
        assert!(paths.contains_key(needed), "{needed}");
    }
    let http = Client::builder().no_proxy().build().unwrap();
    let mut ids = BTreeSet::new();
    for (path, verbs) in paths {
        for (verb, operation) in verbs.as_object().unwrap() {
            assert!(ids.insert(operation["operationId"].to_string()), "{verb} {path}");
            let method = Method::from_bytes(verb.to_uppercase().as_bytes()).unwrap();
            let url = format!("http://{}{}", running.address, filled(path));
            let status = http.request(method, url).send().await.unwrap().status().as_u16();
            assert!(![404, 405, 500].contains(&status), "{verb} {path}: {status}");
            assert!(
                !operation["responses"][status.to_string()].is_null(),
                "{verb} {path}: {status}"
            );
        }
    }
}

/// The path with an id for each name.
fn filled(template: &str) -> String {
    let filled = template
        .split('/')
        .map(|part| if part.starts_with('{') { NOBODY } else { part });
    filled.collect::<Vec<_>>().join("/")
}

/// Routes that bypass `service_kit::http::Routes` would be missing in the document.
#[test]
fn services_have_no_other_way_to_a_route() {
    let mut files = Vec::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join(".."), &mut files);
    assert!(files.len() > 50, "{}", files.len());
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for way in ["ServiceConfig", "web::resource", "web::scope", "HttpServer", "App::new"] {
            assert!(!text.contains(way), "{way} in {}", file.display());
        }
    }
}

/// The sources of services, without their tests.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("tests") {
            collect(&path, files);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_documents_what_it_runs_and_problems_are_problems() {
    let broker = TestBroker::create().await;
    let running = Running::start(&environment("", &broker.amqp_url()), &["webhook-ingest"]).await;
    let (_, text) = running.get("/openapi.json").await;
    let document: Value = serde_json::from_str(&text).unwrap();
    let paths: Vec<&String> = document["paths"].as_object().unwrap().keys().collect();
    assert_eq!(
        paths,
        ["/healthz", "/metrics", "/openapi.json", "/readyz", "/webhooks/stripe"]
    );
    let refused = &document["paths"]["/webhooks/stripe"]["post"]["responses"]["503"];
    let code = &refused["content"][MEDIA_TYPE]["schema"]["allOf"][1]["properties"]["code"];
    assert_eq!(code["enum"][0], "broker_unavailable");
}
