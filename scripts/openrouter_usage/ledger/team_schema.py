"""The tables and functions of a shared ledger in PostgreSQL, and the steps by which an older one is brought up to them.

Programs only call the functions: each is one round trip, one transaction, and safe to repeat with the same id. Rows are
always locked in the order facet, name, day, so that no two calls wait for each other. Nothing here needs more than
READ COMMITTED: a sum is read after the row of its owner is locked. Advisory locks, LISTEN and SKIP LOCKED are not used,
because distributed engines lack them.
"""

from __future__ import annotations

# Raised whenever a table or a function changes; `team init` brings an older ledger up to it.
VERSION = 2
SCHEMA = "openrouter_usage"
MEMBERS, ADMINISTRATORS = "openrouter_usage_member", "openrouter_usage_admin"

# Run before the lock: what two people who begin at the same time may both make.
PREPARE = f"""
CREATE SCHEMA IF NOT EXISTS {SCHEMA};
CREATE TABLE IF NOT EXISTS {SCHEMA}.version (number integer PRIMARY KEY, at timestamptz NOT NULL DEFAULT now());
"""
# An upgrade waits here for every other one; readers of the tables do not.
LOCK = f"LOCK TABLE {SCHEMA}.version IN ACCESS EXCLUSIVE MODE"
READ_VERSION = f"SELECT coalesce(max(number), 0) FROM {SCHEMA}.version"
WRITE_VERSION = f"INSERT INTO {SCHEMA}.version (number) VALUES ({VERSION}) ON CONFLICT DO NOTHING"

ROLES = f"""
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{MEMBERS}') THEN
        CREATE ROLE {MEMBERS} NOLOGIN;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{ADMINISTRATORS}') THEN
        CREATE ROLE {ADMINISTRATORS} NOLOGIN;
    END IF;
    IF NOT pg_has_role('{ADMINISTRATORS}', '{MEMBERS}', 'USAGE') THEN
        GRANT {MEMBERS} TO {ADMINISTRATORS};
    END IF;
END $$;
"""

_TABLES = """
CREATE TABLE call (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key text NOT NULL UNIQUE,  -- of the generation's id; of a call without one, an id of this line's own
    ts timestamptz NOT NULL,
    member text NOT NULL,
    machine text NOT NULL,
    revision integer NOT NULL DEFAULT 1,
    record jsonb NOT NULL,  -- the line of the file format
    is_unsettled boolean GENERATED ALWAYS AS (
        coalesce(record ->> 'id', '') LIKE 'gen-%'
        AND (record -> 'cost' IS NULL OR coalesce(record ->> 'cost_source', '') = 'estimated')
    ) STORED,
    is_doubtful boolean GENERATED ALWAYS AS (
        coalesce(record ->> 'told', '') <> '' AND coalesce(record ->> 'seen', '') <> 'true'
    ) STORED
);
CREATE INDEX call_by_time ON call (ts, seq);
CREATE INDEX call_unsettled ON call (seq) WHERE is_unsettled OR is_doubtful;
CREATE INDEX call_doubtful ON call (seq) WHERE is_doubtful;

-- Sums by UTC day, kept in the transaction that changes them. What is held stands beside what is spent, so that one
-- row is read for both. A hold counts on the day on which its bill may come at the latest: an hour after it began.
CREATE TABLE rollup (
    facet text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    day date NOT NULL,
    name text NOT NULL,
    held numeric NOT NULL DEFAULT 0,
    measured numeric NOT NULL DEFAULT 0,
    holds bigint NOT NULL DEFAULT 0,
    requests bigint NOT NULL DEFAULT 0,
    unknown bigint NOT NULL DEFAULT 0,
    estimated bigint NOT NULL DEFAULT 0,
    prompt_tokens bigint NOT NULL DEFAULT 0,
    completion_tokens bigint NOT NULL DEFAULT 0,
    reasoning_tokens bigint NOT NULL DEFAULT 0,
    cached_tokens bigint NOT NULL DEFAULT 0,
    cache_write_tokens bigint NOT NULL DEFAULT 0,
    cost numeric NOT NULL DEFAULT 0,
    byok_cost numeric NOT NULL DEFAULT 0,
    PRIMARY KEY (facet, key, day)
) WITH (fillfactor = 50);
CREATE INDEX rollup_by_day ON rollup (facet, day);

CREATE TABLE hold (
    key text PRIMARY KEY,
    at timestamptz NOT NULL,
    day date NOT NULL,
    amount numeric,  -- frozen: a cap that changes meanwhile changes nothing here
    measured numeric,
    state text NOT NULL CHECK (state IN ('held', 'settled', 'released')),
    lease_until timestamptz NOT NULL,
    member text NOT NULL,
    machine text NOT NULL,
    record jsonb NOT NULL
) WITH (fillfactor = 70);
CREATE INDEX hold_open ON hold (at) WHERE state = 'held';

CREATE TABLE cap (
    kind text NOT NULL CHECK (kind IN ('', 'member', 'machine', 'client', 'project', 'agent', 'session')),
    name text NOT NULL,  -- '*' is everyone of the kind without caps of their own
    policy text NOT NULL DEFAULT 'strict' CHECK (policy IN ('strict', 'measured')),
    span text NOT NULL CHECK (span IN ('request', 'day', 'week', 'month', 'total')),
    amount numeric NOT NULL CHECK (amount >= 0),
    set_by text NOT NULL DEFAULT session_user,
    set_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (kind, name, span)
);
CREATE TYPE booking AS (
    record jsonb, member text, machine text, day date, sign integer, held numeric, measured numeric, holds integer
);
"""

