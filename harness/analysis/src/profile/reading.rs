//! What the shares say, in sentences that say no more than the shares do.

use super::{
    Profile,
    category::{Category, CategoryShare, categories, of_stack},
    folded::Stack,
    functions,
};

/// The ranks that are named.
const RANKS: [&str; 3] = ["primary", "secondary", "tertiary"];
/// A share below this is no bottleneck worth a sentence.
const SHARE_MIN: f64 = 0.02;
/// Fewer samples tell nothing.
const SAMPLES_MIN: u64 = 100;

/// One sentence for each of at most three bottlenecks of CPU time.
pub fn reading(profile: &Profile) -> Vec<String> {
    if profile.samples < SAMPLES_MIN {
        return vec![format!("{} samples are too few to name a bottleneck: {SAMPLES_MIN} are wanted", profile.samples)];
    }
    // The load generator is no part of the system, and no bottleneck of it.
    let rows: Vec<CategoryShare> = categories(profile)
        .into_iter()
        .filter(|row| row.category != Category::Harness && row.share.share >= SHARE_MIN)
        .collect();
    let percent = |value: f64| format!("{:.1}", value * 100.0);
    rows.iter()
        .zip(RANKS)
        .enumerate()
        .map(|(index, (row, rank))| {
            let [low, high] = row.share.ci;
            let close = rows.get(index + 1).filter(|next| next.share.ci[1] >= low && index + 1 < RANKS.len());
            let tie = close.map_or_else(String::new, |next| {
                format!("; its order before {} is within the sampling error", next.category.name())
            });
            format!(
                "{rank}: {} takes {} % ({} … {} %) of the sampled CPU time{}{tie}",
                row.category.name(),
                percent(row.share.share),
                percent(low),
                percent(high),
                mostly(profile, row.category),
            )
        })
        .collect()
}

/// Where most of a category is: its largest function, if that has a fifth of it or more.
fn mostly(profile: &Profile, category: Category) -> String {
    let stacks: Vec<Stack> = profile.stacks.iter().filter(|stack| of_stack(stack) == category).cloned().collect();
    let of_category: u64 = stacks.iter().map(|stack| stack.count).sum();
    let counts = functions::counts(&stacks);
    let largest = counts.iter().max_by_key(|(key, counts)| (counts.own, std::cmp::Reverse(**key)));
    match largest {
        Some(((name, _), counts)) if counts.own * 5 >= of_category => {
            format!(", {:.0} % of it in `{name}` itself", counts.own as f64 / of_category as f64 * 100.0)
        }
        _ => String::new(),
    }
}
