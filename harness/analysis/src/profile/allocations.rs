//! What is allocated, where, and what moved: profiles whose stacks hold bytes.

use std::collections::BTreeMap;

use uplift_model::{ProfileTrial, protocol::Profiled};

use super::{
    Profile, by_variant_of,
    folded::{self, FoldedError, Stack, function},
    functions,
};

/// Beginnings of the names of functions that allocate for others: what is asked for is theirs who call these.
const PLUMBING: &[&str] = &[
    "__rust_alloc",
    "__rust_realloc",
    "__rdl_",
    "__rustc::__r",
    "_RNvCs",
    "alloc::alloc::",
    "alloc::raw_vec::",
    "<alloc::alloc::Global as ",
    "<alloc::raw_vec::",
    "<std::alloc::System as ",
    "std::sys::alloc::",
    "<core::alloc::",
    "operator new",
    "xmalloc",
    "xcalloc",
    "xrealloc",
    "g_malloc",
    "g_realloc",
];

/// The successful profile trials of a scenario in which allocations were counted, by variant.
pub fn allocations_by_variant<'a>(
    profiles: &'a [ProfileTrial],
    scenario: &str,
) -> BTreeMap<&'a str, Vec<&'a Profiled>> {
    by_variant_of(profiles, scenario, true)
}

/// What one variant allocated.
#[derive(Clone, Debug, PartialEq)]
pub struct Allocated {
    /// Allocations and reallocations, counted.
    pub calls: u64,
    /// The bytes that they asked for, counted.
    pub bytes: u64,
    /// Whether anything could be seen; else the counts say nothing.
    pub seen: bool,
    /// Where: sampled stacks in bytes. What one unit of their counts stands for, beside one, corrects what chance added.
    pub profile: Profile,
}

impl Allocated {
    /// Of some profile trials together.
    ///
    /// # Errors
    /// The line that is no folded stack.
    pub fn of(profiled: &[&Profiled]) -> Result<Self, FoldedError> {
        let texts: Vec<_> = profiled.iter().map(|one| one.plain(&one.folded)).collect();
        let stacks = folded::merge(texts.iter().map(|text| &**text))?;
        let samples: u64 = stacks.iter().map(|stack| stack.count).sum();
        let counted = || profiled.iter().filter_map(|one| one.allocations);
        let bytes = counted().map(|one| one.bytes).sum();
        Ok(Self {
            calls: counted().map(|one| one.calls).sum(),
            bytes,
            seen: counted().any(|one| one.calls > 0) || profiled.iter().any(|one| one.not_sampled.is_none()),
            profile: Profile {
                stacks,
                samples,
                sample_ns: if samples == 0 { 0.0 } else { bytes as f64 / samples as f64 },
                operations: profiled.iter().map(|one| one.operations).sum(),
                duration_ns: profiled.iter().map(|one| one.duration_ns).sum(),
            },
        })
    }

    /// Calls and bytes for each operation; `None` where no operation succeeded, or nothing could be seen.
    pub fn per_operation(&self) -> Option<[f64; 2]> {
        let operations = self.profile.operations as f64;
        (operations > 0.0 && self.seen).then(|| [self.calls as f64 / operations, self.bytes as f64 / operations])
    }

    /// Bytes by the function that asked for them, without what allocates for others, the most first.
    pub fn by_function(&self) -> Vec<(String, f64)> {
        let stacks: Vec<Stack> = self.profile.stacks.iter().map(without_plumbing).collect();
        let mut rows: Vec<(String, f64)> = functions::counts(&stacks)
            .into_iter()
            .filter(|(_, counts)| counts.own > 0)
            .map(|((name, _), counts)| (name.to_owned(), counts.own as f64 * self.profile.sample_ns))
            .collect();
        rows.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        rows
    }
}

fn without_plumbing(stack: &Stack) -> Stack {
    let is_plumbing = |frame: &String| PLUMBING.iter().any(|start| function(frame).starts_with(start));
    let mut frames = stack.frames.clone();
    // The first frame is the thread; someone must have asked.
    while frames.len() > 2 && frames.last().is_some_and(is_plumbing) {
        frames.pop();
    }
    Stack { frames, count: stack.count }
}

/// Bytes for each operation of a function, before and after.
#[derive(Clone, Debug, PartialEq)]
pub struct AllocationMove {
    /// The function that asks.
    pub function: String,
    /// Of the baseline.
    pub baseline: f64,
    /// Of the candidate.
    pub candidate: f64,
}

/// What moved by function, the largest move first, at most `most`; empty where a side did no operation.
pub fn moves(baseline: &Allocated, candidate: &Allocated, most: usize) -> Vec<AllocationMove> {
    let mut rows: BTreeMap<String, [f64; 2]> = BTreeMap::new();
    for (side, one) in [baseline, candidate].into_iter().enumerate() {
        if one.per_operation().is_none() {
            return Vec::new();
        }
        for (function, bytes) in one.by_function() {
            rows.entry(function).or_default()[side] = bytes / one.profile.operations as f64;
        }
    }
    let mut rows: Vec<AllocationMove> = rows
        .into_iter()
        .map(|(function, [baseline, candidate])| AllocationMove { function, baseline, candidate })
        .collect();
    let moved = |row: &AllocationMove| (row.candidate - row.baseline).abs();
    rows.sort_by(|a, b| moved(b).total_cmp(&moved(a)).then_with(|| a.function.cmp(&b.function)));
    rows.truncate(most);
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allocated(folded_text: &str, bytes: u64, operations: u64) -> Allocated {
        let stacks = folded::merge([folded_text]).unwrap();
        let samples: u64 = stacks.iter().map(|stack| stack.count).sum();
        Allocated {
            calls: operations * 3,
            bytes,
            seen: true,
            profile: Profile { stacks, samples, sample_ns: bytes as f64 / samples as f64, operations, duration_ns: 1 },
        }
    }

    #[test]
    fn bytes_are_theirs_who_ask_for_them() {
        let one = allocated(
            "client;work;alloc::raw_vec::RawVec<T,A>::grow_one;alloc::raw_vec::finish_grow 60\nclient;__rust_alloc 40\n",
            1_000,
            10,
        );
        assert_eq!(one.by_function(), [("work".to_owned(), 600.0), ("__rust_alloc".to_owned(), 400.0)]);
        assert_eq!(one.per_operation(), Some([3.0, 100.0]));
    }

    #[test]
    fn what_moved_is_for_each_operation() {
        let before = allocated("client;work 50\nclient;rest 50\n", 1_000, 10);
        let after = allocated("client;rest 80\nclient;new 20\n", 1_250, 20);
        let moves = moves(&before, &after, 2);
        assert_eq!((moves[0].function.as_str(), moves[0].baseline, moves[0].candidate), ("work", 50.0, 0.0));
        assert_eq!(moves.len(), 2);
    }
}