_ALLOWANCES = """
-- Money that a machine has taken in advance, to spend it while it cannot ask. What is left counts as held, on the last
-- day on which it may be spent: so in every window until then, whose sums have no end.
CREATE TABLE allowance (
    key text PRIMARY KEY,
    at timestamptz NOT NULL,
    until timestamptz NOT NULL,
    day date NOT NULL,
    taken numeric NOT NULL,
    amount numeric NOT NULL,  -- what is left of it
    state text NOT NULL CHECK (state IN ('taken', 'returned')),
    member text NOT NULL,
    machine text NOT NULL,
    record jsonb NOT NULL
);
CREATE INDEX allowance_open ON allowance (at) WHERE state = 'taken';
"""

# The statements that bring a ledger of version N-1 up to N.
STEPS: dict[int, str] = {1: _TABLES, 2: _ALLOWANCES}

_USAGE = """
    requests bigint, unknown bigint, estimated bigint, prompt_tokens bigint, completion_tokens bigint,
    reasoning_tokens bigint, cached_tokens bigint, cache_write_tokens bigint, cost numeric, byok_cost numeric
"""
_SUMS = """
    sum(requests)::bigint, sum(unknown)::bigint, sum(estimated)::bigint, sum(prompt_tokens)::bigint,
    sum(completion_tokens)::bigint, sum(reasoning_tokens)::bigint, sum(cached_tokens)::bigint,
    sum(cache_write_tokens)::bigint, sum(cost), sum(byok_cost)
"""
_SAFE = f"SECURITY DEFINER SET search_path = {SCHEMA}, pg_temp"

