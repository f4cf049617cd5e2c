//! Every statistic against scipy's answers, recorded by `fixtures/scipy_answers.py`.

use serde_json::Value;
use uplift_analysis::{
    correction::holm,
    deterministic_counter::{Strict, compare},
    estimate::{Location, TRIM, median, median_interval, quantile, robust_deviation, t_quantile, t_upper_tail},
    spending::{is_look, share_at},
};

fn answers() -> Value {
    serde_json::from_str(include_str!("fixtures/scipy_answers.json")).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

#[track_caller]
fn close(ours: f64, theirs: &Value, relative: f64, what: &str) {
    let theirs = theirs.as_f64().unwrap();
    let tolerance = relative * theirs.abs().max(1e-12) + 1e-15;
    assert!((ours - theirs).abs() <= tolerance, "{what}: ours {ours:e}, scipy {theirs:e}");
}

#[test]
fn locations_agree_with_scipy() {
    for case in answers()["cases"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let values = numbers(&case["values"]);
        close(median(&values).unwrap(), &case["median"], 1e-12, name);
        close(quantile(&values, 0.9).unwrap(), &case["quantile_90"], 1e-12, name);
        close(robust_deviation(&values).unwrap(), &case["mad"], 1e-4, name);
        let mean = Location::mean(&values).unwrap();
        close(mean.center, &case["mean"]["center"], 1e-10, name);
        close(mean.error, &case["mean"]["error"], 1e-10, name);
        close(mean.p(0.0), &case["mean_p"], 1e-7, name);
        let ci = mean.interval(0.01);
        let theirs = &case["mean_ci_99"];
        close(ci[0], &theirs[0], 1e-7, name);
        close(ci[1], &theirs[1], 1e-7, name);
        match (Location::trimmed_mean(&values, TRIM), case["trimmed"].is_null()) {
            (None, true) => {}
            (Some(trimmed), false) => {
                close(trimmed.center, &case["trimmed"]["center"], 1e-10, name);
                close(trimmed.error, &case["trimmed"]["error"], 1e-10, name);
                close(trimmed.freedom, &case["trimmed"]["freedom"], 0.0, name);
            }
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn the_t_distribution_agrees_with_scipy() {
    for row in answers()["t"].as_array().unwrap() {
        let (p, freedom) = (row["p"].as_f64().unwrap(), row["freedom"].as_f64().unwrap());
        let quantile = t_quantile(p, freedom);
        close(quantile, &row["quantile"], 1e-6, &format!("t quantile {p} with {freedom}"));
        close(
            t_upper_tail(row["quantile"].as_f64().unwrap(), freedom),
            &row["tail"],
            1e-7,
            &format!("t tail {p} with {freedom}"),
        );
    }
}

#[test]
fn median_intervals_agree_with_the_binomial_of_scipy() {
    let answers = answers();
    for (case, wanted) in answers["cases"].as_array().unwrap().iter().zip(answers["medians"].as_array().unwrap()) {
        let ours = median_interval(&numbers(&case["values"]), 0.95);
        match (&wanted["ci_95"], ours) {
            (Value::Null, None) => {}
            (theirs, Some(ours)) => assert_eq!(ours.to_vec(), numbers(theirs), "{}", case["name"]),
            (theirs, None) => panic!("{}: scipy {theirs}", case["name"]),
        }
    }
}

#[test]
fn holm_agrees() {
    for family in answers()["holm"].as_array().unwrap() {
        let p = numbers(&family["p"]);
        let corrected = holm(&p, 0.05);
        for (ours, theirs) in corrected.iter().zip(family["adjusted"].as_array().unwrap()) {
            close(ours.p, theirs, 1e-12, "holm");
        }
        // The interval's level agrees with the decision.
        for (ours, raw) in corrected.iter().zip(&p) {
            assert_eq!(*raw <= ours.alpha, ours.p <= 0.05, "{raw} {ours:?}");
        }
    }
}

#[test]
fn the_spending_of_each_look_is_at_least_the_increment_of_the_beta_distribution() {
    for plan in answers()["spending"].as_array().unwrap() {
        let blocks_max = plan["blocks_max"].as_u64().unwrap() as u32;
        let looks: Vec<u32> = numbers(&plan["looks"]).into_iter().map(|look| look as u32).collect();
        assert_eq!((6..=blocks_max).filter(|&blocks| is_look(blocks, blocks_max)).collect::<Vec<_>>(), looks);
        for (&look, increment) in looks.iter().zip(plan["increments"].as_array().unwrap()) {
            // What the looks before have stopped is not counted twice: a look has its increment at least.
            let share = share_at(look, blocks_max, look == blocks_max, 0.01);
            let increment = increment.as_f64().unwrap();
            assert!(share > increment * 0.999 && share <= 1.0, "{look} of {blocks_max}: {share} {increment}");
        }
    }
}

#[test]
fn the_strict_tier_agrees_with_ranges_by_numpy() {
    for case in answers()["strict"].as_array().unwrap() {
        let (a, b) = (numbers(&case["a"]), numbers(&case["b"]));
        match compare(&a, &b) {
            Strict::NotStrict => assert_eq!(case["outcome"], "not strict", "{case}"),
            Strict::Same => assert!(case["outcome"] == "same" && a.iter().chain(&b).all(|x| *x == a[0]), "{case}"),
            // Ranges that touch are not equality.
            Strict::Differ(_) if case["outcome"] == "same" => assert!(a.iter().chain(&b).any(|x| *x != a[0]), "{case}"),
            Strict::Differ(change) => {
                assert_eq!(case["outcome"], "differ", "{case}");
                match change {
                    Some(change) => close(change, &case["change"], 1e-9, "change"),
                    None => assert!(case["change"].is_null(), "{case}"),
                }
            }
        }
    }
}
