//! What the live database says about itself: read once, in one snapshot, and then looked at without the database.

use std::collections::BTreeSet;

use tokio_postgres::{Client, IsolationLevel, Row, Transaction};

use super::expected::MONTHS_NEEDED;
use crate::error::{DbError, During as _};
use crate::migrate::AppliedMigration;
use crate::partitions::{DEFAULT_COUNT_LIMIT, PARTITIONED, count_default_sql};

const OPERATION: &str = "verify";

pub(super) const SERVICE: &str = "holdfast_service";
pub(super) const TENANT: &str = "holdfast_tenant";

/// A table, partition, view or sequence of the schema.
pub(super) struct Relation {
    pub(super) name: String,
    pub(super) owner: String,
    /// Only tables and partitions can be under row-level security.
    pub(super) is_table: bool,
    pub(super) rls_enabled: bool,
    pub(super) rls_forced: bool,
    /// The table that this is a partition of.
    pub(super) parent: Option<String>,
    pub(super) is_default_partition: bool,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Policy {
    pub(super) table: String,
    pub(super) name: String,
    /// Everything that decides what it lets through, in one line.
    pub(super) definition: String,
}

/// A privilege that somebody other than the owner has.
pub(super) struct Grant {
    /// A relation, a function with `()`, or `default privileges`.
    pub(super) object: String,
    /// A role, or `PUBLIC`.
    pub(super) grantee: String,
    /// `SELECT`, or `UPDATE (column)`.
    pub(super) privilege: String,
}

pub(super) struct Role {
    pub(super) name: String,
    /// Attributes that it must not have.
    pub(super) powers: Vec<String>,
    /// Roles whose rights it has beside its own.
    pub(super) member_of: Vec<String>,
}

/// A function that runs with its owner's rights.
pub(super) struct DefinerFunction {
    pub(super) name: String,
    pub(super) has_search_path: bool,
}

/// A trigger that somebody made, not one that a foreign key needs.
pub(super) struct Trigger {
    pub(super) table: String,
    pub(super) name: String,
    /// Whether it fires for everybody.
    pub(super) fires: bool,
}

pub(super) struct Index {
    pub(super) table: String,
    pub(super) name: String,
    pub(super) is_unique: bool,
    /// An index whose building failed is there, and neither used nor kept unique.
    pub(super) is_valid: bool,
}

/// What a commit is worth.
#[derive(Default)]
pub(super) struct Durability {
    /// The service role's commits are answered before they are on disk.
    pub(super) answers_early: bool,
    /// Standbys that follow.
    pub(super) standbys: i64,
    /// Whether a commit waits for one of them.
    pub(super) waits_for_one: bool,
}

pub(super) struct Catalog {
    pub(super) migrations: Vec<AppliedMigration>,
    pub(super) relations: Vec<Relation>,
    pub(super) policies: BTreeSet<Policy>,
    pub(super) grants: Vec<Grant>,
    pub(super) roles: Vec<Role>,
    pub(super) definer_functions: Vec<DefinerFunction>,
    pub(super) triggers: Vec<Trigger>,
    pub(super) indexes: Vec<Index>,
    /// `<table>.<name>` of constraints that hold for new rows only.
    pub(super) unvalidated: Vec<String>,
    pub(super) durability: Durability,
    /// `YYYY_MM` of the months that must have a partition.
    pub(super) months: Vec<String>,
    /// Rows in DEFAULT partitions, counted up to a limit.
    pub(super) default_rows: Vec<(&'static str, i64)>,
    /// What a session reads for these values of its setting: unset, left empty, two organisations.
    pub(super) session_orgs: [Option<Vec<String>>; 3],
}

impl Catalog {
    pub(super) async fn read(client: &mut Client) -> Result<Self, DbError> {
        let builder = client
            .build_transaction()
            .isolation_level(IsolationLevel::RepeatableRead);
        let txn = builder.start().await.during(OPERATION)?;
        // Names in deparsed expressions are qualified or not depending on it.
        txn.batch_execute("SET LOCAL search_path = public")
            .await
            .during(OPERATION)?;
        let relations = read_relations(&txn).await?;
        let has = |name: &str| relations.iter().any(|relation| relation.name == name);
        Ok(Self {
            migrations: if has("schema_migrations") {
                read_migrations(&txn).await?
            } else {
                Vec::new()
            },
            policies: read_policies(&txn).await?,
            grants: read_grants(&txn).await?,
            roles: read_roles(&txn).await?,
            definer_functions: read_definer_functions(&txn).await?,
            triggers: read_triggers(&txn).await?,
            indexes: read_indexes(&txn).await?,
            unvalidated: read_unvalidated(&txn).await?,
            durability: read_durability(&txn).await?,
            months: read_months(&txn).await?,
            default_rows: count_default_rows(&txn, has).await?,
            session_orgs: probe_session_orgs(&txn).await?,
            relations,
        })
    }

