//! Services whose life is known, so that a scenario need not say it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::protocol::Protocol;

/// A known service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Known {
    /// redis-server, or what is started in its place and takes its options.
    Redis,
    /// PostgreSQL: a cluster of its own, or a container, or the server that `UPLIFT_POSTGRES_URL` names.
    Postgres,
}

impl Known {
    /// What it speaks.
    pub fn protocol(self) -> Protocol {
        match self {
            Self::Redis => Protocol::Redis,
            Self::Postgres => Protocol::Postgres,
        }
    }

    /// How it is started; `None`: by the crate that knows how.
    pub fn start(self) -> Option<&'static str> {
        match self {
            // No snapshots but those that a setting `save` asks for.
            Self::Redis => {
                Some("redis-server --port {port} --bind 127.0.0.1 --dir {data} --save '' --daemonize no {settings}")
            }
            Self::Postgres => None,
        }
    }

    /// What its documentation prescribes where it does not start on what a crash has left.
    pub fn repair(self) -> Option<&'static str> {
        match self {
            // The end of a log that was not synced may be longer than what was written of it.
            Self::Redis => Some("sh -c \"yes | redis-check-aof --fix '{data}/appendonlydir/appendonly.aof.manifest'\""),
            Self::Postgres => None,
        }
    }

    /// What stands in an error where the program is missing.
    pub fn package(self) -> &'static str {
        match self {
            Self::Redis => "redis-server",
            Self::Postgres => "postgresql",
        }
    }

    /// The name that `UPLIFT_REQUIRE` has for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Postgres => "postgres",
        }
    }
}
