//! The ledger of a sprint, on trials whose truth is known: copies of stored ones, made faster by known factors.

use std::{fs, path::Path};

use uplift_analysis::{judge, ledger};
use uplift_model::{
    Durability, Trial,
    run::{Intent, Run},
    verdict::{Ledger, LedgerStep, Verdict},
};

/// A stored run with its baseline's trials once for each step, `factor` times as fast. Each block deviates a little, each
/// step in its own way.
fn sprint(steps: &[(&str, f64)]) -> (Run, Vec<Trial>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../report/tests/data/slower");
    let mut run: Run = serde_json::from_str(&fs::read_to_string(folder.join("run.json")).unwrap()).unwrap();
    let text = fs::read_to_string(folder.join("trials.jsonl")).unwrap();
    let stored: Vec<Trial> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut trials = Vec::new();
    for (index, (name, factor)) in steps.iter().enumerate() {
        for (block, trial) in stored.iter().filter(|trial| trial.variant == "baseline").enumerate() {
            let mut trial = Trial { variant: (*name).to_owned(), ..trial.clone() };
            let deviation = 1.0 + ((block * 7 + index * 3) % 5) as f64 * 0.001;
            for turn in &mut trial.measured.as_mut().unwrap().turns {
                turn.wall_ns = (turn.wall_ns as f64 / factor / deviation) as u64;
            }
            trials.push(trial);
        }
    }
    let names: Vec<String> = steps.iter().map(|(name, _)| (*name).to_owned()).collect();
    run.scenarios[0].variants.clone_from(&names);
    run.intent = Intent::Ledger { steps: names };
    (run, trials)
}

fn ledger_of(run: &Run, trials: &[Trial]) -> Ledger {
    let verdicts = judge(run, trials).unwrap();
    assert_eq!(verdicts.scenarios.len(), 1);
    verdicts.scenarios[0].ledger.clone().unwrap()
}

fn words(step: &LedgerStep) -> [Verdict; 2] {
    [step.marginal.as_ref().unwrap().verdict, step.cumulative.as_ref().unwrap().verdict]
}

#[test]
fn steps_multiply_to_the_whole() {
    let (run, trials) = sprint(&[("first", 1.0), ("twice", 2.0), ("same", 2.0), ("back", 1.5), ("last", 6.0)]);
    let ledger = ledger_of(&run, &trials);
    let names: Vec<&str> = ledger.steps.iter().map(|step| step.variant.as_str()).collect();
    assert_eq!(names, ["first", "twice", "same", "back", "last"]);
    assert!(ledger.steps[0].marginal.is_none() && ledger.steps[0].cumulative.is_none());
    let mut product = 1.0;
    for (step, [marginal, cumulative]) in
        ledger.steps[1..].iter().zip([[2.0, 2.0], [1.0, 2.0], [0.75, 1.5], [4.0, 6.0]])
    {
        for (metric, truth) in [(&step.marginal, marginal), (&step.cumulative, cumulative)] {
            let metric = metric.as_ref().unwrap();
            let (change, [low, high]) = (metric.change.unwrap(), metric.ci.unwrap());
            assert!((change + 1.0 - truth).abs() < 0.01 * truth, "{}: {change} is not {truth}", step.variant);
            assert!(low <= truth - 1.0 && truth - 1.0 <= high, "{}: {low} … {high}", step.variant);
        }
        product *= 1.0 + step.marginal.as_ref().unwrap().change.unwrap();
        let whole = 1.0 + step.cumulative.as_ref().unwrap().change.unwrap();
        assert!((product / whole - 1.0).abs() < 0.01, "{}: {product} is not {whole}", step.variant);
    }
    use Verdict::{Improved, Regressed, Unchanged};
    let found: Vec<_> = ledger.steps[1..].iter().map(words).collect();
    assert_eq!(found, [[Improved, Improved], [Unchanged, Improved], [Regressed, Improved], [Improved, Improved]]);
    assert_eq!(ledger::best_step(&ledger).unwrap().variant, "last");
    // The verdicts around it are of the last step against the first.
    let verdicts = judge(&run, &trials).unwrap();
    assert_eq!((verdicts.baseline.as_str(), verdicts.candidate.as_str()), ("first", "last"));
    let stored = serde_json::to_string(&verdicts).unwrap();
    assert_eq!(serde_json::from_str::<uplift_model::Verdicts>(&stored).unwrap(), verdicts);
}