    pub(super) fn relation(&self, name: &str) -> Option<&Relation> {
        self.relations.iter().find(|relation| relation.name == name)
    }

    pub(super) fn partitions_of<'a>(&'a self, parent: &'a str) -> impl Iterator<Item = &'a Relation> {
        self.relations
            .iter()
            .filter(move |relation| relation.parent.as_deref() == Some(parent))
    }
}

async fn rows(txn: &Transaction<'_>, sql: &str) -> Result<Vec<Row>, DbError> {
    txn.query(sql, &[]).await.during(OPERATION)
}

async fn read_relations(txn: &Transaction<'_>) -> Result<Vec<Relation>, DbError> {
    let found = rows(
        txn,
        "SELECT c.relname::text, pg_get_userbyid(c.relowner)::text, c.relkind IN ('r', 'p'), c.relrowsecurity,
                c.relforcerowsecurity, parent.relname::text,
                coalesce(pg_get_expr(c.relpartbound, c.oid) = 'DEFAULT', false)
         FROM pg_class AS c
         LEFT JOIN pg_inherits AS i ON i.inhrelid = c.oid
         LEFT JOIN pg_class AS parent ON parent.oid = i.inhparent
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
         ORDER BY c.relname",
    )
    .await?;
    let read = |row: &Row| Relation {
        name: row.get(0),
        owner: row.get(1),
        is_table: row.get(2),
        rls_enabled: row.get(3),
        rls_forced: row.get(4),
        parent: row.get(5),
        is_default_partition: row.get(6),
    };
    Ok(found.iter().map(read).collect())
}

async fn read_migrations(txn: &Transaction<'_>) -> Result<Vec<AppliedMigration>, DbError> {
    let found = rows(
        txn,
        "SELECT version, name, checksum FROM schema_migrations ORDER BY version",
    )
    .await?;
    let read = |row: &Row| AppliedMigration {
        version: row.get(0),
        name: row.get(1),
        checksum: row.get(2),
    };
    Ok(found.iter().map(read).collect())
}

async fn read_policies(txn: &Transaction<'_>) -> Result<BTreeSet<Policy>, DbError> {
    let found = rows(
        txn,
        "SELECT tablename::text, policyname::text,
                concat_ws(' ', lower(permissive), 'for', lower(cmd), 'to', array_to_string(roles, ','),
                          'using (' || qual || ')', 'with check (' || with_check || ')')
         FROM pg_policies WHERE schemaname = 'public'",
    )
    .await?;
    let read = |row: &Row| Policy {
        table: row.get(0),
        name: row.get(1),
        definition: row.get(2),
    };
    Ok(found.iter().map(read).collect())
}

async fn read_grants(txn: &Transaction<'_>) -> Result<Vec<Grant>, DbError> {
    let found = rows(
        txn,
        "WITH acl (object, owner, entry, suffix) AS (
             SELECT c.relname::text, c.relowner, aclexplode(c.relacl), ''
             FROM pg_class AS c WHERE c.relnamespace = 'public'::regnamespace
             UNION ALL
             SELECT c.relname::text, c.relowner, aclexplode(a.attacl), ' (' || a.attname || ')'
             FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid
             WHERE c.relnamespace = 'public'::regnamespace
             UNION ALL
             SELECT p.proname || '()', p.proowner, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))), ''
             FROM pg_proc AS p WHERE p.pronamespace = 'public'::regnamespace AND p.prosecdef
             UNION ALL
             SELECT 'default privileges', d.defaclrole, aclexplode(d.defaclacl), ''
             FROM pg_default_acl AS d
             WHERE d.defaclobjtype IN ('r', 'S') AND d.defaclnamespace IN (0, 'public'::regnamespace)
         )
         SELECT object, coalesce(grantee.rolname::text, 'PUBLIC'), (entry).privilege_type || suffix
         FROM acl LEFT JOIN pg_roles AS grantee ON grantee.oid = (entry).grantee
         WHERE (entry).grantee <> owner ORDER BY 1, 2, 3",
    )
    .await?;
    let read = |row: &Row| Grant {
        object: row.get(0),
        grantee: row.get(1),
        privilege: row.get(2),
    };
    Ok(found.iter().map(read).collect())
}

