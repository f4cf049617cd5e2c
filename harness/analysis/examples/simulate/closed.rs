//! Turns of a closed load as clients make them: what a rate reads of systems of equal rate whose latencies differ in shape.

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use uplift_model::trial::TurnRecord;

use super::cases::normal;

/// Draws how long one operation takes; the mean is 1.
pub type Latency = fn(&mut ChaCha8Rng) -> f64;

/// Latencies by their shape, each with its variance.
pub const SHAPES: [(&str, Latency, f64); 4] = [
    ("constant", |_| 1.0, 0.0),
    ("exponential", |random| -(1.0 - random.random::<f64>()).ln(), 1.0),
    // One of twenty takes eleven times as long.
    ("stalls", |random| if random.random::<f64>() < 0.05 { 11.0 / 1.5 } else { 1.0 / 1.5 }, 19.0 / 9.0),
    ("log-normal", |random| (1.2 * normal(random) - 0.72).exp(), 3.2207),
];

/// How long a turn lasts: so many operations of each client fit in the mean.
pub const DEADLINE: f64 = 4.0;
/// One operation takes so many nanoseconds in the mean.
const UNIT_NS: f64 = 1e6;

/// What some turns read, where 1 is right.
pub struct Reading {
    /// Clients × operations ÷ summed busy time.
    pub rate: f64,
    /// Operations ÷ wall time.
    pub by_wall: f64,
}

/// So many turns of so many clients.
pub fn turns(count: u64, clients: u32, latency: Latency, random: &mut ChaCha8Rng) -> Reading {
    let mut turn: TurnRecord = serde_json::from_str(TURN).expect("the template is a turn");
    turn.clients = Some(clients);
    let (mut operations, mut base, mut wall) = (0, 0.0, 0.0);
    for _ in 0..count {
        let (mut busy, mut last, mut ok) = (0.0, 0.0f64, 0);
        for _ in 0..clients {
            let mut now = 0.0;
            while now < DEADLINE {
                now += latency(random);
                ok += 1;
            }
            busy += now;
            last = last.max(now);
        }
        turn.busy_ns = Some((busy * UNIT_NS) as u64);
        operations += ok;
        base += turn.base_ns() / UNIT_NS;
        wall += last;
    }
    let per_client = operations as f64 / f64::from(clients);
    Reading { rate: per_client / base, by_wall: per_client / wall }
}

/// As many turns as bring the standard error of the rate down to `error`, from a seed.
pub fn to_error(error: f64, clients: u32, (_, latency, variance): (&str, Latency, f64), seed: u64) -> Reading {
    let operations = (variance / error.powi(2)).max(1_000.0);
    let turns_wanted = (operations / (DEADLINE * f64::from(clients))).ceil() as u64;
    turns(turns_wanted, clients, latency, &mut ChaCha8Rng::seed_from_u64(seed))
}

const TURN: &str = r#"{"index":0,"start_ns":0,"wall_ns":1,"attempts":0,"ok":0,"nothing":0,"failed":0,"unsent":0,"cpu_ns":0,"sync_calls":0,"quiesce_ns":0}"#;
