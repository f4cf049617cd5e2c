//! What pgbench has built in: its scripts, and its tables.

/// Names of the scripts.
pub const NAMES: [&str; 3] = ["tpcb-like", "simple-update", "select-only"];

/// A script by its name.
pub fn script(name: &str) -> Option<&'static str> {
    Some(match name {
        "tpcb-like" => {
            "\\set aid random(1, 100000 * :scale)
\\set bid random(1, 1 * :scale)
\\set tid random(1, 10 * :scale)
\\set delta random(-5000, 5000)
BEGIN;
UPDATE pgbench_accounts SET abalance = abalance + :delta WHERE aid = :aid;
SELECT abalance FROM pgbench_accounts WHERE aid = :aid;
UPDATE pgbench_tellers SET tbalance = tbalance + :delta WHERE tid = :tid;
UPDATE pgbench_branches SET bbalance = bbalance + :delta WHERE bid = :bid;
INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (:tid, :bid, :aid, :delta, CURRENT_TIMESTAMP);
END;
"
        }
        "simple-update" => {
            "\\set aid random(1, 100000 * :scale)
\\set bid random(1, 1 * :scale)
\\set tid random(1, 10 * :scale)
\\set delta random(-5000, 5000)
BEGIN;
UPDATE pgbench_accounts SET abalance = abalance + :delta WHERE aid = :aid;
SELECT abalance FROM pgbench_accounts WHERE aid = :aid;
INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (:tid, :bid, :aid, :delta, CURRENT_TIMESTAMP);
END;
"
        }
        "select-only" => {
            "\\set aid random(1, 100000 * :scale)
SELECT abalance FROM pgbench_accounts WHERE aid = :aid;
"
        }
        _ => return None,
    })
}

/// The statements of `pgbench -i -s SCALE`, with rows made on the server (`-I dtGvp`).
pub fn initialize(scale: u32) -> Vec<String> {
    let (tellers, accounts) = (u64::from(scale) * 10, u64::from(scale) * 100_000);
    let mut statements: Vec<String> = [
        "DROP TABLE IF EXISTS pgbench_accounts, pgbench_branches, pgbench_history, pgbench_tellers",
        "CREATE TABLE pgbench_history(tid int, bid int, aid int, delta int, mtime timestamp, filler char(22))",
        "CREATE TABLE pgbench_tellers(tid int not null, bid int, tbalance int, filler char(84)) WITH (fillfactor=100)",
        "CREATE TABLE pgbench_accounts(aid int not null, bid int, abalance int, filler char(84)) WITH (fillfactor=100)",
        "CREATE TABLE pgbench_branches(bid int not null, bbalance int, filler char(88)) WITH (fillfactor=100)",
    ]
    .map(str::to_owned)
    .into();
    statements.push(format!(
        "INSERT INTO pgbench_branches(bid, bbalance) SELECT bid, 0 FROM generate_series(1, {scale}) AS bid"
    ));
    statements.push(format!(
        "INSERT INTO pgbench_tellers(tid, bid, tbalance) SELECT tid, (tid - 1) / 10 + 1, 0 FROM generate_series(1, {tellers}) AS tid"
    ));
    statements.push(format!(
        "INSERT INTO pgbench_accounts(aid, bid, abalance, filler) SELECT aid, (aid - 1) / 100000 + 1, 0, '' FROM generate_series(1, {accounts}) AS aid"
    ));
    statements.extend(
        [
            "VACUUM ANALYZE pgbench_branches",
            "VACUUM ANALYZE pgbench_tellers",
            "VACUUM ANALYZE pgbench_accounts",
            "VACUUM ANALYZE pgbench_history",
            "ALTER TABLE pgbench_branches ADD PRIMARY KEY (bid)",
            "ALTER TABLE pgbench_tellers ADD PRIMARY KEY (tid)",
            "ALTER TABLE pgbench_accounts ADD PRIMARY KEY (aid)",
            "CHECKPOINT",
        ]
        .map(str::to_owned),
    );
    statements
}

/// Whether balances add up after the load: what was added to accounts, to branches and to the history is the same.
pub const CHECK: &str = "SELECT count(*) FROM (SELECT sum(bbalance) AS b FROM pgbench_branches) AS branches, \
    (SELECT sum(tbalance) AS t FROM pgbench_tellers) AS tellers, (SELECT sum(abalance) AS a FROM pgbench_accounts) AS accounts, \
    (SELECT coalesce(sum(delta), 0) AS h FROM pgbench_history) AS history WHERE b = t AND t = a AND a = h";