async fn read_roles(txn: &Transaction<'_>) -> Result<Vec<Role>, DbError> {
    let found = txn
        .query(
            "SELECT r.rolname::text,
                    array_remove(ARRAY[CASE WHEN rolsuper THEN 'SUPERUSER' END, CASE WHEN rolbypassrls THEN 'BYPASSRLS' END,
                                       CASE WHEN rolcreaterole THEN 'CREATEROLE' END, CASE WHEN rolcreatedb THEN 'CREATEDB' END,
                                       CASE WHEN rolreplication THEN 'REPLICATION' END,
                                       CASE WHEN has_schema_privilege(r.oid, 'public', 'CREATE') THEN 'CREATE ON SCHEMA' END],
                                 NULL),
                    ARRAY(SELECT g.rolname::text FROM pg_auth_members AS m JOIN pg_roles AS g ON g.oid = m.roleid
                          WHERE m.member = r.oid ORDER BY 1)
             FROM pg_roles AS r WHERE r.rolname = ANY ($1)",
            &[&[SERVICE, TENANT].as_slice()],
        )
        .await
        .during(OPERATION)?;
    let read = |row: &Row| Role {
        name: row.get(0),
        powers: row.get(1),
        member_of: row.get(2),
    };
    Ok(found.iter().map(read).collect())
}

async fn read_definer_functions(txn: &Transaction<'_>) -> Result<Vec<DefinerFunction>, DbError> {
    let found = rows(
        txn,
        "SELECT proname::text, EXISTS (SELECT FROM unnest(proconfig) AS setting WHERE setting LIKE 'search_path=%')
         FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND prosecdef ORDER BY 1",
    )
    .await?;
    let read = |row: &Row| DefinerFunction {
        name: row.get(0),
        has_search_path: row.get(1),
    };
    Ok(found.iter().map(read).collect())
}

async fn read_triggers(txn: &Transaction<'_>) -> Result<Vec<Trigger>, DbError> {
    let found = rows(
        txn,
        "SELECT c.relname::text, t.tgname::text, t.tgenabled IN ('O', 'A')
         FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid
         WHERE c.relnamespace = 'public'::regnamespace AND NOT t.tgisinternal ORDER BY 1, 2",
    )
    .await?;
    let read = |row: &Row| Trigger {
        table: row.get(0),
        name: row.get(1),
        fires: row.get(2),
    };
    Ok(found.iter().map(read).collect())
}

async fn read_indexes(txn: &Transaction<'_>) -> Result<Vec<Index>, DbError> {
    let found = rows(
        txn,
        "SELECT t.relname::text, c.relname::text, i.indisunique, i.indisvalid
         FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid JOIN pg_class AS t ON t.oid = i.indrelid
         WHERE c.relnamespace = 'public'::regnamespace ORDER BY 1, 2",
    )
    .await?;
    let read = |row: &Row| Index {
        table: row.get(0),
        name: row.get(1),
        is_unique: row.get(2),
        is_valid: row.get(3),
    };
    Ok(found.iter().map(read).collect())
}

