//! Organisations and their members.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use db::tenancy::{OrgRole, ensure_organization, find_membership, is_admin_anywhere, upsert_member};
use db::{Database, DatabaseConfig};
use domain::ids::OrgId;
use testkit::TestDb;

fn org(id: &str) -> OrgId {
    OrgId::parse(id).unwrap()
}

#[tokio::test]
async fn an_admin_anywhere_is_one_also_while_only_a_member_elsewhere() {
    let test = TestDb::create().await;
    let config = DatabaseConfig::new(test.service_url().into(), "holdfast-test");
    let conn = Database::open(&config).unwrap().conn().await.unwrap();
    for id in ["org_1", "org_2", "org_1"] {
        ensure_organization(&conn, &org(id), id).await.unwrap();
    }
    upsert_member(&conn, "user_1", &org("org_1"), OrgRole::Member)
        .await
        .unwrap();
    upsert_member(&conn, "user_1", &org("org_2"), OrgRole::Member)
        .await
        .unwrap();
    assert!(!is_admin_anywhere(&conn, "user_1").await.unwrap());
    upsert_member(&conn, "user_1", &org("org_2"), OrgRole::Admin)
        .await
        .unwrap();
    assert!(is_admin_anywhere(&conn, "user_1").await.unwrap());
    assert!(!is_admin_anywhere(&conn, "user_2").await.unwrap());
    for (user, org_id, expected) in [
        ("user_1", "org_1", Some(OrgRole::Member)),
        ("user_1", "org_2", Some(OrgRole::Admin)),
        ("user_2", "org_2", None),
        ("user_1", "org_3", None),
    ] {
        assert_eq!(
            find_membership(&conn, user, &org(org_id)).await.unwrap(),
            expected,
            "{user} in {org_id}"
        );
    }
    let comma = ensure_organization(&conn, &org("org_1,org_2"), "").await.unwrap_err();
    assert_eq!(
        comma.constraint(),
        Some("organizations_id_check"),
        "it would name two in a tenant's setting"
    );
}
