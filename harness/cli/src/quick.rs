//! `--quick`: blocks so short that the fewest which make a verdict possible fit into a scenario's share of the time, and
//! no more blocks than those: what a scenario leaves over goes to those after it.

use std::time::Duration;

use uplift_engine::runner::BLOCKS_MIN;
use uplift_model::scenario::TrialSpec;

/// How many blocks a quick comparison takes of each scenario.
pub const BLOCKS: u32 = BLOCKS_MIN;
/// The most that one scenario gets on average, and all together: a look at everything takes less than three minutes,
/// however much there is. Start and documents have the rest of the three minutes.
const EACH: Duration = Duration::from_secs(30);
const ALL: Duration = Duration::from_secs(165);

/// The part of a variant's time that is measured. Start, set-up, warm-up, check and the last operations of each turn have
/// the rest: half of a block and more where a set-up takes a second.
const MEASURED_PART: f64 = 0.3;
/// The fewest and most rounds.
const ROUNDS: [u32; 2] = [8, 16];
/// The most rounds where a turn is a number of operations: it cannot be shorter.
const COUNTED_ROUNDS_MAX: u32 = 3;
/// The shortest turn and window, and the longest window and warm-up.
const TURN_MIN: Duration = Duration::from_millis(25);
const WINDOW: [Duration; 2] = [Duration::from_millis(400), Duration::from_millis(1500)];
const WARMUP_MAX: Duration = Duration::from_millis(100);

/// The time for a quick look at so many scenarios.
pub fn budget(scenarios: u32) -> Duration {
    (EACH * scenarios).min(ALL)
}

/// Shortens the blocks of a scenario with `variants` variants and `share` of the time. Nothing gets longer than the
/// scenario says.
pub fn shorten(trial: &mut TrialSpec, share: Duration, variants: u32) {
    let measured = share.mul_f64(MEASURED_PART) / (BLOCKS_MIN * variants.max(1));
    trial.warmup.0 = trial.warmup.0.min(WARMUP_MAX);
    trial.window.0 = trial.window.0.min(measured.clamp(WINDOW[0], WINDOW[1]));
    if trial.turn_operations.is_some() {
        trial.rounds = trial.rounds.min(COUNTED_ROUNDS_MAX);
        return;
    }
    let turn = trial.turn.0.max(Duration::from_nanos(1));
    let fitting = (measured.as_secs_f64() / turn.as_secs_f64()) as u32;
    trial.rounds = trial.rounds.min(fitting.clamp(ROUNDS[0], ROUNDS[1]));
    trial.turn.0 = turn.min((measured / trial.rounds.max(1)).max(TURN_MIN));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(turn_ms: u64, rounds: u32) -> TrialSpec {
        TrialSpec { turn: uplift_model::duration::HumanDuration::from_millis(turn_ms), rounds, ..TrialSpec::default() }
    }

    #[test]
    fn six_blocks_fit_into_the_share() {
        for (turn_ms, rounds) in [(100, 10), (25, 40), (50, 20), (100, 20)] {
            for share in [Duration::from_secs(6), budget(7) / 7, EACH] {
                let mut trial = spec(turn_ms, rounds);
                shorten(&mut trial, share, 2);
                let turns = trial.turn.0 * trial.rounds * 2 * BLOCKS_MIN;
                assert!(turns <= share.mul_f64(0.45), "{turn_ms} ms x {rounds} in {share:?}: {turns:?}");
                assert!(trial.rounds >= 8 && trial.turn.0 >= TURN_MIN);
            }
        }
    }

    #[test]
    fn a_look_at_everything_takes_less_than_three_minutes() {
        assert_eq!(budget(1), EACH);
        assert!((2..100).all(|scenarios| budget(scenarios) <= ALL));
    }

    #[test]
    fn nothing_gets_longer() {
        let mut trial = spec(10, 5);
        trial.window.0 = Duration::from_millis(100);
        shorten(&mut trial, Duration::from_secs(600), 2);
        assert_eq!(
            (trial.rounds, trial.turn.0, trial.window.0),
            (5, Duration::from_millis(10), Duration::from_millis(100))
        );
    }

    #[test]
    fn a_turn_of_operations_keeps_its_length() {
        let mut trial = TrialSpec { turn_operations: Some(1), ..spec(25, 10) };
        shorten(&mut trial, Duration::from_secs(8), 2);
        assert_eq!((trial.rounds, trial.turn_operations), (3, Some(1)));
    }
}
