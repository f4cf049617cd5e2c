use super::*;

const GOOD: &str = r#"
schema = 1
target = "docdb"
title = "CRUD mix"

[workload]
databases = 3

[load]
mode = "closed"
clients = 30

[settings]
fsync = "always"

[expect]
success_rate = ">= 0.999"

[variants.baseline]
[variants.optimized]
fsync = "group"
uplift = { memory_bytes = 1000000000 }

[gate]
throughput = ">= -3%"

[[claims]]
variant = "optimized"
metric = "throughput"
baseline = 220.0
candidate = 298.2
source = "docdb-sprint1.md"
"#;

fn parse(text: &str) -> Result<Scenario, ScenarioError> {
    Scenario::parse("docdb/crud", "scenarios/docdb/crud.toml", text)
}

#[test]
fn a_good_file_becomes_a_scenario() {
    let scenario = parse(GOOD).unwrap();
    assert_eq!(scenario.variants.iter().map(|v| v.name.as_str()).collect::<Vec<_>>(), ["baseline", "optimized"]);
    assert_eq!(scenario.variant("baseline").unwrap().settings["fsync"], "always");
    assert_eq!(scenario.variant("optimized").unwrap().settings["fsync"], "group");
    assert!(!scenario.variant("optimized").unwrap().settings.contains_key("uplift"));
    assert_eq!(scenario.load.clients(), 30);
    assert!((scenario.claims[0].published_change().unwrap() - 0.3555).abs() < 1e-3);
    let stored = serde_json::to_string(&scenario).unwrap();
    assert_eq!(serde_json::from_str::<Scenario>(&stored).unwrap(), scenario);
}

/// What stands in [load] is pointed at exactly, although which keys there are depends on one of them; and where a key
/// is wrong, at the key.
#[test]
fn errors_point_at_their_key() {
    let cases = [
        ("clients = 30", "clinets = 30", "unknown field `clinets`", (11, 1)),
        ("clients = 30", "clients = \"many\"", "invalid type", (11, 11)),
        ("clients = 30", "clients = 30\nrate = 5.0", "a closed load has no `rate`", (12, 8)),
        ("mode = \"closed\"", "mode = \"open\"", "needs a `rate`", (10, 8)),
        ("mode = \"closed\"", "mode = \"open\"\nrate = 1.0\nthink = \"1s\"", "does not pause", (12, 9)),
        ("[variants.optimized]", "[variants.\"../up\"]", "cannot be a variant's name", (20, 11)),
    ];
    for (from, to, message, place) in cases {
        let text = GOOD.replace(from, to);
        assert_ne!(text, GOOD, "{from}");
        let error = parse(&text).unwrap_err();
        assert!(error.message().contains(message), "{to}: {}", error.message());
        assert_eq!(error.line_column(), Some(place), "{to}");
    }
}

/// Each error names what is wrong and stands on the line where it is wrong.
#[test]
fn errors_point_at_their_line() {
    let cases = [
        ("clients = 30", "clinets = 30", "unknown field `clinets`", 11),
        ("clients = 30", "clients = \"many\"", "invalid type", 11),
        ("clients = 30", "clients = 0", "clients must be 1–4096, got 0", 11),
        ("mode = \"closed\"", "mode = \"ajar\"", "unknown variant `ajar`", 9),
        (">= 0.999", "about 1", "is not a rule", 17),
        ("schema = 1", "schema = 7", "schema 7 is not known", 2),
        ("variant = \"optimized\"", "variant = \"optimised\"", "is not a variant", 27),
        ("title = \"CRUD mix\"", "title = \" \"", "the title is empty", 4),
        ("1000000000", "1000000000, cpu = 1", "unknown field `cpu`", 22),
        ("metric = \"throughput\"", "note = \"x\"", "has no metric", 27),
        ("metric = \"throughput\"", "profile = [\"sync\"]", "needs a range and no metric", 27),
        ("metric = \"throughput\"", "metric = \"throughput\"\nrange = [2.0, 1.0]", "is empty", 27),
    ];
    for (from, to, message, line) in cases {
        let text = GOOD.replace(from, to);
        assert_ne!(text, GOOD, "{from}");
        let error = parse(&text).unwrap_err();
        assert!(error.message().contains(message), "{}: {}", to, error.message());
        let (at, _) = error.line_column().unwrap_or((0, 0));
        assert!(at.abs_diff(line) <= 2, "{to}: line {at}, wanted about {line}");
    }
}

#[test]
fn a_ledger_names_each_of_its_variants_once() {
    let with = |ledger: &str| parse(&GOOD.replace("title =", &format!("ledger = {ledger}\ntitle =")));
    assert_eq!(with(r#"["baseline", "optimized"]"#).unwrap().ledger, ["baseline", "optimized"]);
    for (ledger, message) in [
        (r#"["baseline", "optimised"]"#, "names `optimised`, which is not a variant"),
        (r#"["baseline", "optimized", "baseline"]"#, "names `baseline` twice"),
        (r#"["baseline"]"#, "a ledger of one step compares nothing"),
    ] {
        let error = with(ledger).unwrap_err();
        assert!(error.message().contains(message), "{ledger}: {}", error.message());
        assert_eq!(error.line_column().map(|(line, _)| line), Some(4), "{ledger}");
    }
}

#[test]
fn a_complaint_about_a_missing_key_points_at_its_table() {
    let error = ScenarioError::at("x.toml", GOOD, &["variants", "optimized", "absent"], "x", "");
    assert_eq!(error.line_column().map(|(line, _)| line), Some(20));
}

/// Every number that comes in has an upper bound, and a sentence names it: plans and records are made for all of it.
#[test]
fn numbers_without_bound_are_refused() {
    let cases = [
        ("[settings]", "[trial]\nrounds = 4000000000\n[settings]", "4000000000 rounds are more than 100000"),
        ("[settings]", "[trial]\nwindow = \"30d\"\n[settings]", "longer than a day"),
        ("[settings]", "[trial]\nturn = \"30d\"\n[settings]", "longer than a day"),
        ("[settings]", "[trial]\nwarmup = \"500000000000y\"\n[settings]", "longer than a year"),
        ("[settings]", "[trial]\ntimeout = \"2y\"\n[settings]", "longer than a year"),
        ("[settings]", "[trial]\nturn_operations = 9000000000000000000\n[settings]", "never ends"),
        ("clients = 30", "clients = 30\nbatch = 4000000000", "more than 1000000"),
        ("mode = \"closed\"", "mode = \"open\"\nrate = 1e300", "operations a second cannot be sent"),
    ];
    for (from, to, message) in cases {
        let error = parse(&GOOD.replacen(from, to, 1)).unwrap_err().to_string();
        assert!(error.contains(message), "{message}: {error}");
    }
}