# Called by the others only.
_INNER = f"""
-- The one clock of all members: theirs may be wrong.
CREATE OR REPLACE FUNCTION clock() RETURNS timestamptz LANGUAGE sql VOLATILE AS 'SELECT clock_timestamp()';

CREATE OR REPLACE FUNCTION day_of(at timestamptz) RETURNS date LANGUAGE sql IMMUTABLE AS
    $$ SELECT (at AT TIME ZONE 'UTC')::date $$;

-- A name that fits into an index, whatever its length.
CREATE OR REPLACE FUNCTION key_of(name text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN octet_length(name) <= 300 THEN name
        ELSE E'\\x01' || md5(name) || md5(name || name) END
$$;

CREATE OR REPLACE FUNCTION label_of(tags jsonb) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT string_agg(key || '=' || value, ' ' ORDER BY key COLLATE "C") FROM jsonb_each_text(tags)
$$;

-- The groups that a call or a hold counts in.
CREATE OR REPLACE FUNCTION groups_of(record jsonb, member text, machine text)
RETURNS TABLE (facet text, name text) LANGUAGE sql IMMUTABLE ROWS 8 AS $$
    SELECT g.facet, g.name FROM (VALUES
        ('', ''), ('model', record ->> 'model'), ('provider', record ->> 'provider'),
        ('session', record ->> 'session'), ('tag', label_of(record -> 'tags')), ('member', member),
        ('machine', machine), ('client', record #>> '{{tags,client}}'), ('project', record #>> '{{tags,project}}'),
        ('agent', record #>> '{{tags,agent}}'), ('app', record #>> '{{tags,app}}')
    ) g (facet, name) WHERE g.facet = '' OR g.name <> ''
$$;

CREATE OR REPLACE FUNCTION usage_of(record jsonb) RETURNS TABLE ({_USAGE}) LANGUAGE sql IMMUTABLE ROWS 1 AS $$
    SELECT 1::bigint, (record -> 'cost' IS NULL)::integer::bigint,
        (coalesce(record ->> 'cost_source', '') = 'estimated')::integer::bigint,
        coalesce((record ->> 'prompt_tokens')::bigint, 0), coalesce((record ->> 'completion_tokens')::bigint, 0),
        coalesce((record ->> 'reasoning_tokens')::bigint, 0), coalesce((record ->> 'cached_tokens')::bigint, 0),
        coalesce((record ->> 'cache_write_tokens')::bigint, 0),
        coalesce((record ->> 'cost')::numeric, 0), coalesce((record ->> 'byok_cost')::numeric, 0)
$$;

-- Adds calls (sign 1), takes them out again (-1), or changes what is held (0): every sum, in one statement.
CREATE OR REPLACE FUNCTION book(items booking[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO rollup AS t (facet, key, day, name, held, measured, holds, requests, unknown, estimated,
        prompt_tokens, completion_tokens, reasoning_tokens, cached_tokens, cache_write_tokens, cost, byok_cost)
    SELECT g.facet, key_of(g.name), i.day, g.name, sum(i.held), sum(i.measured), sum(i.holds),
        sum(i.sign * u.requests), sum(i.sign * u.unknown), sum(i.sign * u.estimated), sum(i.sign * u.prompt_tokens),
        sum(i.sign * u.completion_tokens), sum(i.sign * u.reasoning_tokens), sum(i.sign * u.cached_tokens),
        sum(i.sign * u.cache_write_tokens), sum(i.sign * u.cost), sum(i.sign * u.byok_cost)
    FROM unnest(items) i, LATERAL groups_of(i.record, i.member, i.machine) g, LATERAL usage_of(i.record) u
    WHERE i.sign <> 0 OR g.facet IN ('', 'member', 'machine', 'client', 'project', 'agent', 'session')
    GROUP BY g.facet, g.name, i.day
    ORDER BY g.facet COLLATE "C", key_of(g.name) COLLATE "C", i.day
    ON CONFLICT (facet, key, day) DO UPDATE SET
        held = t.held + excluded.held, measured = t.measured + excluded.measured, holds = t.holds + excluded.holds,
        requests = t.requests + excluded.requests, unknown = t.unknown + excluded.unknown,
        estimated = t.estimated + excluded.estimated, prompt_tokens = t.prompt_tokens + excluded.prompt_tokens,
        completion_tokens = t.completion_tokens + excluded.completion_tokens,
        reasoning_tokens = t.reasoning_tokens + excluded.reasoning_tokens,
        cached_tokens = t.cached_tokens + excluded.cached_tokens,
        cache_write_tokens = t.cache_write_tokens + excluded.cache_write_tokens,
        cost = t.cost + excluded.cost, byok_cost = t.byok_cost + excluded.byok_cost;
END $$;

CREATE OR REPLACE FUNCTION start_of(span text, at timestamptz) RETURNS date LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE span WHEN 'total' THEN '-infinity'::date
        ELSE date_trunc(span, at AT TIME ZONE 'UTC')::date END
$$;

CREATE OR REPLACE FUNCTION end_of(span text, at timestamptz) RETURNS date LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN span IN ('day', 'week', 'month')
        THEN (date_trunc(span, at AT TIME ZONE 'UTC') + ('1 ' || span)::interval)::date END
$$;

-- What the administrator allows the owners of a call.
CREATE OR REPLACE FUNCTION caps_of(record jsonb, member text, machine text) RETURNS SETOF cap LANGUAGE sql STABLE AS $$
    SELECT c.kind, g.name, c.policy, c.span, c.amount, c.set_by, c.set_at
    FROM cap c JOIN groups_of(record, member, machine) g ON g.facet = c.kind
    WHERE c.name = g.name OR (c.name = '*' AND c.kind <> ''
        AND NOT EXISTS (SELECT FROM cap own WHERE own.kind = c.kind AND own.name = g.name))
$$;

CREATE OR REPLACE FUNCTION is_administrator() RETURNS boolean LANGUAGE sql STABLE AS
    $$ SELECT pg_has_role(session_user, '{ADMINISTRATORS}', 'MEMBER') $$;

-- Who a call belongs to: nobody but an administrator, who brings in the calls of others, can name another member.
CREATE OR REPLACE FUNCTION member_of(record jsonb) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN is_administrator() THEN coalesce(nullif(record #>> '{{tags,member}}', ''), session_user)
        ELSE session_user END
$$;

CREATE OR REPLACE FUNCTION unhold(h hold) RETURNS booking LANGUAGE sql IMMUTABLE AS $$
    SELECT ROW(h.record, h.member, h.machine, h.day, 0, -coalesce(h.amount, 0),
        -coalesce(h.measured, h.amount, 0), -1)::booking
$$;

CREATE OR REPLACE FUNCTION allowed(a allowance, p_amount numeric, p_holds integer) RETURNS booking
LANGUAGE sql IMMUTABLE AS $$
    SELECT ROW(a.record, a.member, a.machine, a.day, 0, p_amount, p_amount, p_holds)::booking
$$;
"""

