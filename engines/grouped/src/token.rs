//! Lock tokens, which carry the key of what they lock: finding a lock needs no index.

/// The right to finish a turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TurnToken {
    /// A number that no other lock has.
    pub nonce: i64,
    /// Whose turn it is.
    pub instance: String,
}

impl TurnToken {
    pub fn parse(text: &str) -> Option<Self> {
        let (nonce, instance) = text.strip_prefix("turn:")?.split_once(':')?;
        Some(Self { nonce: i64::from_str_radix(nonce, 16).ok()?, instance: instance.to_owned() })
    }
}

impl std::fmt::Display for TurnToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "turn:{:x}:{}", self.nonce, self.instance)
    }
}

/// The right to finish an activity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskToken {
    /// A number that no other lock has.
    pub nonce: i64,
    /// What its worker asked for, by the number in [`crate::ahead::Wants`], if it will ask again.
    pub want: Option<usize>,
    /// Which activity it is.
    pub key: TaskKey,
}

/// The primary key of a row of `tasks`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskKey {
    pub instance: String,
    pub execution: i64,
    pub activity: i64,
    pub number: i64,
}

impl TaskToken {
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix("task:")?.splitn(6, ':');
        let nonce = i64::from_str_radix(parts.next()?, 16).ok()?;
        let execution = parts.next()?.parse().ok()?;
        let activity = parts.next()?.parse().ok()?;
        let number = parts.next()?.parse().ok()?;
        let want = match parts.next()? {
            "" => None,
            number => Some(number.parse().ok()?),
        };
        let instance = parts.next()?.to_owned();
        Some(Self { nonce, want, key: TaskKey { instance, execution, activity, number } })
    }
}

impl std::fmt::Display for TaskToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let TaskKey { instance, execution, activity, number } = &self.key;
        let want = self.want.map(|number| number.to_string()).unwrap_or_default();
        write!(f, "task:{:x}:{execution}:{activity}:{number}:{want}:{instance}", self.nonce)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back_from_their_text() {
        let turn = TurnToken { nonce: i64::MAX, instance: "a:b::c".to_owned() };
        assert_eq!(TurnToken::parse(&turn.to_string()), Some(turn));
        let key = TaskKey { instance: "a:b::c".to_owned(), execution: 7, activity: 3, number: 1_700_000_000_000_000 };
        for want in [None, Some(15)] {
            let task = TaskToken { nonce: 1, want, key: key.clone() };
            assert_eq!(TaskToken::parse(&task.to_string()), Some(task));
        }
    }

    #[test]
    fn other_text_is_no_token() {
        for text in ["", "turn:", "turn:zz:a", "task:1:2:3:a", "task:1:2:3:4:x:a", "invalid-token"] {
            assert_eq!(TurnToken::parse(text), None, "{text}");
            assert_eq!(TaskToken::parse(text), None, "{text}");
        }
    }
}
