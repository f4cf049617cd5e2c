//! What each write leaves, and by which request it is read back.

use crate::{driver::Request, leaves::Leaves, plan::Plan, reads::writes, settings::Protocol};

/// A word as a line of words has it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_:-{}.".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    let mut quoted = String::from("\"");
    for c in word.chars() {
        if matches!(c, '"' | '\\' | '$' | '`') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted + "\""
}

/// What a command of Redis leaves; `None`: that is not known.
fn of_redis(send: &str) -> Option<Vec<Leaves>> {
    let words = uplift_command::words::split(send).ok()?;
    let command = words.first()?.to_ascii_uppercase();
    let read = |command: &str, words: &[&String]| {
        let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
        format!("{command} {}", words.join(" "))
    };
    let rest = &words[1..];
    Some(match (command.as_str(), rest) {
        ("SET" | "GETSET", [key, value]) => vec![Leaves::value(read("GET", &[key]), value)],
        ("MSET", pairs) if !pairs.is_empty() && pairs.len().is_multiple_of(2) => {
            pairs.chunks(2).map(|pair| Leaves::value(read("GET", &[&pair[0]]), &pair[1])).collect()
        }
        ("HSET" | "HMSET", [key, pairs @ ..]) if !pairs.is_empty() && pairs.len().is_multiple_of(2) => {
            pairs.chunks(2).map(|pair| Leaves::value(read("HGET", &[key, &pair[0]]), &pair[1])).collect()
        }
        ("HDEL", [key, fields @ ..]) if !fields.is_empty() => {
            let gone = |field| Leaves { read: read("HGET", &[key, field]), ..Leaves::default() };
            fields.iter().map(gone).collect()
        }
        ("DEL" | "UNLINK", keys) if !keys.is_empty() => {
            keys.iter().map(|key| Leaves { read: read("GET", &[key]), ..Leaves::default() }).collect()
        }
        ("INCR", [key]) => vec![Leaves::adds(read("GET", &[key]), "1")],
        ("DECR", [key]) => vec![Leaves::adds(read("GET", &[key]), "-1")],
        ("INCRBY", [key, number]) => vec![Leaves::adds(read("GET", &[key]), number)],
        ("HINCRBY", [key, field, number]) => vec![Leaves::adds(read("HGET", &[key, field]), number)],
        ("ZADD", [key, _score, member]) => {
            vec![Leaves { read: read("ZSCORE", &[key, member]), there: true, ..Leaves::default() }]
        }
        ("SADD", [key, members @ ..]) if !members.is_empty() => {
            members.iter().map(|member| Leaves::value(read("SISMEMBER", &[key, member]), "1")).collect()
        }
        _ => return None,
    })
}

/// What a request leaves: as it is written beside it, or as its command is known to; `None`: that is not known.
pub fn of_request(request: &Request, protocol: Protocol) -> Option<Vec<Leaves>> {
    if !request.leaves.is_empty() {
        return Some(request.leaves.clone());
    }
    match protocol {
        _ if !writes(&request.send) => Some(Vec::new()),
        Protocol::Redis => of_redis(&request.send),
        _ => None,
    }
}

/// What each alternative of each operation leaves.
///
/// # Errors
/// The operation of which it is not known.
pub fn of_plan(plan: &Plan) -> Result<Vec<Vec<Vec<Leaves>>>, String> {
    let mut all = Vec::new();
    for operation in &plan.operations {
        if !operation.writes {
            all.push(vec![Vec::new(); operation.alternatives.len()]);
            continue;
        }
        let sequences = operation.parameters.iter().filter(|&&number| {
            matches!(plan.parameters.get(number), Some((_, crate::parameters::Parameter::Sequential(_))))
        });
        if sequences.count() > 1 {
            return Err(format!("`{}` takes numbers of two sequences, and only one is noted", operation.name));
        }
        let mut alternatives = Vec::new();
        for requests in &operation.alternatives {
            // What is written for an operation holds for all of its requests.
            let written = requests.iter().any(|&request| !plan.requests[request].leaves.is_empty());
            let mut leaves = Vec::new();
            for request in requests.iter().map(|&request| &plan.requests[request]) {
                match of_request(request, plan.protocol) {
                    Some(own) => leaves.extend(own),
                    None if written => {}
                    None => {
                        return Err(format!(
                            "what the operation `{}` leaves is not known (`{}`); write beside it how it is read back: \
                             leaves = [{{ read = \"…\", value = \"{{value}}\" }}]",
                            operation.name, request.send
                        ));
                    }
                }
            }
            alternatives.push(leaves);
        }
        all.push(alternatives);
    }
    if all.iter().flatten().all(Vec::is_empty) {
        return Err("none of its operations writes anything".to_owned());
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reads(send: &str) -> Vec<String> {
        of_redis(send).unwrap().iter().map(|leaves| leaves.read.clone()).collect()
    }

    #[test]
    fn commands_of_redis_say_what_they_leave() {
        assert_eq!(of_redis("SET key:{key} '{value} x'").unwrap(), [Leaves::value("GET key:{key}", "{value} x")]);
        assert_eq!(
            reads("HSET user{key} field0 {value0} field1 {value1}"),
            ["HGET user{key} field0", "HGET user{key} field1"]
        );
        assert_eq!(reads("set 'a b' 1"), ["GET \"a b\""]);
        assert_eq!(of_redis("INCRBY n {by}").unwrap()[0].adds.as_deref(), Some("{by}"));
        assert_eq!(of_redis("DEL a b").unwrap()[1], Leaves { read: "GET b".into(), ..Leaves::default() });
        assert!(of_redis("ZADD _indices {key} user{key}").unwrap()[0].there);
        for unknown in ["EVAL \"x\" 0", "SET k v EX 10", "LPUSH l 1", "HSET k f"] {
            assert!(of_redis(unknown).is_none(), "{unknown}");
        }
    }
}
