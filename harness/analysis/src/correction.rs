//! Correction for many comparisons: Holm's step-down procedure (Holm 1979).

/// What Holm's procedure says about one member of a family.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Corrected {
    /// The p value, adjusted: below α means rejected.
    pub p: f64,
    /// The error probability at which this member's interval agrees with the procedure.
    pub alpha: f64,
}

/// Corrects a family at family-wise error `alpha`; the order of the result is that of `p`.
///
/// The i-th smallest of m is tested at α/(m − i + 1). Its interval is given at that level while the procedure rejects,
/// and at the level of the first that it does not reject from there on, so that an interval excludes 0 where and only
/// where its member is rejected.
pub fn holm(p: &[f64], alpha: f64) -> Vec<Corrected> {
    let m = p.len();
    let mut order: Vec<usize> = (0..m).collect();
    order.sort_by(|&a, &b| p[a].total_cmp(&p[b]).then(a.cmp(&b)));
    let mut corrected = vec![Corrected { p: 1.0, alpha }; m];
    let (mut largest, mut rejecting, mut level) = (0.0f64, true, alpha / m.max(1) as f64);
    for (rank, &index) in order.iter().enumerate() {
        let left = (m - rank) as f64;
        largest = largest.max((p[index] * left).min(1.0));
        if rejecting {
            level = alpha / left;
            rejecting = p[index] <= level;
        }
        corrected[index] = Corrected { p: largest, alpha: level };
    }
    corrected
}
