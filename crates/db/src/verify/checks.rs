//! The checks: pure functions of the catalog and of what is expected. Each says all that it found, not only the first thing.

use std::collections::BTreeSet;

use super::catalog::{Catalog, Relation, SERVICE, TENANT};
use super::expected::{DEFINER_FUNCTION, ExpectedTable, TABLES, TRIGGERS, UNIQUE_INDEXES};
use super::{Check, Verdict};
use crate::migrate::MIGRATIONS;

/// Privileges that the service role has on a DEFAULT partition: it counts the rows there.
const ON_DEFAULT_PARTITION: &[&str] = &["SELECT"];

pub(super) fn run(catalog: &Catalog) -> Vec<Check> {
    let mut checks = vec![migrations(catalog)];
    checks.extend([SERVICE, TENANT].map(|role| role_check(catalog, role)));
    for table in TABLES {
        let Some(relation) = catalog.relation(table.name) else {
            checks.push(Check::of(
                format!("table {}", table.name),
                vec!["is missing".to_owned()],
                "exists",
            ));
            continue;
        };
        checks.push(row_security(catalog, relation));
        checks.push(policies(catalog, table));
        checks.push(grants(catalog, table));
    }
    for table in TABLES.iter().filter(|table| table.partitioned) {
        checks.push(months(catalog, table.name));
        checks.push(default_partition(catalog, table.name));
    }
    checks.push(triggers(catalog));
    checks.push(unique_indexes(catalog));
    checks.push(unfinished(catalog));
    checks.push(commits(catalog));
    checks.push(session_setting(catalog));
    checks.push(other_relations(catalog));
    checks.push(definer_functions(catalog));
    checks.push(grants_to_others(catalog));
    checks
}

fn migrations(catalog: &Catalog) -> Check {
    let mut problems = Vec::new();
    for migration in MIGRATIONS {
        match catalog.migrations.iter().find(|row| row.version == migration.version) {
            None => problems.push(format!("{} is not applied", migration.name)),
            Some(row) if row.checksum != migration.checksum() => {
                problems.push(format!("{} was applied with another content", row.name));
            }
            Some(_) => {}
        }
    }
    let newer: Vec<_> = catalog
        .migrations
        .iter()
        .filter(|row| MIGRATIONS.iter().all(|known| known.version != row.version))
        .map(|row| row.name.as_str())
        .collect();
    let fine = if newer.is_empty() {
        format!("all {} applied", MIGRATIONS.len())
    } else {
        format!("all {} applied, and newer ones: {}", MIGRATIONS.len(), newer.join(", "))
    };
    Check::of("migrations".to_owned(), problems, &fine)
}

fn role_check(catalog: &Catalog, name: &str) -> Check {
    let mut problems = Vec::new();
    match catalog.roles.iter().find(|role| role.name == name) {
        None => problems.push("does not exist".to_owned()),
        Some(role) => {
            problems.extend(role.powers.iter().map(|power| format!("has {power}")));
            problems.extend(role.member_of.iter().map(|other| format!("has the rights of {other}")));
        }
    }
    let owned = catalog.relations.iter().filter(|relation| relation.owner == name);
    problems.extend(owned.map(|relation| format!("owns {}", relation.name)));
    Check::of(format!("role {name}"), problems, "exists, without special powers")
}

fn row_security(catalog: &Catalog, table: &Relation) -> Check {
    let mut problems = Vec::new();
    let mut partitions = 0;
    for relation in std::iter::once(table).chain(catalog.partitions_of(&table.name)) {
        partitions += usize::from(relation.parent.is_some());
        problems.extend(missing_security(relation));
    }
    let fine = match partitions {
        0 => "enabled and forced".to_owned(),
        count => format!("enabled and forced, on {count} partitions too"),
    };
    Check::of(format!("row-level security of {}", table.name), problems, &fine)
}

