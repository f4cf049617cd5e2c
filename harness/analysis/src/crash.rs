//! What cuts demonstrated, beside what was declared.

use uplift_model::{
    Durability, Verdicts,
    crash::{Cut, CutMode, CutOutcome, Fault, Kept},
    verdict::Status,
};

use crate::estimate::median;

/// The cuts of one variant of a scenario.
#[derive(Clone, Debug, PartialEq)]
pub struct Demonstration {
    /// `target/name`.
    pub scenario: String,
    /// The variant.
    pub variant: String,
    /// What the target declared; `None`: it was never set up.
    pub declared: Option<Durability>,
    /// What was found, one entry for each mode and fault.
    pub series: Vec<Series>,
    /// The strongest level that nothing contradicts and that was tried; `None`: nothing was tried.
    pub demonstrated: Option<Durability>,
    /// Declared against demonstrated.
    pub agreement: Agreement,
}

/// Declared against demonstrated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Agreement {
    /// What was declared was tried and held.
    Holds,
    /// What was declared was tried and did not hold, and how.
    Contradicted(String),
    /// More was demonstrated than was declared, and what.
    Stronger(String),
    /// What was declared was not tried, and how it would be.
    Untried(String),
}

/// Cuts of one mode, with one fault or none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// What died; `None` only of an empty series.
    pub mode: Option<CutMode>,
    /// What was done to the disk besides.
    pub fault: Option<Fault>,
    /// Cuts after which what was left was looked at.
    pub cuts: u64,
    /// Cuts that could not be carried out, and the first reason.
    pub failed: u64,
    /// The first reason.
    pub failure: Option<String>,
    /// Cuts after which it did not open.
    pub not_opened: u64,
    /// Cuts after which something was lost, wrong, twice, or did not open.
    pub bad_cuts: u64,
    /// Operations that were acknowledged.
    pub acknowledged: u64,
    /// Those whose effect could be looked at.
    pub verified: u64,
    /// Operations in flight at the cuts.
    pub in_flight: u64,
    /// Acknowledged operations that are gone.
    pub lost: u64,
    /// Things that nobody wrote.
    pub wrong: u64,
    /// Effects that are there twice.
    pub twice: u64,
    /// How long before its cut the oldest lost operation was acknowledged.
    pub oldest_lost_ns: Option<u64>,
    /// Median and longest time of opening what was left.
    pub recovery_ns: Option<(f64, u64)>,
    /// The first thing amiss, and the number of its cut.
    pub detail: Option<(u32, String)>,
    /// How often the target gave up by itself before the cut.
    pub gave_up: u64,
    /// How often it opened only after a repair that its documentation prescribes, and which.
    pub repaired: (u64, Option<String>),
}

impl Series {
    /// The most of the acknowledged operations that may be lost, by what was seen, at 95 %; `None` where some were.
    pub fn bound(&self) -> Option<f64> {
        (self.bad_cuts == 0 && self.verified > 0).then(|| rule_of_three(self.verified))
    }

    /// The most of the cuts that may lose anything, likewise.
    pub fn cut_bound(&self) -> Option<f64> {
        (self.bad_cuts == 0 && self.cuts > 0).then(|| rule_of_three(self.cuts))
    }

    fn add(&mut self, cut: &Cut) {
        self.gave_up += u64::from(cut.gave_up.is_some());
        match &cut.outcome {
            CutOutcome::Audited { audit, .. } => {
                self.cuts += 1;
                self.bad_cuts += u64::from(!audit.is_clean());
                self.acknowledged += audit.acknowledged;
                self.verified += audit.verified();
                self.in_flight += audit.in_flight;
                self.lost += audit.lost;
                self.wrong += audit.wrong;
                self.twice += audit.twice;
                self.oldest_lost_ns = self.oldest_lost_ns.max(audit.oldest_lost_ns);
                if let Some(repair) = &audit.repaired {
                    self.repaired.0 += 1;
                    self.repaired.1.get_or_insert_with(|| repair.clone());
                }
                if self.detail.is_none() && !audit.is_clean() {
                    self.detail = Some((cut.number, audit.detail.clone().unwrap_or_default()));
                }
            }
            CutOutcome::NotOpened { acknowledged, message } => {
                self.cuts += 1;
                self.bad_cuts += 1;
                self.not_opened += 1;
                self.acknowledged += acknowledged.unwrap_or(0);
                if self.detail.is_none() {
                    self.detail = Some((cut.number, format!("it does not open: {message}")));
                }
            }
            CutOutcome::Failed(failure) => {
                self.failed += 1;
                if self.failure.is_none() {
                    self.failure = Some(format!("{}: {}", failure.phase, failure.message));
                }
            }
        }
    }

    /// What was amiss, in words.
    pub fn amiss(&self) -> String {
        let counts = [
            (self.lost, "acknowledged operations lost"),
            (self.wrong, "wrong"),
            (self.twice, "twice"),
            (self.not_opened, "times not opened"),
        ];
        let words: Vec<String> =
            counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
        words.join(", ")
    }
}