/// One step is tested twice, as what it adds and as what all have brought; the second step of two is tested once.
#[test]
fn intervals_are_corrected_over_all_steps() {
    let width = |ledger: &Ledger, index: usize| {
        let [low, high] = ledger.steps[index].marginal.as_ref().unwrap().ci.unwrap();
        high - low
    };
    let (run, trials) = sprint(&[("first", 1.0), ("second", 1.0)]);
    let alone = ledger_of(&run, &trials);
    assert_eq!(alone.steps[1].marginal, alone.steps[1].cumulative);
    let names = [("first", 1.0), ("second", 1.0), ("a", 1.0), ("b", 1.0), ("c", 1.0), ("d", 1.0), ("e", 1.0)];
    let (run, trials) = sprint(&names);
    assert!(width(&ledger_of(&run, &trials), 1) > 1.2 * width(&alone, 1));
}

#[test]
fn a_gain_bought_with_durability_is_none() {
    let (run, mut trials) = sprint(&[("safe", 1.0), ("risky", 2.0), ("safe-again", 2.0), ("faster", 3.0)]);
    for trial in &mut trials {
        let durability = if trial.variant == "risky" { Durability::Buffered } else { Durability::PowerLoss };
        trial.measured.as_mut().unwrap().durability = durability;
    }
    let ledger = ledger_of(&run, &trials);
    assert_eq!(words(&ledger.steps[1]), [Verdict::Incomparable; 2]);
    // Compared with the risky step nothing is gained, compared with the first it is.
    assert_eq!(words(&ledger.steps[2]), [Verdict::Unchanged, Verdict::Improved]);
    assert_eq!(ledger.steps[1].durability, Some(Durability::Buffered));
    assert_eq!(ledger::best_step(&ledger).unwrap().variant, "faster");
}

#[test]
fn a_step_that_was_not_measured_stays_open() {
    let (run, mut trials) = sprint(&[("first", 1.0), ("absent", 1.0), ("last", 2.0)]);
    trials.retain(|trial| trial.variant != "absent");
    let ledger = ledger_of(&run, &trials);
    assert!(ledger.steps[1].value.is_none() && ledger.steps[1].marginal.is_none());
    assert!(ledger.steps[2].marginal.is_none(), "there is nothing to check it against");
    assert_eq!(ledger.steps[2].cumulative.as_ref().unwrap().verdict, Verdict::Improved);
}

#[test]
fn a_step_shows_what_it_changed() {
    let (mut run, mut trials) = sprint(&[("first", 1.0), ("second", 2.0)]);
    let variant = run.scenarios[0].scenario.variants[0].clone();
    for (name, asked) in [("first", 1), ("second", 2)] {
        let mut variant = variant.clone();
        variant.name = name.to_owned();
        variant.settings.insert("writers".to_owned(), asked.into());
        variant.settings.insert("shards".to_owned(), 3.into());
        run.scenarios[0].scenario.variants.push(variant);
        for trial in trials.iter_mut().filter(|trial| trial.variant == name) {
            trial.measured.as_mut().unwrap().effective.insert("writers".to_owned(), asked.to_string());
        }
    }
    let ledger = ledger_of(&run, &trials);
    let keys: Vec<&str> = ledger.steps[1].changed.iter().map(|row| row.key.as_str()).collect();
    assert_eq!(keys, ["writers"]);
}