fn missing_security(relation: &Relation) -> Option<String> {
    match (relation.rls_enabled, relation.rls_forced) {
        (true, true) => None,
        (true, false) => Some(format!("is not forced on {}", relation.name)),
        (false, _) => Some(format!("is not enabled on {}", relation.name)),
    }
}

fn policies(catalog: &Catalog, table: &ExpectedTable) -> Check {
    let service = (
        "service_all",
        format!("permissive for all to {SERVICE} using (true) with check (true)"),
    );
    let mut expected = vec![(table.name, service.0, service.1.clone())];
    if let Some(column) = table.tenant {
        let definition =
            format!("permissive for select to {TENANT} using (({column} = ANY (holdfast_session_orgs())))");
        expected.push((table.name, "tenant_read", definition));
    }
    for partition in catalog.partitions_of(table.name) {
        expected.push((&partition.name, service.0, service.1.clone()));
    }
    let concerned: BTreeSet<&str> = expected.iter().map(|(table, ..)| *table).collect();
    let mut problems = Vec::new();
    for (table, name, definition) in &expected {
        match catalog
            .policies
            .iter()
            .find(|policy| policy.table == *table && policy.name == *name)
        {
            None => problems.push(format!("{name} on {table} is missing")),
            Some(policy) if policy.definition != *definition => {
                problems.push(format!(
                    "{name} on {table} is \"{}\", not \"{definition}\"",
                    policy.definition
                ));
            }
            Some(_) => {}
        }
    }
    let extra = catalog.policies.iter().filter(|policy| {
        concerned.contains(policy.table.as_str())
            && expected
                .iter()
                .all(|(table, name, _)| policy.table != *table || policy.name != *name)
    });
    problems.extend(extra.map(|policy| {
        format!(
            "{} on {} is unexpected: {}",
            policy.name, policy.table, policy.definition
        )
    }));
    let fine = if table.tenant.is_some() {
        "service_all, tenant_read"
    } else {
        "service_all"
    };
    Check::of(format!("policies of {}", table.name), problems, fine)
}

fn grants(catalog: &Catalog, table: &ExpectedTable) -> Check {
    let tenant: &[&str] = if table.tenant.is_some() { &["SELECT"] } else { &[] };
    let mut problems = differences(catalog, table.name, table.service, tenant);
    for partition in catalog.partitions_of(table.name) {
        let service = if partition.is_default_partition {
            ON_DEFAULT_PARTITION
        } else {
            &[]
        };
        problems.extend(differences(catalog, &partition.name, service, &[]));
    }
    let fine = match tenant {
        [] => format!("service: {}; tenant: nothing", table.service.join(", ")),
        _ => format!("service: {}; tenant: SELECT", table.service.join(", ")),
    };
    Check::of(format!("grants on {}", table.name), problems, &fine)
}

fn differences(catalog: &Catalog, object: &str, service: &[&str], tenant: &[&str]) -> Vec<String> {
    let mut problems = Vec::new();
    for (grantee, expected) in [(SERVICE, service), (TENANT, tenant), ("PUBLIC", &[])] {
        let granted: BTreeSet<&str> = catalog
            .grants
            .iter()
            .filter(|grant| grant.object == object && grant.grantee == grantee)
            .map(|grant| grant.privilege.as_str())
            .collect();
        for privilege in expected.iter().filter(|privilege| !granted.contains(*privilege)) {
            problems.push(format!("{grantee} lacks {privilege} on {object}"));
        }
        for privilege in granted.iter().filter(|privilege| !expected.contains(privilege)) {
            problems.push(format!("{grantee} has {privilege} on {object}"));
        }
    }
    problems
}

fn months(catalog: &Catalog, table: &str) -> Check {
    let mut problems: Vec<_> = catalog
        .months
        .iter()
        .map(|month| format!("{table}_{month}"))
        .filter(|name| catalog.partitions_of(table).all(|partition| partition.name != *name))
        .map(|name| format!("{name} is missing"))
        .collect();
    if !catalog
        .partitions_of(table)
        .any(|partition| partition.is_default_partition)
    {
        problems.push("the DEFAULT partition is missing".to_owned());
    }
    let fine = catalog.months.join(", ");
    Check::of(format!("months of {table}"), problems, &fine)
}