# What a program calls: the name, and what stands between the brackets of its declaration.
_HOLD = f"""
-- Sets money aside if it fits every cap, those of the caller and the administrator's: all or nothing.
CREATE OR REPLACE FUNCTION hold(
    p_hold text, p_record jsonb, p_amount numeric, p_measured numeric, p_machine text, p_lease interval,
    p_kinds text[], p_names text[], p_policies text[], p_spans text[], p_caps numeric[]
) RETURNS jsonb LANGUAGE plpgsql VOLATILE {_SAFE} AS $$
DECLARE
    p_at timestamptz := clock();
    p_day date := day_of(p_at + interval '1 hour');
    own hold;
    found_state text;
    items booking[];
    l record;
    asked numeric;
    s record;
    doubted record;
    p_since timestamptz;
BEGIN
    INSERT INTO hold VALUES (key_of(p_hold), p_at, p_day, p_amount, p_measured, 'held', p_at + p_lease,
        member_of(p_record), p_machine, p_record)
    ON CONFLICT (key) DO NOTHING RETURNING * INTO own;
    IF NOT FOUND THEN  -- an earlier try whose answer was lost
        SELECT state INTO found_state FROM hold WHERE key = key_of(p_hold);
        RETURN jsonb_build_object('state', found_state);
    END IF;
    -- The row of today is locked as well: near midnight, two calls would else not see each other.
    items := ARRAY[ROW(p_record, own.member, p_machine, p_day, 0, coalesce(p_amount, 0),
        coalesce(p_measured, p_amount, 0), 1)::booking];
    IF p_day <> day_of(p_at) THEN
        items := items || ROW(p_record, own.member, p_machine, day_of(p_at), 0, 0, 0, 0)::booking;
    END IF;
    PERFORM book(items);
    FOR l IN
        SELECT * FROM (
            SELECT kind, name, policy, span, amount FROM caps_of(p_record, own.member, p_machine)
            UNION ALL
            SELECT * FROM unnest(p_kinds, p_names, p_policies, p_spans, p_caps)
        ) x (kind, name, policy, span, amount)
        ORDER BY array_position(ARRAY['request', 'day', 'week', 'month', 'total'], span), kind COLLATE "C", amount
    LOOP
        IF doubted IS NULL THEN
            SELECT key, record ->> 'id' AS id, record ->> 'told' AS told, count(*) OVER () AS calls INTO doubted
            FROM call WHERE is_doubtful ORDER BY seq LIMIT 1;
            IF FOUND THEN
                PERFORM undo(own);
                RETURN jsonb_build_object('state', 'doubtful', 'id', doubted.id, 'told', doubted.told,
                    'calls', doubted.calls);
            END IF;
        END IF;
        IF p_amount IS NULL THEN
            PERFORM undo(own);
            RETURN jsonb_build_object('state', 'unbounded', 'kind', l.kind, 'name', l.name);
        END IF;
        asked := CASE l.policy WHEN 'strict' THEN p_amount ELSE coalesce(p_measured, p_amount) END;
        -- An allowance is for many requests; each of them is held to the cap of one on its machine.
        CONTINUE WHEN asked = 0 OR (l.span = 'request' AND p_record ? 'allowance');
        IF l.span = 'request' THEN
            SELECT 0::numeric AS spent, 0::numeric AS held INTO s;
        ELSIF l.span LIKE 'burst:%' THEN
            p_since := p_at - (substr(l.span, 7) || ' seconds')::interval;
            SELECT coalesce(sum((c.record ->> 'cost')::numeric), 0) AS spent, (
                SELECT coalesce(sum(
                    CASE l.policy WHEN 'strict' THEN o.amount ELSE coalesce(o.measured, o.amount) END), 0)
                FROM hold o, LATERAL groups_of(o.record, o.member, o.machine) g
                WHERE o.state = 'held' AND o.at > p_at - interval '1 hour' AND o.key <> own.key
                    AND g.facet = l.kind AND g.name = l.name
            ) AS held INTO s
            FROM call c, LATERAL groups_of(c.record, c.member, c.machine) g
            WHERE c.ts > p_since AND g.facet = l.kind AND g.name = l.name;
        ELSE
            -- Without an end: what a wrong clock has dated in the future is spent as well.
            SELECT coalesce(sum(t.cost), 0) AS spent,
                coalesce(sum(CASE l.policy WHEN 'strict' THEN t.held ELSE t.measured END), 0) - asked AS held INTO s
            FROM rollup t WHERE t.facet = l.kind AND t.key = key_of(l.name) AND t.day >= start_of(l.span, p_at);
        END IF;
        IF s.spent + s.held + asked > l.amount THEN
            PERFORM undo(own);
            RETURN jsonb_build_object('state', 'refused', 'kind', l.kind, 'name', l.name, 'policy', l.policy,
                'span', l.span, 'cap', l.amount, 'spent', s.spent, 'held', s.held, 'asked', asked,
                'resets', end_of(l.span, p_at));
        END IF;
    END LOOP;
    RETURN jsonb_build_object('state', 'held', 'new', true);
END $$;

CREATE OR REPLACE FUNCTION undo(h hold) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM book(ARRAY[unhold(h)]);
    DELETE FROM hold WHERE key = h.key;
END $$;

-- Ends a hold with what was billed. A call that is known already is returned, for the caller to complete.
CREATE OR REPLACE FUNCTION settle(p_hold text, p_record jsonb, p_key text, p_machine text) RETURNS jsonb
LANGUAGE plpgsql VOLATILE {_SAFE} AS $$
DECLARE
    p_at timestamptz := clock();
    h hold;
    p_ts timestamptz := (p_record ->> 'ts')::timestamptz;
    kept call;
    items booking[] := '{{}}';
BEGIN
    SELECT * INTO h FROM hold WHERE key = key_of(p_hold) FOR UPDATE;
    SELECT * INTO kept FROM call WHERE key = key_of(p_key);
    IF FOUND THEN
        RETURN jsonb_build_object('state', 'known', 'record', kept.record, 'revision', kept.revision);
    END IF;
    IF h.state IS DISTINCT FROM 'held' AND coalesce(p_record ->> 'id', '') = '' THEN
        RETURN jsonb_build_object('state', 'ended');
    END IF;
    IF h.key IS NOT NULL THEN
        -- The clock of the machine may be wrong; OpenRouter's own, in what was looked up late, is not. A held call is
        -- billed from its hold on, and within an hour: so no day gets a charge that was not held in it.
        IF coalesce(p_record ->> 'cost_source', '') <> 'late' THEN
            p_ts := p_at;
        END IF;
        p_ts := date_trunc('second', greatest(h.at, least(p_ts, h.at + interval '1 hour', p_at)));
        p_record := jsonb_set(p_record, '{{ts}}',
            to_jsonb(to_char(p_ts AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')));
    END IF;
    INSERT INTO call (key, ts, member, machine, record) VALUES (
        key_of(p_key), p_ts, coalesce(h.member, member_of(p_record)), coalesce(h.machine, p_machine), p_record)
    ON CONFLICT (key) DO NOTHING RETURNING * INTO kept;
    IF NOT FOUND THEN
        SELECT * INTO kept FROM call WHERE key = key_of(p_key);
        RETURN jsonb_build_object('state', 'known', 'record', kept.record, 'revision', kept.revision);
    END IF;
    IF h.state = 'held' THEN
        UPDATE hold SET state = 'settled' WHERE key = h.key;
        items := ARRAY[unhold(h)];
    END IF;
    PERFORM book(items || ROW(kept.record, kept.member, kept.machine, day_of(kept.ts), 1, 0, 0, 0)::booking);
    RETURN jsonb_build_object('state', 'settled', 'ts', p_record ->> 'ts');
END $$;

-- Writes what is better known of a call, if nobody else has written it meanwhile, and ends its hold.
CREATE OR REPLACE FUNCTION complete(p_hold text, p_key text, p_revision integer, p_record jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE {_SAFE} AS $$
DECLARE
    h hold;
    before call;
    after call;
    items booking[] := '{{}}';
BEGIN
    SELECT * INTO h FROM hold WHERE key = key_of(p_hold) FOR UPDATE;
    SELECT * INTO before FROM call WHERE key = key_of(p_key) AND revision = p_revision FOR UPDATE;
    IF NOT FOUND THEN
        RETURN jsonb_build_object('state', 'stale');
    END IF;
    IF NOT is_administrator() AND NOT before.is_unsettled AND NOT before.is_doubtful
        AND (before.record ->> 'cost')::numeric > coalesce((p_record ->> 'cost')::numeric, 0)
    THEN
        RAISE EXCEPTION 'a certain cost cannot be lowered' USING ERRCODE = 'insufficient_privilege';
    END IF;
    UPDATE call SET ts = (p_record ->> 'ts')::timestamptz, record = p_record, revision = revision + 1
    WHERE seq = before.seq RETURNING * INTO after;
    IF h.state = 'held' THEN
        UPDATE hold SET state = 'settled' WHERE key = h.key;
        items := ARRAY[unhold(h)];
    END IF;
    PERFORM book(items || ROW(before.record, before.member, before.machine, day_of(before.ts), -1, 0, 0, 0)::booking
        || ROW(after.record, after.member, after.machine, day_of(after.ts), 1, 0, 0, 0)::booking);
    RETURN jsonb_build_object('state', 'completed', 'ended', h.state IS NOT DISTINCT FROM 'held');
END $$;

-- Ends a hold for which nothing can have been billed: one's own, for nobody else can know that.
CREATE OR REPLACE FUNCTION release(p_hold text) RETURNS boolean LANGUAGE plpgsql VOLATILE {_SAFE} AS $$
DECLARE
    h hold;
BEGIN
    UPDATE hold SET state = 'released'
    WHERE key = key_of(p_hold) AND state = 'held' AND (member = session_user OR is_administrator())
    RETURNING * INTO h;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM book(ARRAY[unhold(h)]);
    RETURN true;
END $$;

CREATE OR REPLACE FUNCTION name_generation(p_hold text, p_generation text) RETURNS boolean
LANGUAGE plpgsql VOLATILE {_SAFE} AS $$
BEGIN
    UPDATE hold SET record = jsonb_set(record, '{{generation}}', to_jsonb(p_generation))
    WHERE key = key_of(p_hold) AND state = 'held' AND record ->> 'generation' IS DISTINCT FROM p_generation;
    RETURN FOUND;
END $$;

-- Writes calls that were made already; those that are known are returned, for the caller to complete.
CREATE OR REPLACE FUNCTION append(p_records jsonb[], p_keys text[], p_machine text) RETURNS jsonb
LANGUAGE plpgsql VOLATILE {_SAFE} AS $$
DECLARE
    items booking[];
    added text[];
BEGIN
    WITH given AS (SELECT * FROM unnest(p_records, p_keys) WITH ORDINALITY g (record, key, place)), written AS (
        INSERT INTO call (key, ts, member, machine, record)
        SELECT key_of(key), (record ->> 'ts')::timestamptz, member_of(record),
            CASE WHEN is_administrator() THEN coalesce(nullif(record #>> '{{tags,machine}}', ''), p_machine)
                ELSE p_machine END, record
        FROM given ORDER BY place ON CONFLICT (key) DO NOTHING RETURNING *
    )
    SELECT array_agg(ROW(record, member, machine, day_of(ts), 1, 0, 0, 0)::booking), array_agg(key)
    INTO items, added FROM written;
    IF items IS NOT NULL THEN
        PERFORM book(items);
    END IF;
    RETURN (
        SELECT coalesce(jsonb_agg(jsonb_build_object('place', g.place - 1, 'record', c.record, 'revision', c.revision)
            ORDER BY g.place), '[]')
        FROM unnest(p_keys) WITH ORDINALITY g (key, place) JOIN call c ON c.key = key_of(g.key)
        WHERE NOT key_of(g.key) = ANY (coalesce(added, '{{}}'))
    );
END $$;
"""

