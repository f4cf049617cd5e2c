//! Whatever number an option takes, it has bounds: what nobody means is refused before anything is made ready for it.

use std::any::TypeId;

use clap::{Arg, CommandFactory as _, error::ErrorKind};
use uplift_model::duration::HumanDuration;

use super::Cli;

/// Values that no option of a number may take.
fn absurd(arg: &Arg) -> &'static [&'static str] {
    let takes = arg.get_value_parser().type_id();
    let is = |wanted: TypeId| takes == wanted;
    if is(TypeId::of::<HumanDuration>()) {
        &["500000000000y", "366d", "-1s", "0s"]
    } else if is(TypeId::of::<f64>()) {
        &["1e300", "inf", "nan", "-1", "0"]
    } else if is(TypeId::of::<u32>()) || is(TypeId::of::<u64>()) || is(TypeId::of::<usize>()) {
        &["4000000000000000000", "18446744073709551616", "-1", "1e3"]
    } else {
        &[]
    }
}

/// Numbers that nothing grows with: the points of a scan are counted before they are made.
const FREE: [&str; 2] = ["seed", "parameter-step-size"];

fn check(command: &clap::Command, path: &[String], checked: &mut usize) {
    for sub in command.get_subcommands() {
        let path = [path, &[sub.get_name().to_owned()]].concat();
        check(sub, &path, checked);
    }
    for arg in command.get_arguments().filter(|arg| arg.get_action().takes_values()) {
        let Some(long) = arg.get_long().filter(|long| !FREE.contains(long)) else { continue };
        for value in absurd(arg) {
            let option = format!("--{long}={value}");
            let words = ["uplift".to_owned()].into_iter().chain(path.iter().cloned()).chain([option.clone()]);
            let kind = Cli::command().try_get_matches_from(words).err().map(|error| error.kind());
            let refused = matches!(kind, Some(ErrorKind::ValueValidation | ErrorKind::InvalidValue));
            assert!(refused, "`{} {option}` is taken: {kind:?}", path.join(" "));
            *checked += 1;
        }
    }
}

#[test]
fn numbers_of_options_have_bounds() {
    let mut checked = 0;
    let mut command = Cli::command();
    command.build();
    check(&command, &[], &mut checked);
    assert!(checked > 100, "only {checked} values were tried");
}
