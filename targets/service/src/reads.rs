//! Which requests change nothing, as their first word says.

/// Words that begin statements and commands which change nothing.
const READS: [&str; 47] = [
    "select",
    "get",
    "head",
    "mget",
    "hget",
    "hgetall",
    "hmget",
    "hexists",
    "hkeys",
    "hlen",
    "hvals",
    "exists",
    "ttl",
    "strlen",
    "getrange",
    "llen",
    "lrange",
    "lindex",
    "scard",
    "smembers",
    "sismember",
    "srandmember",
    "zcard",
    "zcount",
    "zrange",
    "zrangebyscore",
    "zrank",
    "zscore",
    "zrevrange",
    "xlen",
    "xrange",
    "xread",
    "scan",
    "hscan",
    "sscan",
    "zscan",
    "keys",
    "type",
    "ping",
    "echo",
    "info",
    "time",
    "dbsize",
    "show",
    "options",
    "trace",
    "with",
];

/// Whether a request changes something, as its first word says.
pub fn writes(send: &str) -> bool {
    let first: String = send.trim_start().chars().take_while(|c| c.is_ascii_alphanumeric()).collect();
    let first = first.to_ascii_lowercase();
    let frames =
        ["begin", "start", "end", "commit", "rollback", "abort", "set", "savepoint", "declare", "fetch", "close"];
    // `SET` of Redis has a key and a value, `SET x = y` and `SET LOCAL` of SQL change a session.
    let sets = first == "set" && !send.contains('=') && !send.to_ascii_lowercase().contains(" to ");
    !READS.contains(&first.as_str()) && (sets || !frames.contains(&first.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_words_tell_what_writes() {
        for send in ["SET k v", "PUT /x", "UPDATE t SET a = 1", "INSERT INTO t", "HSET k f v", "incr k", "DELETE /x"] {
            assert!(writes(send), "{send}");
        }
        for send in ["GET k", "GET /x", "SELECT 1", "  select 1", "BEGIN", "END", "SET LOCAL x = 1", "PING"] {
            assert!(!writes(send), "{send}");
        }
    }
}
