//! `--clients`: throughput over a closed load's clients, and the Universal Scalability Law.

use uplift_analysis::scalability::POINTS_MIN;
use uplift_model::{
    Unit,
    saturation::{SATURATION_SCHEMA, Scalability},
    scenario::Load,
};
use uplift_report::number::with_unit;

use super::{Ended, Searching, step};
use crate::error::CliError;

/// The most clients: as many as a scenario may have.
const CLIENTS_MAX: u32 = 4096;

/// Numbers of clients: `1..64` doubles from one end to the other, `1,3,10` is a list.
pub fn parse(text: &str) -> Result<Vec<u32>, String> {
    let number = |text: &str| match text.trim().parse::<u32>() {
        Ok(clients) if (1..=CLIENTS_MAX).contains(&clients) => Ok(clients),
        _ => Err(format!("`{}`: clients must be 1–{CLIENTS_MAX}", text.trim())),
    };
    let mut all = match text.split_once("..") {
        Some((low, high)) => {
            let (low, high) = (number(low)?, number(high)?);
            if low >= high {
                return Err(format!("`{text}`: a range ends above its beginning, such as `1..64`"));
            }
            let doubled = std::iter::successors(Some(low), |clients| clients.checked_mul(2));
            doubled.take_while(|clients| *clients < high).chain([high]).collect()
        }
        None => text.split(',').map(number).collect::<Result<Vec<u32>, String>>()?,
    };
    all.sort_unstable();
    all.dedup();
    // Between neighbours of a short range there is room for more.
    if text.contains("..") && all.len() < POINTS_MIN {
        let (low, high) = (all[0], all[all.len() - 1]);
        all = (low..=high).collect();
    }
    if all.len() < POINTS_MIN {
        return Err(format!(
            "`{text}`: the law has three parameters, so at least {POINTS_MIN} numbers of clients are needed; write `1..64`"
        ));
    }
    Ok(all)
}

/// Measures every number of clients, the smallest first.
pub fn sweep(searching: &Searching<'_>, numbers: &[u32]) -> Result<(Scalability, Ended), CliError> {
    let mut record = Scalability {
        schema: SATURATION_SCHEMA,
        scenario: searching.entry.scenario.name.clone(),
        variant: searching.args.variant.clone(),
        cores: std::thread::available_parallelism().map_or(0, |cores| cores.get() as u32),
        points: Vec::new(),
        cut_short: None,
    };
    for &wanted in numbers {
        let mut entry = searching.entry.clone();
        if let Load::Closed { clients, .. } = &mut entry.scenario.load {
            *clients = wanted;
        }
        let finished = match searching.measure(entry, &format!("clients-{wanted}"), searching.args.blocks)? {
            Ok(finished) => finished,
            Err(stopped) => {
                record.cut_short = Some(stopped.why.clone());
                return Ok((record, Ended::Stopped(stopped)));
            }
        };
        let point = step::of_clients(wanted, &finished);
        let each: Vec<String> = point.throughput.iter().map(|rate| with_unit(*rate, Unit::OpsPerSecond)).collect();
        searching.terminal.say(&format!("{wanted} clients: {}", each.join(", ")));
        record.points.push(point);
        searching.say_elapsed(&format!("{} of {} numbers of clients", record.points.len(), numbers.len()));
    }
    Ok((record, Ended::Whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_clients_are_a_range_or_a_list() {
        assert_eq!(parse("1..64").unwrap(), [1, 2, 4, 8, 16, 32, 64]);
        assert_eq!(parse("1..50").unwrap(), [1, 2, 4, 8, 16, 32, 50]);
        assert_eq!(parse("1..4").unwrap(), [1, 2, 3, 4]);
        assert_eq!(parse("8, 1,4,2,4").unwrap(), [1, 2, 4, 8]);
        for (text, wanted) in [
            ("", "clients must be 1–4096"),
            ("0..8", "clients must be 1–4096"),
            ("1..9999", "clients must be 1–4096"),
            ("8..1", "a range ends above its beginning"),
            ("4..4", "a range ends above its beginning"),
            ("1..3", "at least 4 numbers of clients"),
            ("1,2,3", "at least 4 numbers of clients"),
            ("1,2,x,4", "`x`"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(wanted), "{text}: {error}");
        }
    }
}