/// What the cuts of each variant demonstrated, in the order in which they came.
pub fn demonstrations(cuts: &[Cut]) -> Vec<Demonstration> {
    let mut keys: Vec<(&str, &str)> = Vec::new();
    for cut in cuts {
        let key = (cut.scenario.as_str(), cut.variant.as_str());
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    keys.into_iter()
        .map(|(scenario, variant)| {
            let own: Vec<&Cut> = cuts.iter().filter(|cut| cut.scenario == scenario && cut.variant == variant).collect();
            demonstration(scenario, variant, &own)
        })
        .collect()
}

fn demonstration(scenario: &str, variant: &str, cuts: &[&Cut]) -> Demonstration {
    let mut series: Vec<Series> = Vec::new();
    for cut in cuts {
        let fault = cut.fault.map(|fault| fault.to_string());
        let of_cut = |one: &Series| one.mode == Some(cut.mode) && one.fault.map(|fault| fault.to_string()) == fault;
        let index = series.iter().position(of_cut).unwrap_or_else(|| {
            series.push(Series { mode: Some(cut.mode), fault: cut.fault, ..Series::default() });
            series.len() - 1
        });
        series[index].add(cut);
    }
    for one in &mut series {
        let times: Vec<u64> = cuts
            .iter()
            .filter(|cut| Some(cut.mode) == one.mode && cut.fault == one.fault)
            .filter_map(|cut| match cut.outcome {
                CutOutcome::Audited { recovery_ns, .. } => Some(recovery_ns),
                _ => None,
            })
            .collect();
        let middle = median(&times.iter().map(|ns| *ns as f64).collect::<Vec<_>>());
        one.recovery_ns = middle.zip(times.iter().max().copied());
    }
    // A store may well be the weaker for what a broken disk did to it.
    // Where nothing was acknowledged there was nothing to hold.
    let tells = |one: &&Series| one.fault.is_none() && (one.verified > 0 || one.bad_cuts > 0);
    let of = |mode| series.iter().filter(tells).find(|one| one.mode == Some(mode));
    let (kill, power) = (of(CutMode::Kill), of(CutMode::Power));
    let declared = cuts.iter().find_map(|cut| cut.declared);
    let kept_all_clean = || {
        let whole =
            |cut: &&&Cut| cut.mode == CutMode::Power && cut.kept == Some(Kept::Everything) && cut.fault.is_none();
        let mut audits = cuts.iter().filter(whole).peekable();
        audits.peek().is_some()
            && audits.all(|cut| matches!(&cut.outcome, CutOutcome::Audited { audit, .. } if audit.is_clean()))
    };
    let demonstrated = match (kill, power) {
        (None, None) => None,
        (Some(kill), _) if kill.wrong + kill.twice + kill.not_opened > 0 => Some(Durability::None),
        (Some(kill), _) if kill.bad_cuts > 0 => Some(Durability::Buffered),
        (_, Some(power)) if power.bad_cuts == 0 => Some(Durability::PowerLoss),
        (Some(_), _) => Some(Durability::ProcessCrash),
        (None, Some(_)) if kept_all_clean() => Some(Durability::ProcessCrash),
        (None, Some(_)) => Some(Durability::None),
    };
    let agreement = agreement(declared, demonstrated, kill, power);
    let (scenario, variant) = (scenario.to_owned(), variant.to_owned());
    Demonstration { scenario, variant, declared, series, demonstrated, agreement }
}

fn agreement(
    declared: Option<Durability>,
    demonstrated: Option<Durability>,
    kill: Option<&Series>,
    power: Option<&Series>,
) -> Agreement {
    let (Some(declared), Some(demonstrated)) = (declared, demonstrated) else {
        return Agreement::Untried("nothing was acknowledged before any cut; lengthen --within".to_owned());
    };
    let tried = [
        (Durability::ProcessCrash, kill, "its processes were killed"),
        (Durability::PowerLoss, power, "its power was cut"),
    ];
    for (level, series, what) in tried {
        if let Some(series) = series.filter(|series| declared >= level && series.bad_cuts > 0) {
            return Agreement::Contradicted(format!(
                "declared {declared}, but after {what} {} times: {}",
                series.cuts,
                series.amiss()
            ));
        }
    }
    match declared {
        Durability::PowerLoss if power.is_none() => {
            Agreement::Untried("a loss of power was not tried; add `--mode power`".to_owned())
        }
        _ if demonstrated > declared => {
            let cuts = if demonstrated == Durability::PowerLoss { power } else { kill };
            let cuts = cuts.map_or(0, |series| series.cuts);
            Agreement::Stronger(format!("declared {declared}, and nothing was lost in {cuts} cuts of {demonstrated}"))
        }
        _ => Agreement::Holds,
    }
}

/// Makes comparisons incomparable in which a variant declares more than its cuts demonstrated.
pub fn contradict(verdicts: &mut Verdicts, demonstrations: &[Demonstration]) {
    let (baseline, candidate) = (verdicts.baseline.clone(), verdicts.candidate.clone());
    for scenario in &mut verdicts.scenarios {
        let own = demonstrations.iter().filter(|one| one.scenario == scenario.name);
        for one in own.filter(|one| one.variant == baseline || one.variant == candidate) {
            if let Agreement::Contradicted(why) = &one.agreement {
                scenario.status = Status::Incomparable;
                scenario.reason = Some(format!("the durability of `{}` is not what it declares: {why}", one.variant));
            }
        }
    }
}

/// The upper bound of a rate at 95 % when nothing was seen in `n` independent tries: the rule of three (Hanley and
/// Lippman-Hand 1983).
fn rule_of_three(n: u64) -> f64 {
    if n == 0 { 1.0 } else { (3.0 / n as f64).min(1.0) }
}

#[cfg(test)]
mod tests {
    use uplift_model::crash::{Audit, CRASH_SCHEMA, CutPoint};

    use super::*;

    fn cut(number: u32, mode: CutMode, declared: Durability, audit: Audit) -> Cut {
        Cut {
            schema: CRASH_SCHEMA,
            scenario: "docdb/crud".to_owned(),
            variant: "fast".to_owned(),
            number,
            seed: 1,
            mode,
            point: CutPoint::After(1),
            kept: (mode == CutMode::Power).then_some(Kept::Nothing),
            fault: None,
            declared: Some(declared),
            effective: Default::default(),
            load_ns: 1,
            syncs: None,
            gave_up: None,
            outcome: CutOutcome::Audited { recovery_ns: u64::from(number), audit },
        }
    }

    fn clean() -> Audit {
        Audit { acknowledged: 130, superseded: 6, ..Audit::default() }
    }

    fn lossy() -> Audit {
        Audit { acknowledged: 10, lost: 2, oldest_lost_ns: Some(5), ..Audit::default() }
    }

    #[test]
    fn nothing_lost_is_a_bound_and_not_a_certainty() {
        let cuts: Vec<Cut> = (0..100).map(|n| cut(n, CutMode::Power, Durability::PowerLoss, clean())).collect();
        let found = demonstrations(&cuts).remove(0);
        assert_eq!(found.demonstrated, Some(Durability::PowerLoss));
        assert_eq!(found.agreement, Agreement::Holds);
        let series = &found.series[0];
        assert_eq!((series.cuts, series.verified), (100, 12_400));
        assert!((series.bound().unwrap() - 3.0 / 12_400.0).abs() < 1e-12);
        assert!((series.cut_bound().unwrap() - 0.03).abs() < 1e-12);
        assert_eq!(series.recovery_ns, Some((49.5, 99)));
    }

    #[test]
    fn declared_is_held_against_what_was_tried() {
        use CutMode::{Kill, Power};
        use Durability::{Buffered, None, PowerLoss, ProcessCrash};
        let found = |cuts: &[Cut]| demonstrations(cuts).remove(0);
        let lost_in_power = found(&[cut(0, Power, PowerLoss, lossy())]);
        assert!(matches!(lost_in_power.agreement, Agreement::Contradicted(_)));
        assert_eq!(lost_in_power.series[0].bound(), Option::None);
        let weaker = found(&[cut(0, Power, ProcessCrash, lossy()), cut(0, Kill, ProcessCrash, clean())]);
        assert_eq!((weaker.demonstrated, weaker.agreement), (Some(ProcessCrash), Agreement::Holds));
        let untried = found(&[cut(0, Kill, PowerLoss, clean())]);
        assert!(matches!(untried.agreement, Agreement::Untried(_)));
        let killed = found(&[cut(0, Kill, ProcessCrash, lossy())]);
        assert_eq!(killed.demonstrated, Some(Buffered));
        assert!(matches!(killed.agreement, Agreement::Contradicted(_)));
        let modest = found(&[cut(0, Power, ProcessCrash, clean()), cut(0, Kill, ProcessCrash, clean())]);
        assert!(matches!(modest.agreement, Agreement::Stronger(_)));
        let wrong = found(&[cut(0, Kill, Buffered, Audit { wrong: 1, ..clean() })]);
        assert_eq!(wrong.demonstrated, Some(None));
    }

    #[test]
    fn cuts_before_which_nothing_was_acknowledged_demonstrate_nothing() {
        let empty = cut(0, CutMode::Power, Durability::PowerLoss, Audit::default());
        let found = demonstrations(&[empty]).remove(0);
        assert_eq!(found.demonstrated, None);
        assert!(matches!(found.agreement, Agreement::Untried(_)));
    }

    #[test]
    fn a_fault_is_a_series_of_its_own_and_no_verdict() {
        let mut broken = cut(0, CutMode::Power, Durability::PowerLoss, lossy());
        broken.fault = Some("eio@sync:7".parse().unwrap());
        let found = demonstrations(&[broken, cut(1, CutMode::Power, Durability::PowerLoss, clean())]).remove(0);
        assert_eq!(found.series.len(), 2);
        assert_eq!(found.agreement, Agreement::Holds);
    }
}