_ALLOWING = f"""
-- Takes money in advance if it fits every cap, as a hold does.
CREATE OR REPLACE FUNCTION take_allowance(
    p_key text, p_record jsonb, p_amount numeric, p_valid interval, p_machine text,
    p_kinds text[], p_names text[], p_policies text[], p_spans text[], p_caps numeric[]
) RETURNS jsonb LANGUAGE plpgsql VOLATILE {_SAFE} AS $$
DECLARE
    p_at timestamptz := clock();
    p_until timestamptz := p_at + p_valid;
    a allowance;
    h hold;
    done jsonb;
BEGIN
    INSERT INTO allowance VALUES (key_of(p_key), p_at, p_until, day_of(p_until + interval '1 hour'), p_amount,
        p_amount, 'taken', session_user, p_machine, p_record)
    ON CONFLICT (key) DO NOTHING RETURNING * INTO a;
    IF FOUND THEN
        done := hold('allowance:' || p_key, p_record, p_amount, NULL, p_machine, p_valid,
            p_kinds, p_names, p_policies, p_spans, p_caps);
        IF done ->> 'state' <> 'held' THEN
            DELETE FROM allowance WHERE key = a.key;
            RETURN done;
        END IF;
        DELETE FROM hold WHERE key = key_of('allowance:' || p_key) RETURNING * INTO h;
        PERFORM book(ARRAY[unhold(h), allowed(a, p_amount, 1)]);
    ELSE  -- an earlier try whose answer was lost
        SELECT * INTO a FROM allowance WHERE key = key_of(p_key);
    END IF;
    RETURN jsonb_build_object('state', a.state, 'taken', a.taken, 'seconds', extract(epoch FROM a.until - p_at));
END $$;

-- Writes calls that were made with an allowance; what they cost is held no more, in the same step.
CREATE OR REPLACE FUNCTION spend_allowance(p_key text, p_records jsonb[], p_keys text[], p_machine text) RETURNS jsonb
LANGUAGE plpgsql VOLATILE {_SAFE} AS $$
DECLARE
    a allowance;
    known jsonb;
    added numeric;
BEGIN
    SELECT * INTO a FROM allowance
    WHERE key = key_of(p_key) AND (member = session_user OR is_administrator()) FOR UPDATE;
    IF FOUND THEN  -- no day gets a charge that was not held in it, whatever clock the machine has
        p_records := ARRAY(
            SELECT CASE
                WHEN (r ->> 'ts')::timestamptz BETWEEN date_trunc('second', a.at) AND a.until + interval '1 hour' THEN r
                ELSE jsonb_set(r, '{{ts}}', to_jsonb(to_char(
                    greatest(a.at, least((r ->> 'ts')::timestamptz, a.until + interval '1 hour')) AT TIME ZONE 'UTC',
                    'YYYY-MM-DD"T"HH24:MI:SS"Z"'))) END
            FROM unnest(p_records) WITH ORDINALITY g (r, place) ORDER BY place);
    END IF;
    known := append(p_records, p_keys, p_machine);
    IF a.state = 'taken' THEN
        SELECT least(a.amount, coalesce(sum((g.r ->> 'cost')::numeric), 0)) INTO added
        FROM unnest(p_records) WITH ORDINALITY g (r, place)
        WHERE NOT EXISTS (SELECT FROM jsonb_array_elements(known) k WHERE (k ->> 'place')::bigint = g.place - 1);
        UPDATE allowance SET amount = amount - added WHERE key = a.key;
        PERFORM book(ARRAY[allowed(a, -added, 0)]);
    END IF;
    RETURN known;
END $$;

-- Gives the rest of an allowance back and returns it; null when there is nothing to give back, now or later.
CREATE OR REPLACE FUNCTION end_allowance(p_key text, p_machine text) RETURNS numeric
LANGUAGE plpgsql VOLATILE {_SAFE} AS $$
DECLARE
    a allowance;
BEGIN
    -- One that was asked for and whose answer never came cannot be taken any more.
    INSERT INTO allowance VALUES (key_of(p_key), clock(), clock(), day_of(clock()), 0, 0, 'returned', session_user,
        p_machine, '{{}}') ON CONFLICT (key) DO NOTHING;
    UPDATE allowance SET state = 'returned'
    WHERE key = key_of(p_key) AND state = 'taken' AND (member = session_user OR is_administrator()) RETURNING * INTO a;
    IF FOUND THEN
        PERFORM book(ARRAY[allowed(a, -a.amount, -1)]);
    END IF;
    RETURN a.amount;
END $$;

CREATE OR REPLACE FUNCTION allowances() RETURNS TABLE (
    key text, at timestamptz, until timestamptz, taken numeric, amount numeric, member text, machine text
) LANGUAGE sql STABLE {_SAFE} AS
    $$ SELECT key, at, until, taken, amount, member, machine FROM allowance WHERE state = 'taken' ORDER BY at, key $$;
"""

