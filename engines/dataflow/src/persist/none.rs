//! `none`: a packet is acknowledged when the writer has seen it.

use std::collections::BTreeMap;

use uplift_model::Durability;

use super::{Persist, PersistError, Place, Recovered, Stored, database::Database, log_sqlite::NOSYNC, place};
use crate::{
    row::{Table, Vote},
    settings::State,
    shard::{activity::Activity, inbox::Group},
};

/// Nothing is made durable. Where the base tables are kept in SQLite, they are, without sync or journal.
#[derive(Debug)]
pub struct NotDurable {
    state: Option<Database>,
}

impl NotDurable {
    pub(super) fn open(
        place: &Place<'_>,
        each: &mut dyn FnMut(Table, &[u8]),
    ) -> Result<(Box<dyn Persist>, Recovered), PersistError> {
        let mut recovered = Recovered::default();
        let state = match place.settings.state() {
            State::Memory => None,
            State::Sqlite => {
                let database = Database::open(place, NOSYNC)?;
                recovered.rows = database.rows(each)?;
                Some(database)
            }
        };
        Ok((Box::new(Self { state }), recovered))
    }
}

impl Persist for NotDurable {
    fn persist(&mut self, _: &mut Group, _: &mut Activity) -> Result<(), PersistError> {
        Ok(())
    }

    fn acknowledged(&mut self, group: &Group, activity: &mut Activity) -> Result<(), PersistError> {
        self.state.as_mut().map_or(Ok(()), |state| state.insert(group, activity).map(drop))
    }

    fn places(&self) -> &'static [&'static str] {
        if self.state.is_some() { &[place::SQLITE] } else { &[] }
    }

    fn read_back(&mut self, each: &mut dyn FnMut(&'static str, Vote)) -> Result<(), PersistError> {
        let Some(state) = &self.state else { return Ok(()) };
        state.votes(&mut |vote| each(place::SQLITE, vote)).map(drop)
    }

    fn stored(&self) -> Stored {
        self.state.as_ref().map(Database::stored).unwrap_or_default()
    }

    fn in_force(&self) -> BTreeMap<String, String> {
        self.state.as_ref().map(|state| state.in_force().clone()).unwrap_or_default()
    }

    fn survives(&self) -> Durability {
        Durability::None
    }
}
