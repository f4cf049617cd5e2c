//! Which worker owns which session.
//!
//! A session is a lease. The workers that hold leases live in the process that has the database open, and nobody else
//! may open it meanwhile, so leases are kept in memory and end with their holders. All shards share them: activities of
//! one session may belong to instances of several.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use duroxide::providers::SessionFetchConfig;

/// All sessions of a provider.
#[derive(Default)]
pub struct Sessions {
    leases: Mutex<HashMap<String, Lease>>,
}

struct Lease {
    owner: String,
    until_us: i64,
    last_activity_us: i64,
}

impl Sessions {
    fn leases(&self) -> MutexGuard<'_, HashMap<String, Lease>> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether `owner` may take work of `session`.
    pub fn claimable(&self, session: &str, owner: &str, now_us: i64) -> bool {
        self.leases().get(session).is_none_or(|lease| lease.until_us <= now_us || lease.owner == owner)
    }

    /// Makes `config.owner_id` the owner of `session`, or renews that it is. False if somebody else is.
    pub fn claim(&self, session: &str, config: &SessionFetchConfig, now_us: i64) -> bool {
        let mut leases = self.leases();
        if leases.get(session).is_some_and(|lease| lease.until_us > now_us && lease.owner != config.owner_id) {
            return false;
        }
        let lease = Lease {
            owner: config.owner_id.clone(),
            until_us: now_us.saturating_add(crate::clock::micros(config.lock_timeout)),
            last_activity_us: now_us,
        };
        leases.insert(session.to_owned(), lease);
        true
    }

    /// Notes that work of `session` goes on.
    pub fn touch(&self, session: &str, now_us: i64) {
        if let Some(lease) = self.leases().get_mut(session)
            && lease.until_us > now_us
        {
            lease.last_activity_us = now_us;
        }
    }

    /// Extends the leases of `owners` that hold and saw activity after `idle_since_us`. Returns how many.
    pub fn renew(&self, owners: &[&str], now_us: i64, until_us: i64, idle_since_us: i64) -> usize {
        let mut renewed = 0;
        for lease in self.leases().values_mut() {
            let holds = lease.until_us > now_us && lease.last_activity_us > idle_since_us;
            if holds && owners.contains(&lease.owner.as_str()) {
                lease.until_us = until_us;
                renewed += 1;
            }
        }
        renewed
    }

    /// Whether any lease has run out.
    pub fn any_expired(&self, now_us: i64) -> bool {
        self.leases().values().any(|lease| lease.until_us < now_us)
    }

    /// Removes leases that ran out and whose session has no work left. Returns how many.
    pub fn remove_expired(&self, now_us: i64, has_work: impl Fn(&str) -> bool) -> usize {
        let mut leases = self.leases();
        let before = leases.len();
        leases.retain(|session, lease| lease.until_us >= now_us || has_work(session));
        before - leases.len()
    }
}
