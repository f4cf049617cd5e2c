//! What moved from one profile to another, for each operation.
//!
//! Two profiles of different throughput are not comparable by their shares: a part that stayed as it was takes a larger
//! share when another shrinks. Counts are therefore turned into CPU time for each successful operation first.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Profile,
    category::{self, Category},
    functions,
};

/// CPU time for each operation, before and after.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Move {
    /// Of the baseline, in nanoseconds.
    pub baseline_ns: f64,
    /// Of the candidate, in nanoseconds.
    pub candidate_ns: f64,
    /// Candidate minus baseline.
    pub change_ns: f64,
    /// Where the change lies at 95 %, by the counts alone (Poisson); differences between trials are not in it.
    pub ci_ns: [f64; 2],
}

impl Move {
    fn between(baseline: &Profile, candidate: &Profile, counts: (u64, u64)) -> Option<Self> {
        const Z: f64 = 1.959_964;
        let baseline_ns = baseline.ns_per_operation(counts.0)?;
        let candidate_ns = candidate.ns_per_operation(counts.1)?;
        // One sample more or less is the least that is not known, also where there was none.
        let variance = |profile: &Profile, count: u64| {
            profile.ns_per_operation(1).map_or(0.0, |one_ns| count.max(1) as f64 * one_ns * one_ns)
        };
        let spread = Z * (variance(baseline, counts.0) + variance(candidate, counts.1)).sqrt();
        let change_ns = candidate_ns - baseline_ns;
        Some(Self { baseline_ns, candidate_ns, change_ns, ci_ns: [change_ns - spread, change_ns + spread] })
    }

    /// Whether it is more than the counts' own noise.
    pub fn is_clear(&self) -> bool {
        self.ci_ns[0] > 0.0 || self.ci_ns[1] < 0.0
    }
}

/// A function whose own time moved.
#[derive(Clone, Debug, PartialEq)]
pub struct FunctionMove {
    /// The function.
    pub function: String,
    /// Whether it is the kernel's.
    pub kernel: bool,
    /// How far.
    pub moved: Move,
}

/// A category whose time moved.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CategoryMove {
    /// The category.
    pub category: Category,
    /// How far.
    pub moved: Move,
}

fn order(a: &Move, b: &Move) -> std::cmp::Ordering {
    b.is_clear().cmp(&a.is_clear()).then(b.change_ns.abs().total_cmp(&a.change_ns.abs()))
}

/// The functions whose own time moved most, what is clear first; at most `most`. None where a side did no operation.
pub fn function_moves(baseline: &Profile, candidate: &Profile, most: usize) -> Vec<FunctionMove> {
    let (before, after) = (functions::counts(&baseline.stacks), functions::counts(&candidate.stacks));
    let keys: BTreeSet<_> = before.keys().chain(after.keys()).copied().collect();
    let mut rows: Vec<FunctionMove> = keys
        .into_iter()
        .filter_map(|key| {
            let own = |counts: &BTreeMap<_, functions::Counts>| counts.get(&key).map_or(0, |counts| counts.own);
            let counts = (own(&before), own(&after));
            if counts == (0, 0) {
                return None;
            }
            let moved = Move::between(baseline, candidate, counts)?;
            Some(FunctionMove { function: key.0.to_owned(), kernel: key.1, moved })
        })
        .collect();
    rows.sort_by(|a, b| order(&a.moved, &b.moved).then_with(|| a.function.cmp(&b.function)));
    rows.truncate(most);
    rows
}

/// Every category of either side, the largest move first. None where a side did no operation.
pub fn category_moves(baseline: &Profile, candidate: &Profile) -> Vec<CategoryMove> {
    let (before, after) = (category::count(&baseline.stacks), category::count(&candidate.stacks));
    let keys: BTreeSet<Category> = before.keys().chain(after.keys()).copied().collect();
    let mut rows: Vec<CategoryMove> = keys
        .into_iter()
        .filter_map(|category| {
            let count = |counts: &BTreeMap<Category, u64>| counts.get(&category).copied().unwrap_or(0);
            Some(CategoryMove { category, moved: Move::between(baseline, candidate, (count(&before), count(&after)))? })
        })
        .collect();
    rows.sort_by(|a, b| b.moved.change_ns.abs().total_cmp(&a.moved.change_ns.abs()).then(a.category.cmp(&b.category)));
    rows
}

/// Folded stacks with two counts each, in picoseconds for each operation: baseline, candidate. `None` where a side did no
/// operation. What a graph of two profiles is drawn from.
pub fn folded(baseline: &Profile, candidate: &Profile) -> Option<String> {
    let one = |profile: &Profile| profile.ns_per_operation(1).map(|ns| ns * 1_000.0);
    let (baseline_ps, candidate_ps) = (one(baseline)?, one(candidate)?);
    let mut lines: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for stack in &baseline.stacks {
        lines.entry(stack.line()).or_default().0 = (stack.count as f64 * baseline_ps).round() as u64;
    }
    for stack in &candidate.stacks {
        lines.entry(stack.line()).or_default().1 = (stack.count as f64 * candidate_ps).round() as u64;
    }
    Some(lines.into_iter().map(|(line, (before, after))| format!("{line} {before} {after}\n")).collect())
}