async fn read_unvalidated(txn: &Transaction<'_>) -> Result<Vec<String>, DbError> {
    let found = rows(
        txn,
        "SELECT t.relname || '.' || c.conname FROM pg_constraint AS c JOIN pg_class AS t ON t.oid = c.conrelid
         WHERE t.relnamespace = 'public'::regnamespace AND NOT c.convalidated ORDER BY 1",
    )
    .await?;
    Ok(found.iter().map(|row| row.get(0)).collect())
}

async fn read_durability(txn: &Transaction<'_>) -> Result<Durability, DbError> {
    // The most specific setting wins, and is kept as it was spelled.
    let sql = "WITH set AS (
                   SELECT lower(split_part(entry, '=', 2)) AS value
                   FROM pg_db_role_setting AS s CROSS JOIN LATERAL unnest(s.setconfig) AS entry
                   LEFT JOIN pg_roles AS r ON r.oid = s.setrole LEFT JOIN pg_database AS d ON d.oid = s.setdatabase
                   WHERE entry LIKE 'synchronous_commit=%' AND (s.setrole = 0 OR r.rolname = $1)
                       AND (s.setdatabase = 0 OR d.datname = current_database())
                   ORDER BY s.setrole <> 0 AND s.setdatabase <> 0 DESC, s.setrole <> 0 DESC LIMIT 1),
               effective AS (SELECT coalesce((SELECT value FROM set), current_setting('synchronous_commit')) AS value)
               SELECT value IN ('off', 'false', 'no', '0'), (SELECT count(*) FROM pg_stat_replication),
                   current_setting('synchronous_standby_names') <> '' AND value <> 'local'
               FROM effective";
    let row = txn.query_one(sql, &[&SERVICE]).await.during(OPERATION)?;
    Ok(Durability {
        answers_early: row.get(0),
        standbys: row.get(1),
        waits_for_one: row.get(2),
    })
}

async fn read_months(txn: &Transaction<'_>) -> Result<Vec<String>, DbError> {
    let found = txn
        .query(
            "SELECT to_char(date_trunc('month', now() AT TIME ZONE 'UTC') + make_interval(months => step), 'YYYY_MM')
             FROM generate_series(0, $1::integer) AS step",
            &[&MONTHS_NEEDED],
        )
        .await
        .during(OPERATION)?;
    Ok(found.iter().map(|row| row.get(0)).collect())
}

async fn count_default_rows(
    txn: &Transaction<'_>,
    has: impl Fn(&str) -> bool,
) -> Result<Vec<(&'static str, i64)>, DbError> {
    let mut counts = Vec::new();
    for table in PARTITIONED {
        if has(&format!("{table}_default")) {
            let sql = count_default_sql(table);
            counts.push((
                table,
                txn.query_one(&sql, &[&DEFAULT_COUNT_LIMIT])
                    .await
                    .during(OPERATION)?
                    .get(0),
            ));
        }
    }
    Ok(counts)
}

async fn probe_session_orgs(txn: &Transaction<'_>) -> Result<[Option<Vec<String>>; 3], DbError> {
    let exists = "SELECT to_regprocedure('holdfast_session_orgs()') IS NOT NULL";
    if !txn.query_one(exists, &[]).await.during(OPERATION)?.get::<_, bool>(0) {
        return Ok([None, None, None]);
    }
    let unset = session_orgs(txn).await?;
    set_orgs(txn, "").await?;
    let empty = session_orgs(txn).await?;
    set_orgs(txn, "org_1,org_2").await?;
    Ok([unset, empty, session_orgs(txn).await?])
}

async fn set_orgs(txn: &Transaction<'_>, value: &str) -> Result<(), DbError> {
    let set = "SELECT set_config('holdfast.org_ids', $1, true)";
    txn.execute(set, &[&value]).await.during(OPERATION).map(drop)
}

async fn session_orgs(txn: &Transaction<'_>) -> Result<Option<Vec<String>>, DbError> {
    Ok(txn
        .query_one("SELECT holdfast_session_orgs()", &[])
        .await
        .during(OPERATION)?
        .get(0))
}
