-- Roles, organisations, and the helpers that every later migration uses.
-- Safe on a running system: everything is new.
--
-- Two roles of the cluster, neither of which may log in until an operator gives it a password (docs/DATABASE.md):
--   holdfast_service  reads and writes rows; append-only tables give it INSERT and SELECT only
--   holdfast_tenant   reads the rows of the organisations named in the session setting holdfast.org_ids (comma separated)
-- Migrations run as a role that may create roles and bypasses row-level security: FORCE ROW LEVEL SECURITY hits the owner too.

DO $$
BEGIN
    CREATE ROLE holdfast_service NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END $$;
DO $$
BEGIN
    CREATE ROLE holdfast_tenant NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END $$;

REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO holdfast_service, holdfast_tenant;

-- The organisations that this session may read. An unset setting and one that a SET LOCAL left empty both mean: none.
CREATE FUNCTION holdfast_session_orgs() RETURNS text[]
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$ SELECT coalesce(string_to_array(nullif(current_setting('holdfast.org_ids', true), ''), ','), '{}') $$;

-- Puts a table (or a partition, which inherits nothing of this) under row-level security: the service role sees every row.
CREATE FUNCTION holdfast_protect(target regclass) RETURNS void
    LANGUAGE plpgsql
    AS $$
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', target);
    EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', target);
    EXECUTE format('CREATE POLICY service_all ON %s FOR ALL TO holdfast_service USING (true) WITH CHECK (true)', target);
END $$;

-- Lets the tenant role read the rows of its organisations in a protected table that has a column org_id.
CREATE FUNCTION holdfast_share_with_tenant(target regclass) RETURNS void
    LANGUAGE plpgsql
    AS $$
BEGIN
    EXECUTE format('GRANT SELECT ON %s TO holdfast_tenant', target);
    EXECUTE format(
        'CREATE POLICY tenant_read ON %s FOR SELECT TO holdfast_tenant USING (org_id = ANY (holdfast_session_orgs()))',
        target);
END $$;

REVOKE EXECUTE ON FUNCTION holdfast_protect(regclass), holdfast_share_with_tenant(regclass) FROM PUBLIC;

-- Made by the migrating binary before this file. Services read it to see whether the schema is theirs.
SELECT holdfast_protect('schema_migrations');
GRANT SELECT ON schema_migrations TO holdfast_service;

CREATE TABLE organizations (
    id         text PRIMARY KEY CHECK (length(id) BETWEEN 1 AND 255 AND position(',' in id) = 0),
    name       text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now()
);
SELECT holdfast_protect('organizations');
GRANT SELECT, INSERT, UPDATE ON organizations TO holdfast_service;
GRANT SELECT ON organizations TO holdfast_tenant;
CREATE POLICY tenant_read ON organizations FOR SELECT TO holdfast_tenant USING (id = ANY (holdfast_session_orgs()));

CREATE TABLE org_members (
    org_id     text NOT NULL REFERENCES organizations (id),
    user_id    text NOT NULL CHECK (length(user_id) BETWEEN 1 AND 255),
    role       text NOT NULL CHECK (role IN ('admin', 'member')),
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org_id, user_id)
);
CREATE INDEX org_members_by_user ON org_members (user_id);
SELECT holdfast_protect('org_members');
SELECT holdfast_share_with_tenant('org_members');
GRANT SELECT, INSERT, UPDATE, DELETE ON org_members TO holdfast_service;
