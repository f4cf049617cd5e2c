//! What stops the work for a while: events as long as the longest response.

use uplift_model::Trial;

use super::{Insight, Topic, figures::time};
use crate::estimate::median;

/// An event that lasts this share of the longest response may be its cause.
const SHARE_MIN: f64 = 0.5;
/// The name under which targets tell the longest pause itself, which causes nothing.
const PAUSE: &str = "worst stall";

/// Events that began within the measured turns and last as long as the longest response does.
pub fn stalls(variant: &str, trials: &[&Trial]) -> Option<Insight> {
    let mut pairs: Vec<(&str, f64, f64)> = Vec::new();
    for measured in trials.iter().filter_map(|trial| trial.measured.as_ref()) {
        let first = measured.turns.get(measured.dropped_turns as usize)?;
        let longest_response = measured.operations.iter().filter_map(|operation| operation.response.max()).max()?;
        let events = measured.events.iter().filter(|event| event.start_ns >= first.start_ns && event.name != PAUSE);
        let longest = events.max_by_key(|event| event.duration_ns)?;
        pairs.push((longest.name.as_str(), longest.duration_ns as f64, longest_response as f64));
    }
    let (name, ..) = *pairs.first()?;
    let explained = pairs.iter().filter(|(other, event, response)| *other == name && *event >= SHARE_MIN * response);
    if 2 * explained.count() <= pairs.len() {
        return None;
    }
    let events = median(&pairs.iter().map(|(_, event, _)| *event).collect::<Vec<_>>())?;
    let responses = median(&pairs.iter().map(|(.., response)| *response).collect::<Vec<_>>())?;
    let text = format!(
        "a {name} stops `{variant}`: the longest lasts {}, the longest response {} (medians over trials)",
        time(events),
        time(responses)
    );
    Some(Insight::new(Topic::Stalls, (events / responses).min(1.0) * 0.8, text, Some("response_max")))
}