fn default_partition(catalog: &Catalog, table: &str) -> Check {
    let rows = catalog
        .default_rows
        .iter()
        .find(|(name, _)| *name == table)
        .map_or(0, |(_, rows)| *rows);
    let name = format!("default partition of {table}");
    if rows == 0 {
        return Check::of(name, Vec::new(), "empty");
    }
    let detail = format!("{rows} rows lie outside every month (docs/RUNBOOK.md, partition_default_used)");
    Check {
        name,
        verdict: Verdict::Warning,
        detail,
    }
}

/// What the database asserts by itself about money, whoever writes.
fn triggers(catalog: &Catalog) -> Check {
    let mut problems = Vec::new();
    for (table, name) in TRIGGERS {
        let mut found = catalog.triggers.iter();
        match found.find(|trigger| trigger.table == *table && trigger.name == *name) {
            None => problems.push(format!("{name} on {table} is missing")),
            Some(trigger) if !trigger.fires => problems.push(format!("{name} on {table} is disabled")),
            Some(_) => {}
        }
    }
    Check::of("triggers that keep sums".to_owned(), problems, "all fire")
}

/// What the database keeps from being there twice.
fn unique_indexes(catalog: &Catalog) -> Check {
    let mut problems = Vec::new();
    for (table, name) in UNIQUE_INDEXES {
        let mut found = catalog.indexes.iter();
        match found.find(|index| index.table == *table && index.name == *name) {
            None => problems.push(format!("{name} on {table} is missing")),
            Some(index) if !index.is_unique => problems.push(format!("{name} on {table} is not unique")),
            Some(index) if !index.is_valid => problems.push(format!("{name} on {table} is invalid")),
            Some(_) => {}
        }
    }
    Check::of("indexes that keep what is once".to_owned(), problems, "all there")
}

/// What was begun and did not come to its end: an index that was built in vain, a constraint that was never checked. Worth a look and not
/// wrong: one that is being built looks like that as well.
fn unfinished(catalog: &Catalog) -> Check {
    let invalid = catalog.indexes.iter().filter(|index| !index.is_valid);
    let invalid = invalid.map(|index| format!("index {} is invalid", index.name));
    let unvalidated = catalog.unvalidated.iter();
    let unvalidated = unvalidated.map(|name| format!("constraint {name} is not validated"));
    let found: Vec<String> = invalid.chain(unvalidated).collect();
    let name = "unfinished indexes and constraints".to_owned();
    if found.is_empty() {
        return Check::of(name, Vec::new(), "none");
    }
    Check {
        name,
        verdict: Verdict::Warning,
        detail: found.join("; "),
    }
}

/// What is committed before a call is made must not be forgotten after it.
fn commits(catalog: &Catalog) -> Check {
    let durability = &catalog.durability;
    let name = "what a commit is worth".to_owned();
    if durability.answers_early {
        let problem = "synchronous_commit is off: a crash forgets what was answered";
        return Check::of(name, vec![problem.to_owned()], "");
    }
    if durability.standbys > 0 && !durability.waits_for_one {
        return Check {
            name,
            verdict: Verdict::Warning,
            detail: "no commit waits for a standby: a failover can forget what was answered (docs/DATABASE.md)"
                .to_owned(),
        };
    }
    Check::of(name, Vec::new(), "it is on disk before it is answered")
}