_READING = f"""
CREATE OR REPLACE FUNCTION totals(p_facet text, p_from date, p_to date)
RETURNS TABLE (name text, {_USAGE}) LANGUAGE sql STABLE {_SAFE} AS $$
    SELECT name, {_SUMS} FROM rollup
    WHERE facet = p_facet AND day >= p_from AND day < p_to GROUP BY name HAVING sum(requests) > 0
$$;

CREATE OR REPLACE FUNCTION totals_by_day(p_from date, p_to date)
RETURNS TABLE (name text, {_USAGE}) LANGUAGE sql STABLE {_SAFE} AS $$
    SELECT day::text, requests, unknown, estimated, prompt_tokens, completion_tokens, reasoning_tokens, cached_tokens,
        cache_write_tokens, cost, byok_cost
    FROM rollup WHERE facet = '' AND key = '' AND day >= p_from AND day < p_to AND requests > 0 ORDER BY day
$$;

CREATE OR REPLACE FUNCTION spent(p_kind text, p_name text, p_from date, p_to date)
RETURNS TABLE ({_USAGE}) LANGUAGE sql STABLE {_SAFE} AS $$
    SELECT {_SUMS} FROM rollup
    WHERE facet = p_kind AND key = key_of(p_name) AND day >= p_from AND day < p_to HAVING count(*) > 0
$$;

-- Sums of stretches of time that are no whole UTC days; `name` is the place of the stretch, or the group.
CREATE OR REPLACE FUNCTION totals_within(p_facet text, p_starts timestamptz[], p_ends timestamptz[])
RETURNS TABLE (stretch bigint, name text, {_USAGE}) LANGUAGE sql STABLE {_SAFE} AS $$
    SELECT s.place - 1, g.name, {_SUMS}
    FROM unnest(p_starts, p_ends) WITH ORDINALITY s (first, stop, place)
        JOIN call c ON c.ts >= s.first AND c.ts < s.stop,
        LATERAL groups_of(c.record, c.member, c.machine) g, LATERAL usage_of(c.record) u
    WHERE g.facet = p_facet GROUP BY s.place, g.name ORDER BY s.place
$$;

CREATE OR REPLACE FUNCTION calls(
    p_start timestamptz, p_end timestamptz, p_after timestamptz, p_after_seq bigint, p_most integer
) RETURNS TABLE (ts timestamptz, seq bigint, record text, member text, machine text) LANGUAGE sql STABLE {_SAFE} AS $$
    SELECT ts, seq, record::text, member, machine FROM call
    WHERE ts >= p_start AND ts < p_end AND (ts, seq) > (p_after, p_after_seq) ORDER BY ts, seq LIMIT p_most
$$;

CREATE OR REPLACE FUNCTION known(p_key text) RETURNS TABLE (record text, revision integer)
LANGUAGE sql STABLE {_SAFE} AS 'SELECT record::text, revision FROM call WHERE key = key_of(p_key)';

CREATE OR REPLACE FUNCTION unsettled(only_doubtful boolean) RETURNS TABLE (record text)
LANGUAGE sql STABLE {_SAFE} AS $$
    SELECT record::text FROM call
    WHERE (is_unsettled OR is_doubtful) AND (is_doubtful OR NOT only_doubtful) ORDER BY seq
$$;

-- The holds that have not ended; whoever does not own one may look it up after its lease. An allowance holds what is
-- left of it until its machine gives it back: nobody can look it up.
CREATE OR REPLACE FUNCTION holds(p_machine text)
RETURNS TABLE (
    at timestamptz, record text, amount numeric, measured numeric, may_settle boolean, member text, machine text
) LANGUAGE sql STABLE {_SAFE} AS $$
    SELECT at, record::text, amount, measured,
        (member = session_user AND machine = p_machine) OR lease_until <= clock(), member, machine
    FROM hold WHERE state = 'held'
    UNION ALL
    SELECT least(clock(), until), record::text, amount, NULL, false, member, machine
    FROM allowance WHERE state = 'taken'
    ORDER BY 1, 2
$$;

CREATE OR REPLACE FUNCTION bounds() RETURNS TABLE (first timestamptz, last timestamptz, calls bigint)
LANGUAGE sql STABLE {_SAFE} AS $$
    SELECT (SELECT min(ts) FROM call), (SELECT max(ts) FROM call),
        (SELECT coalesce(sum(requests), 0)::bigint FROM rollup WHERE facet = '' AND key = '')
$$;

-- All caps, and of which is sure that they hold for every call, or for no call, of this member on this machine.
CREATE OR REPLACE FUNCTION caps(p_machine text)
RETURNS TABLE (kind text, name text, policy text, span text, amount numeric, applies boolean)
LANGUAGE sql STABLE {_SAFE} AS $$
    SELECT kind, name, policy, span, amount, CASE kind WHEN '' THEN true
        WHEN 'member' THEN name = session_user OR name = '*' WHEN 'machine' THEN name = p_machine OR name = '*' END
    FROM cap ORDER BY kind, name, span
$$;

CREATE OR REPLACE FUNCTION whoami() RETURNS TABLE (member text, version integer, administrator boolean, at timestamptz)
LANGUAGE sql STABLE {_SAFE} AS
    'SELECT session_user::text, (SELECT max(number) FROM version), is_administrator(), clock()';
"""

