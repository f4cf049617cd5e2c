//! Functions by their own time and by the time of all they called.
//!
//! Code that the compiler inlined counts for the function that it was inlined into: line tables know such code by a bare
//! name (`next`, `lt`), and that tells nobody whose it was. The graphs show it.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Profile, Share,
    folded::{Stack, function, is_inlined, is_kernel},
};

/// A function's shares.
#[derive(Clone, Debug, PartialEq)]
pub struct FunctionShare {
    /// As it stands in the folded stacks, demangled.
    pub function: String,
    /// Whether it is the kernel's.
    pub kernel: bool,
    /// Samples in which it ran itself.
    pub own: Share,
    /// Samples in which it ran or something it called did.
    pub total: Share,
    /// Its own CPU time for each operation, in nanoseconds; `None` where no operation succeeded.
    pub own_ns_per_operation: Option<f64>,
}

/// Own and total counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Samples in which it ran itself.
    pub own: u64,
    /// Samples in which it was on the stack.
    pub total: u64,
}

/// Counts by function and whether it is the kernel's. A function that calls itself counts once a stack.
pub fn counts(stacks: &[Stack]) -> BTreeMap<(&str, bool), Counts> {
    let mut counts: BTreeMap<(&str, bool), Counts> = BTreeMap::new();
    for stack in stacks {
        // The first is the thread's name.
        let frames = || stack.frames.iter().skip(1);
        let mut named: Vec<(&str, bool)> =
            frames().filter(|frame| !is_inlined(frame)).map(|frame| (function(frame), is_kernel(frame))).collect();
        if named.is_empty() {
            named.extend(frames().next_back().map(|frame| (function(frame), is_kernel(frame))));
        }
        for key in named.iter().copied().collect::<BTreeSet<_>>() {
            counts.entry(key).or_default().total += stack.count;
        }
        if let Some(key) = named.last() {
            counts.entry(*key).or_default().own += stack.count;
        }
    }
    counts
}

/// The functions with the most samples of their own, at most `most`.
pub fn top_functions(profile: &Profile, most: usize) -> Vec<FunctionShare> {
    let counts = counts(&profile.stacks);
    let mut rows: Vec<_> = counts.into_iter().filter(|(_, counts)| counts.own > 0).collect();
    rows.sort_by_key(|(key, counts)| (std::cmp::Reverse(counts.own), *key));
    rows.into_iter()
        .take(most)
        .map(|((name, kernel), counts)| FunctionShare {
            function: name.to_owned(),
            kernel,
            own: Share::of(counts.own, profile.samples),
            total: Share::of(counts.total, profile.samples),
            own_ns_per_operation: profile.ns_per_operation(counts.own),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::folded::merge;

    #[test]
    fn a_function_that_calls_itself_counts_once() {
        let stacks = merge(["t;main;walk;walk 3\nt;main;walk;read_[k] 2\nt;main 1\n"]).unwrap();
        let counts = counts(&stacks);
        assert_eq!(counts[&("walk", false)], Counts { own: 3, total: 5 });
        assert_eq!(counts[&("main", false)], Counts { own: 1, total: 6 });
        assert_eq!(counts[&("read", true)], Counts { own: 2, total: 2 });
        assert!(!counts.contains_key(&("t", false)));
    }

    #[test]
    fn inlined_code_counts_for_the_function_that_holds_it() {
        let stacks = merge(["t;work;next_[i];lt_[i] 3\nt;{closure#0}_[i] 1\n"]).unwrap();
        let counts = counts(&stacks);
        assert_eq!(counts[&("work", false)], Counts { own: 3, total: 3 });
        assert_eq!(counts[&("{closure#0}", false)], Counts { own: 1, total: 1 });
        assert_eq!(counts.len(), 2);
    }
}