fn session_setting(catalog: &Catalog) -> Check {
    let expected = [Vec::new(), Vec::new(), vec!["org_1".to_owned(), "org_2".to_owned()]];
    let cases = ["no setting", "a setting left empty", "org_1,org_2"];
    let mut problems = Vec::new();
    for ((case, wanted), found) in cases.iter().zip(&expected).zip(&catalog.session_orgs) {
        match found {
            Some(found) if found == wanted => {}
            Some(found) => problems.push(format!("{case} reads as {found:?}")),
            None => problems.push(format!("{case} cannot be read")),
        }
    }
    Check::of(
        "session setting holdfast.org_ids".to_owned(),
        problems,
        "nothing named, nothing seen",
    )
}

/// Tables that no expectation covers must be closed as well, and nothing of the kind may be open to the two roles.
fn other_relations(catalog: &Catalog) -> Check {
    let covered = |relation: &&Relation| {
        let table = relation.parent.as_deref().unwrap_or(&relation.name);
        TABLES.iter().any(|expected| expected.name == table)
    };
    let mut problems = Vec::new();
    for relation in catalog.relations.iter().filter(|relation| !covered(relation)) {
        if relation.is_table {
            problems.extend(missing_security(relation).map(|problem| format!("row-level security {problem}")));
        }
        problems.extend(differences(catalog, &relation.name, &[], &[]));
    }
    problems.extend(differences(catalog, "default privileges", &[], &[]));
    Check::of("everything else in the schema".to_owned(), problems, "closed")
}

fn definer_functions(catalog: &Catalog) -> Check {
    let mut problems = Vec::new();
    for function in &catalog.definer_functions {
        if function.name != DEFINER_FUNCTION {
            problems.push(format!("{} runs with its owner's rights", function.name));
        } else if !function.has_search_path {
            problems.push(format!("{} has no fixed search_path", function.name));
        }
    }
    problems.extend(differences(
        catalog,
        &format!("{DEFINER_FUNCTION}()"),
        &["EXECUTE"],
        &[],
    ));
    Check::of(
        "functions with their owner's rights".to_owned(),
        problems,
        DEFINER_FUNCTION,
    )
}

/// A role that an operator added sees no row unless it bypasses row-level security: worth knowing, not wrong.
fn grants_to_others(catalog: &Catalog) -> Check {
    let others: BTreeSet<String> = catalog
        .grants
        .iter()
        .filter(|grant| ![SERVICE, TENANT, "PUBLIC"].contains(&grant.grantee.as_str()))
        .map(|grant| format!("{} has {} on {}", grant.grantee, grant.privilege, grant.object))
        .collect();
    let name = "grants to other roles".to_owned();
    if others.is_empty() {
        return Check::of(name, Vec::new(), "none");
    }
    let detail = others.into_iter().collect::<Vec<_>>().join("; ");
    Check {
        name,
        verdict: Verdict::Warning,
        detail,
    }
}

#[cfg(test)]
mod tests {
    use super::super::catalog::Role;
    use super::*;

    fn with_roles(roles: Vec<Role>) -> Catalog {
        Catalog {
            migrations: Vec::new(),
            relations: Vec::new(),
            policies: BTreeSet::new(),
            grants: Vec::new(),
            roles,
            definer_functions: Vec::new(),
            triggers: Vec::new(),
            indexes: Vec::new(),
            unvalidated: Vec::new(),
            durability: Default::default(),
            months: Vec::new(),
            default_rows: Vec::new(),
            session_orgs: [None, None, None],
        }
    }

    #[test]
    fn a_role_that_is_missing_or_too_strong_fails_and_says_how() {
        let strong = Role {
            name: TENANT.to_owned(),
            powers: vec!["BYPASSRLS".to_owned()],
            member_of: vec![SERVICE.to_owned()],
        };
        let catalog = with_roles(vec![strong]);
        let missing = role_check(&catalog, SERVICE);
        assert_eq!(
            (missing.verdict, missing.detail.as_str()),
            (Verdict::Failed, "does not exist")
        );
        let strong = role_check(&catalog, TENANT);
        assert_eq!(strong.verdict, Verdict::Failed);
        assert_eq!(strong.detail, "has BYPASSRLS; has the rights of holdfast_service");
    }
}