_ADMINISTRATION = f"""
-- Sets a cap, or removes it (null).
CREATE OR REPLACE FUNCTION set_cap(p_kind text, p_name text, p_policy text, p_span text, p_amount numeric)
RETURNS void LANGUAGE plpgsql VOLATILE {_SAFE} AS $$
BEGIN
    IF p_amount IS NULL THEN
        DELETE FROM cap WHERE kind = p_kind AND name = p_name AND span = p_span;
    ELSE
        INSERT INTO cap (kind, name, policy, span, amount, set_by, set_at)
        VALUES (p_kind, p_name, p_policy, p_span, p_amount, session_user, clock())
        ON CONFLICT (kind, name, span) DO UPDATE SET
            amount = excluded.amount, policy = excluded.policy, set_by = excluded.set_by, set_at = excluded.set_at;
    END IF;
END $$;
"""
_OF_MEMBERS = (
    "hold", "settle", "complete", "release", "name_generation", "append", "totals", "totals_by_day", "spent",
    "totals_within", "calls", "known", "unsettled", "holds", "bounds", "caps", "whoami", "take_allowance",
    "spend_allowance", "end_allowance", "allowances",
)  # fmt: skip
_OF_ADMINISTRATORS = ("set_cap",)

# Nobody but the owner of the schema may touch a table: a member who could would set caps and bills.
_GRANTS = f"""
REVOKE ALL ON SCHEMA {SCHEMA} FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA {SCHEMA} FROM PUBLIC, {MEMBERS}, {ADMINISTRATORS};
REVOKE ALL ON ALL ROUTINES IN SCHEMA {SCHEMA} FROM PUBLIC, {MEMBERS}, {ADMINISTRATORS};
GRANT USAGE ON SCHEMA {SCHEMA} TO {MEMBERS};
GRANT EXECUTE ON ROUTINE {", ".join(f"{SCHEMA}.{name}" for name in _OF_MEMBERS)} TO {MEMBERS};
GRANT EXECUTE ON ROUTINE {", ".join(f"{SCHEMA}.{name}" for name in _OF_ADMINISTRATORS)} TO {ADMINISTRATORS};
"""
FUNCTIONS = _INNER + _HOLD + _ALLOWING + _READING + _ADMINISTRATION + _GRANTS


def statements(version: int) -> list[str]:
    """Return the SQL that brings a ledger of a version up to `VERSION`, 0 for none; the functions are made anew."""
    steps = [STEPS[number] for number in sorted(STEPS) if number > version]
    return [f"SET LOCAL search_path = {SCHEMA}, pg_temp;", *steps, FUNCTIONS, WRITE_VERSION]


def script() -> str:
    """Return all SQL of a new ledger, as `team init --dry-run` prints it."""
    parts = ["BEGIN;", PREPARE, f"{LOCK};", ROLES, *statements(0)[:-1], f"{WRITE_VERSION};", "COMMIT;"]
    return "\n\n".join(part.strip() for part in parts) + "\n"
